"""Linear layers with a linear map of other dimensions between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archlang.ir.graph import Node, TensorType, Value
from archlang.ops.base import registry
from archlang.optimize.affine import affine_keys, keys
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layers import layout
from archlang.shapes.dim import Size, at_least


@rewrites("collapse-through", equivalence="rounding", level=2, purposes=("inference",))
def collapse_through(edit: Editor) -> None:
    """Linear layers with a matrix product from the left, or a mean over other dimensions, between them: one layer.

    A (A (X V)) W is A A X (V W). Simplifying Graph Convolutional Networks (Wu et al., 2019).
    """
    for last in edit.nodes("linear"):
        between = list(_between(edit, last))
        first = edit.maker(between[-1][1]) if between else None
        if first is None or first.op != "linear" or layout(edit, first) is None or layout(edit, last) is None:
            continue
        if not edit.sole(first.outputs[0]):
            continue
        constant = all(node.op == "reduce_mean" for node, _ in between)  # keeps what is the same everywhere
        now = _macs([first, *(node for node, _ in between), last])
        choices = []
        if constant or not last.attrs["bias"]:
            choices.append((True, last.attrs["out_features"]))
        if constant or not first.attrs["bias"]:
            choices.append((False, first.attrs["in_features"]))
        best: tuple[Size, bool] | None = None
        for early, width in choices:
            cost = _macs_of(first, last, between, early=early, width=width)
            if at_least(now, cost) and (best is None or not at_least(cost, best[0])):
                best = cost, early
        if best is not None:
            edit.did(last, "two `linear` with a linear map of other dimensions between them are one")
            _merge(edit, first, last, between, early=best[1])


def _between(edit: Editor, last: Node) -> Iterator[tuple[Node, Value]]:
    """What stands before a layer and works on other dimensions, the last first, and which of its inputs comes next."""
    value = last.inputs[0]
    while plain(last):
        node = edit.maker(value)
        if node is None or not plain(node) or not edit.sole(value):
            return
        if node.op == "matmul" and all(v.type.rank > 1 for v in node.inputs):
            value = node.inputs[1]
        elif node.op == "reduce_mean" and node.inputs[0].type.rank - 1 not in node.attrs["dim"]:
            value = node.inputs[0]
        else:
            return
        yield node, value


def _macs(nodes: Sequence[Node]) -> Size:
    found = [registry()[n.op].macs([v.type for v in n.inputs], [v.type for v in n.outputs], n.attrs) for n in nodes]
    return sum(found, start=0)


def _wide(value: Value, width: int) -> TensorType:
    return TensorType((*value.type.shape[:-1], width), value.type.dtype)


def _macs_of(first: Node, last: Node, between: Sequence[tuple[Node, Value]], *, early: bool, width: int) -> Size:
    """With one layer before what is between, or after it, where that has `width` features."""
    source, result = (first.inputs[0], first.outputs[0]) if early else (between[0][0].outputs[0], last.outputs[0])
    ends = [first.inputs[0].type.shape[-1], last.attrs["out_features"]]
    types = [TensorType((*v.type.shape[:-1], n), v.type.dtype) for v, n in zip((source, result), ends, strict=True)]
    total = registry()["linear"].macs(types[:1], types[1:], {**last.attrs, "in_features": first.attrs["in_features"]})
    for node, value in between:
        ins = [_wide(v, width) if v is value else v.type for v in node.inputs]
        total = total + registry()[node.op].macs(ins, [_wide(node.outputs[0], width)], node.attrs)
    return total


def _merge(edit: Editor, first: Node, last: Node, between: Sequence[tuple[Node, Value]], *, early: bool) -> None:
    bias = first.attrs["bias"] or last.attrs["bias"]
    edit.change("chain_layers", (*affine_keys(first), *affine_keys(last)), keys(last, bias=bias))
    attrs = {**last.attrs, "in_features": first.attrs["in_features"], "bias": bias}
    value = first.inputs[0]

    def layer(value: Value) -> Value:
        return edit.add("linear", [value], attrs, at=last, path=last.path).outputs[0]

    if early:
        value = layer(value)
    for node, old in reversed(between):
        inputs = [value if v is old else v for v in node.inputs]
        value = edit.add(node.op, inputs, node.attrs, at=last).outputs[0]
    if not early:
        value = layer(value)
    edit.merge(last, value)
    for node, _ in between:
        edit.remove(node)
    edit.remove(first)
    assert first.path is not None
    edit.drop_module(first.path)
    made = next(n for n in edit.nodes("linear") if n.path == last.path)
    edit.reshape_module(made, attrs)
