"""The branch of a contraction `s + f(s)`, as a graph of its own: f, with whatever else it reads as context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.ir.graph import Attrs, Graph, Node, Output, Port, Step, Value
from archlang.reversible.lipschitz import TOLERANCE, contraction
from archlang.shapes.dim import Size, symbol

__all__ = ["Branch"]


class Branch:
    """f of a contraction step. `graph` has the same children and symbols as the graph around; `reads` are the values
    that it takes besides the stream."""

    def __init__(self, around: Graph, nodes: Sequence[Node], step: Step) -> None:
        (self.stream,) = step.consumed
        assert step.node is not None
        self.makers = {id(v): node for node in nodes for v in node.outputs}
        results = tuple(v for v in step.node.inputs if v is not self.stream)
        inner = self._between(nodes, results)
        made = {id(v) for node in inner for v in node.outputs} | {id(self.stream)}
        taken = [*(v for node in inner for v in node.inputs), *results]
        self.reads = tuple({id(v): v for v in taken if id(v) not in made}.values())
        self.graph = Graph(
            f"{around.name}_branch", around.block, step.span, nodes=inner, children=around.children,
            weights=around.weights, borrowed=around.borrowed, aliases=around.aliases, symbols=around.symbols,
            params=around.params,
        )  # fmt: skip
        self.graph.inputs.append(Port(self.stream.name or "s", (self.stream,)))
        self.graph.inputs += [Port(v.name or f"c{i}", (v,), context=True) for i, v in enumerate(self.reads)]
        self.graph.outputs = [Output((v,)) for v in results]
        self.results = results

    @property
    def attrs(self) -> Attrs:
        """Of the nodes that run the branch."""
        return {"constant": contraction(self.results, self.stream, self.makers), "tolerance": TOLERANCE}

    @property
    def sizes(self) -> Mapping[str, Size]:
        """The symbols are those of the graph around."""
        return {name: symbol(name) for name in self.graph.symbols}

    def _between(self, nodes: Sequence[Node], results: Sequence[Value]) -> list[Node]:
        """The nodes that lead from the stream to the results, in order."""
        depends = {id(self.stream)}
        for node in nodes:
            if any(id(v) in depends for v in node.inputs):
                depends |= {id(v) for v in node.outputs}
        needed: set[int] = set()
        pending = [v for v in results if id(v) in depends]
        while pending:
            made = self.makers.get(id(pending.pop()))
            if made is not None and id(made) not in needed:
                needed.add(id(made))
                pending += [v for v in made.inputs if id(v) in depends and v is not self.stream]
        return [node for node in nodes if id(node) in needed]
