"""Concats of concats, parts of concats, slices of slices, sums of sums: fewer steps over the same elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.ir.graph import Node, Value
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.shapes.dim import Size, at_least

_WHOLE = (None, None, None)


@rewrites("nested-joins", equivalence="exact", level=1)
def nested_joins(edit: Editor) -> None:
    """Makes one of a concat within a concat, and of a sum (product, maximum) that another begins with."""
    for node in edit.nodes():
        op = edit.entry(node)
        if op is None or not plain(node) or not node.inputs:
            continue
        if node.op == "concat":
            given = [v for value in node.inputs for v in _spliced(edit, node, value)]
        elif op.left_fold and node.attrs.get("other") is None:
            given = [*_spliced(edit, node, node.inputs[0]), *node.inputs[1:]]
        else:
            continue
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


@rewrites("parts-of-concats", equivalence="rounding", level=2, purposes=("inference",))
def parts_of_concats(edit: Editor) -> None:
    """Takes the inputs of a concat in place of its parts: split, chunk and slices at their ends.

    No element changes, but the parts lay scattered, and kernels of torch may round otherwise where they do not.
    """
    for node in edit.nodes("split", "chunk", "halves", "index"):
        concat = edit.maker(node.inputs[0])
        if concat is None or concat.op != "concat" or not plain(concat) or not plain(node):
            continue
        whole, dim = concat.outputs[0], concat.attrs["dim"]
        if any(v.type.dtype != whole.type.dtype for v in concat.inputs):
            continue
        ends = _ends(node, dim)
        if node.op == "index" and ends is not None and _slice_of_one(edit, node, concat, *ends[0]):
            continue
        found = [_between(concat.inputs, dim, *pair) for pair in ends] if ends is not None else [None]
        if None in found:
            continue
        edit.did(node, f"`{node.op}` gives inputs of `concat`")
        for old, values in zip(node.outputs, found, strict=True):
            assert values is not None
            new = values[0] if len(values) == 1 else edit.add("concat", values, concat.attrs, at=node).outputs[0]
            edit.replace(old, new)
        edit.remove(node)


def _slice_of_one(edit: Editor, node: Node, concat: Node, start: Size, stop: Size) -> bool:
    """Whether a slice lies within one input, of which it is the slice then."""
    dim: int = concat.attrs["dim"]
    at: Size = 0
    for value in concat.inputs:
        size = value.type.shape[dim]
        if at_least(start, at) and at_least(at + size, stop) and (start, stop) != (at, at + size):
            items = (*(_WHOLE,) * dim, _short(start - at, stop - at, 1, size))
            if edit.turn(node, "index", {"items": items}, (value,)):
                edit.did(node, "a slice of `concat` is one of its input")
            return True
        at = at + size
    return False


def _ends(node: Node, dim: int) -> list[tuple[Size, Size]] | None:
    """Where each part begins and ends along a dimension; None where the node does something else."""
    x = node.inputs[0].type
    if node.op == "index":
        items = node.attrs["items"]
        if len(items) <= dim or any(item != _WHOLE for d, item in enumerate(items) if d != dim):
            return None
        found = _bounds(items[dim], x.shape[dim])
        return [found[:2]] if found is not None and found[2] == 1 else None
    if node.attrs["dim"] != dim:
        return None
    ends: list[tuple[Size, Size]] = []
    at: Size = 0
    for part in node.outputs:
        ends.append((at, at + part.type.shape[dim]))
        at = ends[-1][1]
    return ends


def _between(inputs: Sequence[Value], dim: int, start: Size, stop: Size) -> list[Value] | None:
    """The inputs of a concat that lie from `start` to `stop`; None where an end lies within one."""
    found: list[Value] = []
    at: Size = 0
    for value in inputs:
        if at == start or found:
            found.append(value)
        at = at + value.type.shape[dim]
        if found and at == stop:
            return found
    return None


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
        item = _after(first[d] if d < len(first) else _WHOLE, second[d] if d < len(second) else _WHOLE, shape[d])
        if item is None:
            return None
        items.append(item)
    while items and items[-1] == _WHOLE:
        items.pop()
    return tuple(items)


def _after(first: tuple[Any, ...], second: tuple[Any, ...], size: Size) -> tuple[Any, ...] | None:
    """The slice that takes, of a dimension of this size, what `second` takes of what `first` takes."""
    if _WHOLE in (first, second):
        return second if first == _WHOLE else first
    outer = _bounds(first, size)
    inner = None if outer is None or outer[2] != 1 else _bounds(second, outer[1] - outer[0])
    if outer is None or inner is None:
        return None  # steps of the first one: where it ends would have to be known
    return _short(outer[0] + inner[0], outer[0] + inner[1], inner[2], size)


def _short(start: Size, stop: Size, step: int, size: Size) -> tuple[Any, ...]:
    return (None if start == 0 else start, None if stop == size else stop, None if step == 1 else step)


def _bounds(item: tuple[Any, ...], size: Size) -> tuple[Size, Size, int] | None:
    """A slice's ends, counted from the front, and its step; None where the step is not known."""
    start, stop, step = item
    if step is not None and not isinstance(step, int):
        return None
    ends: list[Size] = []
    for bound, absent in ((start, 0), (stop, size)):
        low = isinstance(bound, int) and bound < 0
        ends.append(absent if bound is None else size + bound if low else bound)
    return ends[0], ends[1], 1 if step is None else step
