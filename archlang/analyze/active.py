"""Parameters that a result depends on: all but those of parts that the mode leaves out, or that nothing applies."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from archlang.ir.graph import Child, Graph, Node, Program
from archlang.ir.paths import Paths
from archlang.ir.walk import scalars

__all__ = ["active"]


def active(program: Program, training: bool) -> int:
    """Scalars in the parameters that the outputs in training or in evaluation depend on; shared ones count once."""
    reader = _Reader(training)
    for graph in program.graphs:  # callees first
        reader.read(graph)
    return reader.own[id(program.root)]


class _Reader:
    """What each graph reads: parameters of its own, and which of its borrowed slots."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.own: dict[int, int] = {}
        self.slots: dict[int, set[str]] = {}

    def read(self, graph: Graph) -> None:
        paths = Paths(graph)
        read: dict[str, int] = {}
        slots: set[str] = set()
        for node in self._needed(graph):
            for path in map(paths.canonical, self._used(node)):
                child = paths.owned(path)
                if child is not None:
                    read[path] = max(read.get(path, 0), self._of(child))
                elif path in graph.weights:
                    decl = graph.weights[path]
                    read[path] = prod(decl.shape) if decl.kind == "parameter" else 0
                else:
                    slots.add(path)
        self.own[id(graph)] = sum(read.values())
        self.slots[id(graph)] = slots

    def _needed(self, graph: Graph) -> Iterator[Node]:
        """The nodes on whose results an output of this mode depends, last first."""
        needed = {id(v) for o in graph.outputs if self.training or not o.training for v in o.values}
        for node in reversed(graph.nodes):
            if any(id(v) in needed for v in node.outputs):
                yield node
                picked = node.inputs[0 if self.training else 1 :][:1] if node.op == "phase" else node.inputs
                needed.update(id(v) for v in picked)

    def _used(self, node: Node) -> Iterator[str]:
        """Paths of what the node applies: its own child or weight, and what its callee reads of the lent modules."""
        yield from node.paths
        if node.callee is not None and node.modules:
            callee = Paths(node.callee)
            for slot in self.slots[id(node.callee)]:
                lent = callee.lend(slot, node.modules)
                if lent is not None:
                    yield lent

    def _of(self, child: Child) -> int:
        if child.graph is not None:
            return self.own[id(child.graph)]
        return scalars(child).parameters
