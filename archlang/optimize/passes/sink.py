"""Functions of single elements go where fewer elements are: after a maximum or a slice, before an enlargement."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from archlang.ir.graph import Node, Value
from archlang.ops.base import Op
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.passes.common import key
from archlang.shapes.dim import with_all

_USUAL = 64  # what a symbolic size is taken for, to compare numbers of elements


@rewrites("sink-pointwise", equivalence="exact", level=1, purposes=("inference",), late=True)
def sink_pointwise(edit: Editor) -> None:
    """Exchanges `relu` and its kin with `maxpool`, slices and nearest `interpolate` where that takes fewer steps."""
    for node in edit.nodes():
        op = edit.entry(node)
        if op is None or not plain(node) or not node.inputs or len(node.outputs) != 1 or op.weights(node.attrs):
            continue
        before = edit.maker(node.inputs[0])
        inner = None if before is None else edit.entry(before)
        if before is None or inner is None or not plain(before) or not edit.sole(before.outputs[0]):
            continue
        if inner.weights(before.attrs) or not before.inputs or len(before.outputs) != 1:
            continue
        if _alone(before, inner):
            over, gains = _commute(op, node, inner, before), _elements(node.outputs[0]) < _elements(before.inputs[0])
        else:
            over = _alone(node, op) and _commute(inner, before, op, node)
            gains = _elements(before.inputs[0]) < _elements(node.outputs[0])
        if not over or _twin(edit, before, before.inputs[0]) is not None:
            continue  # what others need, too, is computed once
        twin = _twin(edit, node, before.inputs[0])
        exact = op.maximum or inner.maximum or edit.same_layout(node.outputs[0], before.inputs[0])
        if exact and (gains if twin is None else not edit.exact or op.maximum or inner.maximum):
            _exchange(edit, before, node, twin)


def _commute(mover: Op, move: Node, op: Op, node: Node) -> bool:
    """Whether a function of single elements may come before or after what moves elements, or takes the largest."""
    return mover.moves(move.attrs) or (mover.maximum and op.rising(node.attrs))


def _twin(edit: Editor, node: Node, value: Value) -> Node | None:
    """Another node that does to a value what this one does to its first input."""
    wanted = key(edit, node, (value, *node.inputs[1:]))
    others = (n for n in edit.readers(value) if n is not node and wanted is not None)
    return next((n for n in others if key(edit, n) == wanted), None)


def _alone(node: Node, op: Op) -> bool:
    """Whether the node is a function of each element of one wire, of the same type."""
    return len(node.inputs) == 1 and op.steady(node.attrs) and node.outputs[0].type == node.inputs[0].type


def _elements(value: Value) -> int:
    return prod(with_all(size, _USUAL) for size in value.type.shape)


def _exchange(edit: Editor, before: Node, node: Node, twin: Node | None) -> None:
    """`node(before(x), ...)` becomes `before(node(x, ...))`; twin: computes `node(x, ...)` already."""
    edit.did(node, f"`{before.op}` and `{node.op}` change places: " + ("once for all" if twin else "fewer elements"))
    paths: Sequence[str | None] = (before.path, node.path)
    if edit.graph.sequential and None not in paths:  # numbers go with the places
        one, other = (edit.graph.children[str(p)] for p in paths)
        one.op, other.op = other.op, one.op
        one.attrs, other.attrs = other.attrs, one.attrs
        paths = (node.path, before.path)
    given = (before.inputs[0], *node.inputs[1:])
    first = node if twin is None else next(n for n in edit.graph.nodes if n is node or n is twin)
    first_node = edit.add(node.op, given, node.attrs, at=first, path=paths[1])
    first_node.span = node.span
    if twin is not None:
        edit.merge(twin, first_node.outputs[0])
    rest = (first_node.outputs[0], *before.inputs[1:])
    second_node = edit.add(before.op, rest, before.attrs, at=node, path=paths[0])
    second_node.span = before.span
    edit.merge(node, second_node.outputs[0])
    edit.remove(before)
