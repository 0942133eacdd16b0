"""A layer as two of few channels between them, by the largest singular values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.optimize.affine import affine_keys
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor
from archlang.optimize.layers import layout
from archlang.optimize.taps import POINT
from archlang.optimize.weights import LOW_RANK, MOVE, Change
from archlang.records import replace


# Late: what becomes of a weight until then counts, the scale of a norm for instance.
@rewrites(
    "split-low-rank",
    equivalence="approximate",
    level=2,
    purposes=("inference",),
    takes="rank",
    within="tolerance",
    late=True,
)
def split_low_rank(edit: Editor) -> None:
    """Linear layers and convolutions without groups: two of this rank, where these take fewer multiplications.

    A tolerance stands for the least rank at which the product of the two is off the weight by no more than so much of
    its norm (Frobenius). The weight as a matrix [out, rest] is replaced by the nearest one of the rank (Eckart and
    Young, 1936). Layers of one graph have one rank: the largest of what they need.
    """
    split = _split(edit.changes)
    for node in edit.nodes("linear", "conv"):
        whole = layout(edit, node)
        weight, bias = affine_keys(node)
        if whole is None or whole.groups > 1 or weight is None or weight in split:
            continue
        rank = _rank(edit, weight)
        first = replace(whole, outputs=rank)
        last = replace(whole, taps=tuple(POINT for _ in whole.taps), inputs=rank, mode="")
        if first.cost + last.cost >= whole.cost:
            continue
        keys = [f"{node.path}.0.weight", f"{node.path}.1.weight", *([f"{node.path}.1.bias"] if bias else [])]
        edit.change(LOW_RANK, (weight, bias), keys, rank=rank)
        edit.did(node, f"`{node.op}` becomes two of rank {rank}")
        plain: dict[str, Any] = {**node.attrs, "init": None, "bias_init": None}
        if node.op == "conv":
            parts = first.attrs(plain, bias=False), last.attrs(plain, bias=bias is not None)
        else:
            parts = {**plain, "out_features": rank, "bias": False}, {**plain, "in_features": rank}
        edit.split_module(node, (node.op, parts[0]), (node.op, parts[1]))


def _rank(edit: Editor, weight: str) -> int:
    """The rank that was asked for, or that the tolerance takes."""
    if edit.number >= 1:
        return int(edit.number)
    from archlang.optimize.runtime.weights import rank_within

    assert edit.trained is not None
    return max((rank_within(t, edit.number) for t in edit.trained.tensors(edit.graph, weight)), default=1)


def _split(changes: Sequence[Change]) -> set[str]:
    """The keys of weights that are made of layers that were split: to split them again would lose more than is said."""
    found: set[str] = set()
    for change in changes:
        if change.function == MOVE:
            ((old,), (new,)) = change.reads, change.writes
            found = {new + key.removeprefix(str(old)) if key.startswith(f"{old}.") else key for key in found}
        elif change.function == LOW_RANK or not found.isdisjoint(change.reads):
            found.update(change.writes)
    return found
