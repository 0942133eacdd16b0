"""Channels of several members in another arrangement: apart, in front, in another dimension, among the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.ir.graph import Attrs, Node, Value
from archlang.ops.base import REQUIRED, Context, registry
from archlang.optimize.edit import Editor
from archlang.shapes.dim import Size
from archlang.transform.ways import FRONT

__all__ = [
    "applied",
    "folded",
    "fronted",
    "laid",
    "merged",
    "moved",
    "parted",
    "reshaped",
    "results",
    "settled",
    "spread",
    "unfolded",
]


def applied(edit: Editor, op: str, inputs: Sequence[Value], at: Node, **args: Any) -> Value:
    """The first result of an op in the place of a node, with defaults for arguments that are not given."""
    return results(edit, op, inputs, at, args)[0]


def results(edit: Editor, op: str, inputs: Sequence[Value], at: Node, args: Attrs) -> tuple[Value, ...]:
    """All results of an op in the place of a node, with defaults for arguments that are not given."""
    entry = registry()[op]
    full = {p.name: p.default for p in entry.params if p.default is not REQUIRED} | dict(args)
    attrs = entry.resolve([v.type for v in inputs], full, Context())
    return edit.add(op, inputs, attrs, at=at).outputs


def reshaped(edit: Editor, value: Value, shape: Sequence[Size], at: Node) -> Value:
    """The elements in another shape; where they come from one of that shape, that."""
    maker = edit.maker(value)
    if maker is not None and maker.op == "reshape" and maker.inputs[0].type.shape == tuple(shape):
        return maker.inputs[0]
    return applied(edit, "reshape", [value], at, shape=tuple(shape))


def parted(edit: Editor, value: Value, axis: int, count: int, at: Node) -> Value:
    """[..., members * C, ...] as [..., members, C, ...]."""
    shape, axis = value.type.shape, axis % value.type.rank
    size = shape[axis]
    assert isinstance(size, int)
    return reshaped(edit, value, (*shape[:axis], count, size // count, *shape[axis + 1 :]), at)


def merged(edit: Editor, value: Value, axis: int, at: Node) -> Value:
    """[..., members, C, ...] as [..., members * C, ...]."""
    shape, axis = value.type.shape, axis % value.type.rank
    return reshaped(edit, value, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]), at)


def folded(edit: Editor, value: Value, axis: int, count: int, at: Node) -> Value:
    """[B, ..., members * C, ...], or [members, B, ...], as [B * members, ..., C, ...]."""
    return merged(edit, fronted(edit, value, axis, 1, count, at), 0, at)


def unfolded(edit: Editor, value: Value, axis: int, count: int, batch: Size, at: Node) -> Value:
    """[B * members, ..., C, ...] as [B, ..., members * C, ...], or [members, B, ...]."""
    apart = reshaped(edit, value, (batch, count, *value.type.shape[1:]), at)
    return settled(edit, apart, 1, axis, at)


def moved(edit: Editor, value: Value, source: int, target: int, at: Node) -> Value:
    """The value with a dimension in another place."""
    if source == target:
        return value
    order = [i for i in range(value.type.rank) if i != source]
    order.insert(target, source)
    return applied(edit, "permute", [value], at, dims=tuple(order))


def fronted(edit: Editor, value: Value, axis: int, place: int, count: int, at: Node) -> Value:
    """Channels of members in `axis` with members in a dimension of their own, `place` (of the result)."""
    if axis == FRONT:
        return moved(edit, value, 0, place, at)
    return moved(edit, parted(edit, value, axis, count, at), axis, place, at)


def settled(edit: Editor, value: Value, place: int, axis: int, at: Node) -> Value:
    """Members in a dimension of their own, `place`, with their channels in `axis`."""
    if axis == FRONT:
        return moved(edit, value, place, 0, at)
    return merged(edit, moved(edit, value, place, axis, at), axis, at)


def laid(edit: Editor, value: Value, axis: int, to: int, count: int, at: Node) -> Value:
    """Channels of members in `axis` with members one after the other in dimension `to`."""
    return value if axis == to else settled(edit, fronted(edit, value, axis, max(to, 0), count, at), max(to, 0), to, at)


def spread(edit: Editor, value: Value, axis: int | None, place: int, rank: int, count: int, at: Node) -> Value:
    """The value among others of `rank` dimensions, with members in one more, before dimension `place` of these.

    axis: of its members' channels; None: all see the same, and it has size 1 there.
    """
    own = value.type.rank - (axis == FRONT)
    here = place - (rank - own)
    if axis is None:
        if here < 0:
            return value
        shape = value.type.shape
        return applied(edit, "reshape", [value], at, shape=(*shape[:here], 1, *shape[here:]))
    apart = fronted(edit, value, axis, max(here, 0), count, at)
    if here >= 0:
        return apart
    first, *rest = apart.type.shape
    return applied(edit, "reshape", [apart], at, shape=(first, *[1] * -here, *rest))
