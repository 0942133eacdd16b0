"""Functions of single elements go where fewer elements are: after a maximum or a slice, before an enlargement."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from archlang.ir.graph import Node, Value
from archlang.ops.base import Op
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.shapes.dim import evaluate, symbols

_USUAL = 64  # what a symbolic size is taken for, to compare numbers of elements


@rewrites("sink-pointwise", equivalence="exact", level=1, purposes=("inference",))
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
        few, many = _elements(node.outputs[0]), _elements(before.inputs[0])
        if _alone(before, inner) and few < many:
            gains = op.moves(node.attrs) or (op.maximum and inner.rising(before.attrs))
        else:
            gains = _alone(node, op) and inner.moves(before.attrs) and many < few
        if gains and (op.maximum or edit.same_layout(node.outputs[0], before.inputs[0])):
            _exchange(edit, before, node)


def _alone(node: Node, op: Op) -> bool:
    """Whether the node is a function of each element of one wire, of the same type."""
    return len(node.inputs) == 1 and op.steady(node.attrs) and node.outputs[0].type == node.inputs[0].type


def _elements(value: Value) -> int:
    shape = value.type.shape
    return prod(evaluate(size, dict.fromkeys(symbols(size), _USUAL)) for size in shape)


def _exchange(edit: Editor, before: Node, node: Node) -> None:
    """`node(before(x), ...)` becomes `before(node(x, ...))`."""
    edit.did(node, f"`{before.op}` and `{node.op}` change places: fewer elements")
    paths: Sequence[str | None] = (before.path, node.path)
    if edit.graph.sequential and None not in paths:  # numbers go with the places
        first, second = (edit.graph.children[str(p)] for p in paths)
        first.op, second.op = second.op, first.op
        first.attrs, second.attrs = second.attrs, first.attrs
        paths = (node.path, before.path)
    given = (before.inputs[0], *node.inputs[1:])
    first_node = edit.add(node.op, given, node.attrs, at=node, path=paths[1])
    rest = (first_node.outputs[0], *before.inputs[1:])
    second_node = edit.add(before.op, rest, before.attrs, at=node, path=paths[0])
    first_node.span, second_node.span = node.span, before.span
    edit.merge(node, second_node.outputs[0])
    edit.remove(before)
