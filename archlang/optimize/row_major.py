"""Which tensors that pass from graph to graph lie in memory in row-major order, at every call."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.ir.graph import Graph, Node, Program
from archlang.optimize.layout import Layouts

__all__ = ["RowMajor"]


class RowMajor:
    """What is known of a program's inputs and results. It is assumed of all, and taken back until it follows of what is
    left: the user gives the root's inputs so, and nothing is known where a graph may run backwards."""

    def __init__(self, program: Program) -> None:
        self._takes = {id(v) for graph in program.graphs for v in graph.entries}
        self._gives = {id(graph): [True] * len(graph.results) for graph in program.graphs}
        self._callers: dict[int, list[Graph]] = {}
        for graph in program.graphs:
            for node in graph.nodes:
                if node.callee is not None:
                    self._callers.setdefault(id(node.callee), []).append(graph)
                    if not _plain(node) or graph.proof is not None:
                        self._takes.difference_update(map(id, node.callee.entries))
        left = {id(graph): graph for graph in program.graphs}
        while left:
            graph = left.pop(next(iter(left)))
            left.update((id(other), other) for other in self._less(graph))

    def layouts(self, graph: Graph) -> Layouts:
        """Of the graph's values, whoever calls it."""
        makers = {id(v): node for node in graph.nodes for v in node.outputs}
        given = self._takes & {id(v) for v in graph.entries}
        for node in graph.nodes:
            if node.callee is not None and _plain(node):
                given |= {id(v) for v, known in zip(node.outputs, self._gives[id(node.callee)], strict=True) if known}
        return Layouts(lambda v: makers.get(id(v)), given)

    def _less(self, graph: Graph) -> Iterator[Graph]:
        """Takes back what does not follow in a graph; the graphs of which less is known now."""
        layouts = self.layouts(graph)
        gives = [layouts.compact(v) for v in graph.results]
        if gives != self._gives[id(graph)]:
            self._gives[id(graph)] = gives
            yield from self._callers.get(id(graph), ())
        for node in graph.nodes:
            if node.callee is None or not _plain(node):
                continue
            known = [layouts.compact(v) for v in node.inputs]
            if node.count > 1:  # each reads what the one before it gives
                known = [a and b for a, b in zip(known, self._gives[id(node.callee)], strict=False)]
                known += [layouts.compact(v) for v in node.inputs[len(known) :]]
            lost = {id(v) for v, so in zip(node.callee.entries, known, strict=True) if not so} & self._takes
            if lost:
                self._takes -= lost
                yield node.callee


def _plain(node: Node) -> bool:
    """Whether a call runs its graph forwards and gives all of its results."""
    assert node.callee is not None
    return node.op == "call" and not (node.inverted or node.log_det) and len(node.outputs) == len(node.callee.results)
