"""Who calls a graph, and what becomes of its results: what a rewrite of the graph's own ports has to know."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Graph, Node, Program, Value

__all__ = ["Callers"]


class Callers:
    """The calls of a program at one time, found when first asked for. frozen: graphs that stay as they are, by id."""

    def __init__(self, program: Program, frozen: set[int]) -> None:
        self._program = program
        self._frozen = frozen
        self._calls: dict[int, list[Node] | None] = {}
        self._read: set[int] = set()

    def calls(self, graph: Graph) -> Sequence[Node]:
        """All calls of a graph, one instance each; none where one cannot change, or the user calls the graph."""
        if not self._calls:
            self._find()
        return self._calls.get(id(graph)) or ()

    def read(self, value: Value) -> bool:
        """Whether anything reads what a call gives."""
        return id(value) in self._read

    def _find(self) -> None:
        program = self._program
        for graph in program.graphs:
            fixed = graph is program.root or id(graph) in self._frozen or graph.reversible
            self._calls[id(graph)] = None if fixed else []
        for graph in program.graphs:
            self._read.update(id(v) for v in graph.results)
            for node in graph.nodes:
                self._read.update(map(id, node.inputs))
                if node.callee is None:
                    continue
                calls = self._calls[id(node.callee)]
                special = node.op != "call" or node.count != 1 or node.inverted or node.log_det
                if calls is not None and not special and id(graph) not in self._frozen:
                    calls.append(node)
                else:
                    self._calls[id(node.callee)] = None
