"""A layer as two of few channels between them, by the largest singular values."""

from __future__ import annotations

from typing import Any

from archlang.optimize.affine import affine_keys
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor
from archlang.optimize.layers import layout
from archlang.optimize.taps import POINT
from archlang.optimize.weights import LOW_RANK
from archlang.records import replace


@rewrites("split-low-rank", equivalence="approximate", level=2, purposes=("inference",), takes="rank")
def split_low_rank(edit: Editor) -> None:
    """Linear layers and convolutions without groups: two of this rank, where these take fewer multiplications.

    The weight as a matrix [out, rest] is replaced by the nearest one of the rank (Eckart and Young, 1936).
    """
    rank = edit.number
    for node in edit.nodes("linear", "conv"):
        whole = layout(edit, node)
        if whole is None or whole.groups > 1 or rank < 1:
            continue
        first = replace(whole, outputs=rank)
        last = replace(whole, taps=tuple(POINT for _ in whole.taps), inputs=rank, mode="")
        if first.cost + last.cost >= whole.cost:
            continue
        weight, bias = affine_keys(node)
        keys = [f"{node.path}.0.weight", f"{node.path}.1.weight", *([f"{node.path}.1.bias"] if bias else [])]
        edit.change(LOW_RANK, (weight, bias), keys, rank=rank)
        edit.did(node, f"`{node.op}` becomes two of rank {rank}")
        plain: dict[str, Any] = {**node.attrs, "init": None, "bias_init": None}
        if node.op == "conv":
            parts = first.attrs(plain, bias=False), last.attrs(plain, bias=bias is not None)
        else:
            parts = {**plain, "out_features": rank, "bias": False}, {**plain, "in_features": rank}
        edit.split_module(node, (node.op, parts[0]), (node.op, parts[1]))
