"""Changes of shape and permutations that follow each other: one does what two did."""

from __future__ import annotations

from archlang.ir.graph import Attrs, Node, TensorType, Value
from archlang.ops.base import Context, OpError, registry
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain


@rewrites("views", equivalence="exact", level=1)
def views(edit: Editor) -> None:
    """Makes one of two changes of shape, or of two permutations, that follow each other."""
    for node in edit.nodes():
        op = edit.entry(node)
        if op is None or not plain(node) or len(node.inputs) != 1 or len(node.outputs) != 1:
            continue
        if node.op == "stack":
            if edit.same_layout(node.outputs[0], node.inputs[0]) and edit.turn(
                node, "unsqueeze", {"dim": node.attrs["dim"]}, node.inputs
            ):
                edit.did(node, "`stack` of one wire is `unsqueeze`")
            continue
        before = edit.maker(node.inputs[0])
        inner = None if before is None else edit.entry(before)
        if before is None or inner is None or not plain(before) or len(before.inputs) != 1:
            continue
        if edit.training and edit.exact and not edit.sole(before.outputs[0]):
            continue
        if not edit.keeps_gradient(before.outputs[0], before.inputs[0], before):
            continue
        if op.keeps_order(node.attrs) and inner.keeps_order(before.attrs):
            _reshape(edit, before, node)
            continue
        rank = node.inputs[0].type.rank
        first, second = inner.order(before.attrs, rank), op.order(node.attrs, rank)
        if first is not None and second is not None:
            _permute(edit, before, node, tuple(first[d] for d in second))


def _reshape(edit: Editor, before: Node, node: Node) -> None:
    (x,), (y,) = before.inputs, node.outputs
    if not edit.same_layout(y, x):
        return
    if x.type == y.type:
        _cancel(edit, before, node, x)
        return
    op, attrs = _shaping(x.type, y.type)
    if edit.turn(node, op, attrs, (x,)):
        edit.did(node, f"`{before.op}` and another change of shape are one `{op}`")


def _permute(edit: Editor, before: Node, node: Node, dims: tuple[int, ...]) -> None:
    (x,) = before.inputs
    moved = [i for i, d in enumerate(dims) if i != d]
    if not moved:
        _cancel(edit, before, node, x)
        return
    op, attrs = ("transpose", {"dim0": moved[0], "dim1": moved[1]}) if len(moved) == 2 else ("permute", {"dims": dims})
    if edit.turn(node, op, attrs, (x,)):
        edit.did(node, f"`{before.op}` and another permutation are one `{op}`")


def _cancel(edit: Editor, before: Node, node: Node, x: Value) -> None:
    if edit.keeps_gradient(node.outputs[0], x, before):
        edit.did(node, f"`{node.op}` undoes `{before.op}`")
        edit.merge(node, x)


def _shaping(x: TensorType, y: TensorType) -> tuple[str, Attrs]:
    """The op that changes one shape to the other: `flatten` where it does, else `reshape`."""
    cx = Context()
    for start in range(y.rank if y.rank < x.rank else 0):
        end = start + x.rank - y.rank
        attrs: Attrs = {"start_dim": start, "end_dim": -1 if end == x.rank - 1 else end}
        if registry()["flatten"].infer([x], attrs, cx) == (y,):
            return "flatten", attrs
    free = [i for i, size in enumerate(y.shape) if not isinstance(size, int)]
    if len(free) == 1:  # torch finds it
        attrs = {"shape": tuple(-1 if i in free else size for i, size in enumerate(y.shape))}
        try:
            if registry()["reshape"].infer([x], attrs, cx) == (y,):
                return "reshape", attrs
        except OpError:
            pass  # a size of 0 beside it
    return "reshape", {"shape": y.shape}
