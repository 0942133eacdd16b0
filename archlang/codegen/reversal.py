"""Which graphs get the reverse direction written, and which calls of them are regions of rebuilt values."""

from __future__ import annotations

from dataclasses import dataclass, field

from archlang.ir.graph import Graph, Node, Program
from archlang.ops.base import registry
from archlang.reversible import invert, proved, rebuildable

__all__ = ["Reversal"]


@dataclass
class Reversal:
    """`inverse`: graphs whose class has that method; `statements`: those whose steps can be taken back in training.

    Only graphs in which some block is declared reversible, or some module is run backwards, are looked at.
    """

    program: Program
    inverse: dict[int, Graph] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)  # of these: what something runs backwards
    statements: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.statements = rebuildable(self.program)
        declared: set[int] = set()
        pending: list[Graph] = []
        for graph in self.program.graphs:  # callees first
            below = any(n.callee is not None and id(n.callee) in declared for n in graph.nodes)
            if graph.reversible or below:
                declared.add(id(graph))
                proof = proved(graph)
                if proof is not None and proof.grade != "approximate":  # iterated inverses are the interpreter's
                    pending.append(graph)
            self.needed |= {id(n.callee) for n in graph.nodes if n.inverted}
            pending += [n.callee for n in graph.nodes if n.inverted and n.callee is not None]
        while pending:
            graph = pending.pop()
            if id(graph) not in self.inverse:
                self.inverse[id(graph)] = graph
                pending += [n.callee for n in invert(graph).nodes if n.inverted and n.callee is not None]

    def region(self, node: Node) -> bool:
        """Whether a call of a graph that is not itself taken back starts a region."""
        return node.callee is not None and not node.inverted and id(node.callee) in self.statements

    def random(self, graph: Graph) -> bool:
        """Whether something below draws random numbers."""
        nodes = [n for g in Program.of(graph).graphs for n in g.nodes]
        below = {n.op for n in nodes if n.attrs.get("p") != 0}  # dropout(0) draws nothing
        return any(op == "extern" or (op in registry() and registry()[op].random) for op in below)
