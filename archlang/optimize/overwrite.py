"""Functions of single elements that may write their result over an input, in a module for inference alone.

A tensor may be overwritten where its memory is nobody else's: a step of the graph itself makes it, not as a view of
another tensor, and one node reads it, once. Autograd must not have kept it, either, so that a backward pass through the
module works as before. And the elements must lie where those of a result of its own would, because torch's kernels add
in an order that depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping

from archlang.ir.graph import Node, Value
from archlang.ops.base import registry
from archlang.ops.eager import Ghost, Tape
from archlang.optimize.clone import clone
from archlang.optimize.driver import Optimized
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layout import Layouts
from archlang.optimize.row_major import RowMajor

__all__ = ["overwriting"]


def overwriting(made: Optimized) -> Optimized:
    """The same for the generator, with an attribute `in_place` (which input) on nodes that may write over one.

    A program that is still for training stays as it is.
    """
    if not made.deployed:
        return made
    program = clone(made.program)
    changes = {
        id(new): made.changes.get(id(old), []) for old, new in zip(made.program.graphs, program.graphs, strict=True)
    }
    order = RowMajor(program)
    fresh: dict[int, set[int]] = {}  # of each graph: the places of results whose memory the caller may overwrite
    for graph in program.graphs:
        edit = Editor(graph, False, set(), {}, [])
        own, layouts = {id(v) for node in graph.nodes for v in _made(node, fresh)}, order.layouts(graph)
        for node in graph.nodes if graph.proof is None else ():
            _mark(edit, node, own, layouts)
        results = graph.results
        once = [id(v) in own and not edit.readers(v) and results.count(v) == 1 for v in results]
        fresh[id(graph)] = {place for place, free in enumerate(once) if free}
    return Optimized(program, changes, made.fired, made.deployed)


def _mark(edit: Editor, node: Node, own: set[int], layouts: Layouts) -> None:
    op = edit.entry(node)
    if op is None or not plain(node) or len(node.outputs) != 1:
        return
    for place in op.in_place(node.attrs, len(node.inputs)):
        x = node.inputs[place]
        if id(x) not in own or not edit.sole(x) or x.type != node.outputs[0].type:
            continue
        if not layouts.same_over(node, place):
            continue
        attrs = {**node.attrs, "in_place": place}
        if node.path is None:
            node.attrs = attrs
        elif edit.module(node) is not None:
            edit.reshape_module(node, attrs)
        return


def _made(node: Node, fresh: Mapping[int, set[int]]) -> list[Value]:
    """The results of a node that lie in memory of their own, which autograd does not keep."""
    if node.callee is not None:
        if node.op != "call" or node.inverted or node.log_det or len(node.outputs) != len(node.callee.results):
            return []
        return [node.outputs[place] for place in fresh[id(node.callee)]]
    if node.op not in registry() or not plain(node) or node.op == "weight":
        return []
    op, tape = registry()[node.op], Tape(training=True, grad=True)
    ins = [_tracked(tape.new(v.type.shape, v.type.dtype)) for v in node.inputs]
    weights = {w.name: tape.weight(w.shape, w.dtype, w.trainable) for w in op.weights(node.attrs)}
    outs = op.trace(tape, ins, weights, [v.type for v in node.outputs], node.attrs)
    given = [id(ghost.storage) for ghost in (*ins, *weights.values())]
    return [
        value
        for value, out in zip(node.outputs, outs, strict=True)
        if id(out.storage) not in given and not out.storage.kept and sum(o.storage is out.storage for o in outs) == 1
    ]


def _tracked(ghost: Ghost) -> Ghost:
    return Ghost(ghost.shape, ghost.strides, ghost.dtype, ghost.storage, True)
