"""Which graphs get the reverse direction written, and which calls of them are regions of rebuilt values."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from archlang.codegen.errors import fail
from archlang.ir.graph import Graph, Node, Program
from archlang.ops.base import registry
from archlang.report.diagnostic import ArchError
from archlang.reversible import adds_log_det, concerned, invert, proved, rebuildable, with_log_det
from archlang.reversible.kept import Anchors

__all__ = ["Reversal"]


@dataclass
class Reversal:
    """`inverse`, `log_det`: graphs whose class has a method for it; `statements`: whose steps training can take back.

    Only graphs in which some block is declared reversible, or some module is run backwards, are looked at.
    """

    program: Program
    rebuild: bool = True  # whether there are regions at all
    whole: bool = False  # whether the root gives its log-determinant
    recorded: Collection[int] = ()  # ids of graphs whose calls are no regions
    overlap: bool = False  # whether regions go back on two streams
    dtype: str = "float32"  # that branches are trained in
    inverse: dict[int, Graph] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)  # of these: what something runs backwards
    log_det: dict[int, Graph] = field(default_factory=dict)
    run: set[int] = field(default_factory=set)  # of `statements`: what some region runs
    statements: set[int] = field(default_factory=set)
    log_statements: set[int] = field(default_factory=set)  # of `log_det`: the same, of the sum's steps, too

    def __post_init__(self) -> None:
        self.anchors = Anchors(self.program, self.dtype)
        self.statements = rebuildable(self.program) - set(self.recorded) if self.rebuild else set()
        pending = [graph for graph in concerned(self.program) if proved(graph) is not None]
        for graph in self.program.graphs:
            self.needed |= {id(n.callee) for n in graph.nodes if n.inverted}
            pending += [n.callee for n in graph.nodes if n.inverted and n.callee is not None]
        while pending:
            graph = pending.pop()
            if id(graph) not in self.inverse:
                self.inverse[id(graph)] = graph
                pending += [n.callee for n in invert(graph).nodes if n.inverted and n.callee is not None]
        graphs = [*self.program.graphs, *(invert(graph) for graph in self.inverse.values())]
        if self.whole:
            self.log_det[id(self.program.root)] = self.program.root
            graphs.append(whole(self.program.root))
        self.measured(graphs)
        self.log_statements = self.log_det.keys() & self.statements
        for graph in reversed(self.program.graphs):  # callers first
            if id(graph) not in self.statements or id(graph) in self.run:
                self.run |= {id(n.callee) for n in graph.nodes if self.region(n)}

    def measured(self, graphs: list[Graph]) -> None:
        """Finds what is called with its log-determinant, here or below."""
        while graphs:
            for node in graphs.pop().nodes:
                if node.log_det and node.callee is not None and id(node.callee) not in self.log_det:
                    self.log_det[id(node.callee)] = node.callee
                    graphs.append(adds_log_det(node.callee))

    def region(self, node: Node) -> bool:
        """Whether a call of a graph that is not itself taken back starts a region."""
        plain = not node.inverted and not node.log_det
        return node.callee is not None and plain and id(node.callee) in self.statements

    def writes(self, nodes: Iterable[Node], *, carried: bool = False) -> bool:
        """Whether nodes that run forwards, or something below, change buffers in training. Pure externs do not.

        carried: such that the next forward in training reads them, unlike running statistics.
        """
        forwards = [n for n in nodes if not n.inverted and n.op != "fixed_point"]  # that leaves buffers as they are
        below = [n for m in forwards if m.callee is not None for g in Program.of(m.callee).graphs for n in g.nodes]
        for node in (*forwards, *below):
            op = registry().get(node.op)
            if op is not None and op.written(node.attrs) and (op.carries or not carried):
                return True
        return False

    def steady(self, graph: Graph) -> bool:
        """Whether an inverse run after it finds all as it was: nothing is random, nor reads buffers that move."""
        below = [n for g in Program.of(graph).graphs for n in g.nodes if n.op in registry()]
        moving = any(registry()[n.op].carries and registry()[n.op].written(n.attrs) for n in below)
        return not moving and not self.random(graph)

    def random(self, graph: Graph) -> bool:
        """Whether something below draws random numbers."""
        nodes = [n for g in Program.of(graph).graphs for n in g.nodes]
        below = {n.op for n in nodes if n.attrs.get("p") != 0}  # dropout(0) draws nothing
        return any(op == "extern" or (op in registry() and registry()[op].random) for op in below)


def whole(root: Graph) -> Graph:
    """The root with its log-determinant."""
    try:
        return with_log_det(root)
    except ArchError as error:
        reason = error.diagnostics[0]
        if reason.code == "ARC0630":
            raise
        fail("ARC0630", f"no log-determinant: {reason.message}", reason.span or root.span, help=reason.help)
