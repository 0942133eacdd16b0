"""Convolutions and linear layers as data: their layouts, and two of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Node
from archlang.optimize.affine import affine_keys, keys
from archlang.optimize.edit import Editor, plain
from archlang.optimize.taps import Kernel, composed, kernel, transposed

__all__ = ["chain", "chained", "embed", "layout", "reshape", "work"]


def layout(edit: Editor, node: Node, ops: Sequence[str] = ("conv", "linear")) -> Kernel | None:
    """Of a layer of these ops that is this graph's own; a linear layer has no taps."""
    if node.op not in ops or not plain(node) or edit.module(node) is None:
        return None
    if node.op == "conv_transpose":
        return transposed(node.attrs)
    if node.op == "linear":
        return Kernel((), node.attrs["in_features"], node.attrs["out_features"], 1)
    return kernel(node.attrs)


def chained(first: Node, a: Kernel, last: Node, b: Kernel) -> Kernel | None:
    """The layout of the two as one, where it does the same at the edges, too."""
    if first.op != last.op:
        return None
    return composed(a, b, bias=first.attrs["bias"])


def work(layouts: Sequence[Kernel]) -> int:
    """Multiplications for each output position of layers one after the other, on a large input."""
    total, positions = 0, 1
    for one in reversed(layouts):
        total += one.cost * positions
        positions *= prod(t.stride for t in one.taps)
    return total


def reshape(edit: Editor, node: Node, made: Kernel, *, bias: bool) -> None:
    """Gives a node's module another layout."""
    if node.op != "linear":
        edit.reshape_module(node, made.attrs(node.attrs, bias=bias))
    else:
        edit.reshape_module(
            node, {**node.attrs, "in_features": made.inputs, "out_features": made.outputs, "bias": bias}
        )


def chain(edit: Editor, first: Node, a: Kernel, last: Node, b: Kernel, made: Kernel) -> None:
    """Makes the last of two layers do what both do."""
    embed(edit, first, a, made.groups)
    embed(edit, last, b, made.groups)
    steps: dict[str, Any] = {}
    if made.taps:
        pairs = list(zip(made.taps, a.taps, b.taps, strict=True))
        steps = {
            "groups": made.groups,
            "first_step": tuple(s.step // t.step if s.kernel > 1 else 1 for t, s, _ in pairs),
            "last_step": tuple(u.step * s.stride // t.step if u.kernel > 1 else 1 for t, s, u in pairs),
        }
    reads = (*affine_keys(first), *affine_keys(last))
    bias = first.attrs["bias"] or last.attrs["bias"]
    edit.change("chain_layers", reads, keys(last, bias=bias), **steps)
    edit.rewire(last, first.inputs)
    path = first.path
    assert path is not None
    edit.remove(first)
    edit.drop_module(path)
    reshape(edit, last, made, bias=bias)


def embed(edit: Editor, node: Node, layout: Kernel, groups: int, wide: Kernel | None = None) -> None:
    """Notes that the layer's kernel becomes one with fewer groups, and part of a larger one."""
    options: dict[str, Any] = {} if layout.groups == groups else {"groups": layout.groups, "fewer": groups}
    if wide is not None and any(
        (s.kernel, s.before, s.step) != (t.kernel, t.before, t.step)
        for s, t in zip(layout.taps, wide.taps, strict=True)
    ):
        pairs = list(zip(layout.taps, wide.taps, strict=True))
        options["kernel"] = tuple(t.kernel for _, t in pairs)
        options["start"] = tuple((t.before - s.before) // t.step for s, t in pairs)
        options["step"] = tuple(s.step // t.step if s.kernel > 1 else 1 for s, t in pairs)
    if options:
        weight = (f"{node.path}.weight",)
        edit.change("embed", weight, weight, **options)
