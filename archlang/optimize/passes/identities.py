"""Ops that hand their input on unchanged."""

from __future__ import annotations

from archlang.ir.graph import Node
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, dense_run


@rewrites("identities", equivalence="exact", level=1)
def identities(edit: Editor) -> None:
    """Takes away ops that hand their input on unchanged: in evaluation dropout, a reshape to the same shape."""
    for node in edit.nodes():
        _take_away(edit, node, steps=not (edit.training and edit.exact))


# Late: of what stands between two places where gradients are added, one op has to stay, so that they are added in the
# same order. Rather one of these than two that undo each other.
@rewrites("identities-in-training", equivalence="exact", level=1, purposes=("train",), late=True)
def identities_in_training(edit: Editor) -> None:
    """Takes such ops away that autograd takes a step for, where gradients are added in the same order without it."""
    for node in edit.nodes():
        _take_away(edit, node, steps=True)


def _take_away(edit: Editor, node: Node, *, steps: bool) -> None:
    """steps: even an op that autograd takes a step for."""
    op = edit.entry(node)
    if op is None or not node.inputs or len(node.outputs) != 1 or node.log_det or node.phase is not None:
        return
    if not op.is_identity(edit.types(node.inputs), edit.types(node.outputs), node.attrs, edit.training):
        return
    (y,), x = node.outputs, node.inputs[0]
    ins, outs = dense_run(node)
    laid = outs[0].storage is ins[0].storage or edit.same_layout(y, x)
    if laid and (outs[0] is ins[0] or (steps and edit.keeps_gradient(y, x, node))):
        edit.did(node, f"`{node.op}` changes nothing")
        edit.merge(node, node.inputs[0])


@rewrites("empty-calls", equivalence="exact", level=1)
def empty_calls(edit: Editor) -> None:
    """Takes away calls of blocks that hand their inputs on unchanged."""
    for node in edit.nodes("call"):
        callee = node.callee
        if callee is None or callee.nodes or node.phase is not None or callee.proof is not None or node.log_det:
            continue
        inputs = callee.entries
        results = callee.results
        if node.count > 1 and results != inputs:
            continue
        given = {id(v): own for v, own in zip(inputs, node.inputs, strict=True)}
        edit.did(node, f"`{callee.block}` changes nothing")
        for old, value in zip(node.outputs, results, strict=True):
            edit.replace(old, given[id(value)])
        edit.remove(node)
