"""A program for evaluation only: what exists in training alone is gone, and the choice between phases is made."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node, Program

__all__ = ["specialise"]


def specialise(program: Program, frozen: set[int]) -> None:
    """Changes the program's graphs in place, except those that are `frozen` (by id) and what these call.

    A graph that a frozen one calls keeps its results that exist in training only, since the call lists them.
    """
    fixed = {id(n.callee) for g in program.graphs if id(g) in frozen for n in g.nodes if n.callee is not None}
    for graph in program.graphs:  # callees first: what a call gives is known
        if id(graph) in frozen:
            continue
        for node in graph.nodes:
            _results(node)
        if id(graph) not in fixed:
            _decide(graph)
    for graph in program.graphs:
        if id(graph) not in frozen and id(graph) not in fixed:
            graph.outputs = [o for o in graph.outputs if not o.training]


def _results(node: Node) -> None:
    """A call gives what its callee gives in evaluation."""
    if node.callee is None or node.inverted:
        return
    training = [o.training for o in node.callee.outputs for _ in o.values]
    if len(node.outputs) == len(training):
        node.outputs = tuple(v for v, only in zip(node.outputs, training, strict=True) if not only)


def _decide(graph: Graph) -> None:
    chosen = {id(n.outputs[0]): n.inputs[1] for n in graph.nodes if n.op == "phase"}
    graph.nodes = [n for n in graph.nodes if n.op != "phase" and n.phase != "train"]
    for value in list(chosen):
        while id(chosen[value]) in chosen:  # an arm that is a choice itself
            chosen[value] = chosen[id(chosen[value])]
    for node in graph.nodes:
        node.phase = None
        node.inputs = tuple(chosen.get(id(v), v) for v in node.inputs)
    for output in graph.outputs:
        output.values = tuple(chosen.get(id(v), v) for v in output.values)
    graph.constraints = [c for c in graph.constraints if c.phase != "train"]
