"""Concats of concats, slices of slices, sums of sums: fewer steps over the same elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.ir.graph import Node, Value
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.slices import WHOLE, bounds, short
from archlang.shapes.dim import Size


@rewrites("nested-joins", equivalence="exact", level=1)
def nested_joins(edit: Editor) -> None:
    """Makes one of a concat within a concat, and of a sum (product, maximum) that another begins with."""
    for node in edit.nodes():
        splice(edit, node)


def splice(edit: Editor, node: Node) -> None:
    """Gives a join the inputs of those within it, where nothing else reads these."""
    op = edit.entry(node)
    if op is None or not plain(node) or not node.inputs:
        return
    if node.op == "concat":
        given = [v for value in node.inputs for v in _spliced(edit, node, value)]
    elif op.left_fold and node.attrs.get("other") is None:
        given = [*_spliced(edit, node, node.inputs[0]), *node.inputs[1:]]
    else:
        return
    if len(given) > len(node.inputs):
        edit.did(node, f"`{node.op}` takes the inputs of the one within it")
        edit.rewire(node, given)


def _spliced(edit: Editor, node: Node, value: Value) -> Sequence[Value]:
    """The inputs of the same join that makes a value for this node alone; else the value."""
    maker = edit.maker(value)
    if maker is None or maker.op != node.op or dict(maker.attrs) != dict(node.attrs) or not plain(maker):
        return (value,)
    if not all(v.type.dtype == value.type.dtype and edit.keeps_gradient(value, v, maker) for v in maker.inputs):
        return (value,)
    return maker.inputs if edit.sole(value) else (value,)


@rewrites("nested-slices", equivalence="exact", level=1)
def nested_slices(edit: Editor) -> None:
    """Makes one of a slice of a slice."""
    for node in edit.nodes("index"):
        before = edit.maker(node.inputs[0])
        if before is None or before.op != "index" or not plain(before) or not plain(node):
            continue
        if edit.training and not edit.sole(before.outputs[0]):
            continue
        if not edit.keeps_gradient(before.outputs[0], before.inputs[0], before):
            continue
        items = _composed(before, node)
        if items is not None and edit.turn(node, "index", {"items": items}, before.inputs):
            edit.did(node, "a slice of a slice is one slice")


def _composed(before: Node, node: Node) -> tuple[Any, ...] | None:
    first, second = before.attrs["items"], node.attrs["items"]
    if not all(isinstance(item, tuple) for item in (*first, *second)):
        return None
    shape = before.inputs[0].type.shape
    items: list[Any] = []
    for d in range(max(len(first), len(second))):
        item = _after(first[d] if d < len(first) else WHOLE, second[d] if d < len(second) else WHOLE, shape[d])
        if item is None:
            return None
        items.append(item)
    while items and items[-1] == WHOLE:
        items.pop()
    return tuple(items)


def _after(first: tuple[Any, ...], second: tuple[Any, ...], size: Size) -> tuple[Any, ...] | None:
    """The slice that takes, of a dimension of this size, what `second` takes of what `first` takes."""
    if WHOLE in (first, second):
        return second if first == WHOLE else first
    outer = bounds(first, size)
    inner = None if outer is None or outer[2] != 1 else bounds(second, outer[1] - outer[0])
    if outer is None or inner is None:
        return None  # steps of the first one: where it ends would have to be known
    return short(outer[0] + inner[0], outer[0] + inner[1], inner[2], size)
