"""Proofs of blocks that transforms change: what each step does is kept, and replayed over what the block has become."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node, Value
from archlang.report.diagnostic import ArchError
from archlang.reversible import Replay, prove, proved

__all__ = ["Proofs"]


class Proofs:
    """What was proved of graphs before they were opened, by their nodes and values."""

    def __init__(self) -> None:
        self._steps: dict[int, tuple[Node, Replay]] = {}  # by id of the node, which is kept: the id stays its own
        self._begun: dict[int, Value] = {}  # by id: values that become streams
        self._declared: dict[int, Graph] = {}  # reversible blocks

    def keep(self, graph: Graph) -> None:
        """Notes the steps of a graph's proof, and takes the proof away."""
        if graph.reversible and graph.proof is not None:
            self._declared[id(graph)] = graph
            for step in graph.proof.steps:
                if step.node is None:
                    self._begun.update((id(v), v) for v in step.made)
                else:
                    read = [id(v) for v in step.node.inputs]
                    places = tuple(read.index(id(v)) for v in step.consumed)
                    self._steps[id(step.node)] = step.node, Replay(places, step.span, step.names)
        graph.proof, graph.reversible = None, False

    def inherit(self, old: Node, new: Node) -> None:
        """A node that does what another one did takes the same step."""
        if id(old) in self._steps:
            self._steps[id(new)] = new, self._steps[id(old)][1]

    def copied(self, old: Graph, new: Graph) -> None:
        """A copy of a graph that was opened, node by node, has its steps."""
        if id(old) in self._declared:
            self._declared[id(new)] = new
        for one, other in zip(old.nodes, new.nodes, strict=True):
            self.inherit(one, other)
            pairs = zip(one.outputs, other.outputs, strict=True)
            self._begun.update((id(b), b) for a, b in pairs if id(a) in self._begun)

    def again(self, graph: Graph) -> bool:
        """Proves a block anew that was reversible. False where it no longer is. Callees first."""
        if id(graph) not in self._declared:
            return True
        steps = {key: replay for key, (_, replay) in self._steps.items()}
        try:
            prove(graph, replay=steps, begun=self._begun)
        except ArchError:
            del self._declared[id(graph)]
            return False
        graph.reversible = True
        return True

    @staticmethod
    def undone(graph: Graph) -> Node | None:
        """A node that runs a callee backwards, or asks for its log-determinant, and none can be proved of it."""
        special = (n for n in graph.nodes if n.callee is not None and n.op == "call" and (n.inverted or n.log_det))
        return next((n for n in special if n.callee is not None and proved(n.callee) is None), None)
