"""What training keeps of a region besides its results: anchors against rounding, and what steps that jump read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, log

from archlang.ir.graph import Graph, Node, Program, Step, Value
from archlang.reversible.conditioning import ROUNDING, Growth, growth
from archlang.reversible.effects import effects_of

__all__ = ["DRIFT", "Anchors", "anchors_text", "inner_blocks", "jump_reads"]

DRIFT = 1e-3  # the relative error that rebuilt streams may have, as estimated at the initial weights


class Anchors:
    """After how many blocks a region keeps its streams, so that what is rebuilt from them is right within `DRIFT`."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.growths: list[Growth] | None = None

    def every(self, graph: Graph, nodes: Sequence[Node]) -> int:
        """For a region in a graph; 0: its results are enough. The most blocks, hence the least memory."""
        if self.growths is None:
            self.growths = growth(self.program)
        paths = {node.path for node in nodes}
        here = [g for g in self.growths if g.graph is graph and g.path in paths]
        worst = max(here, key=lambda g: g.total, default=None)
        return 0 if worst is None else blocks_between(worst)


def blocks_between(region: Growth, dtype: str = "float32") -> int:
    allowed = DRIFT / ROUNDING[dtype]
    if region.total <= allowed:
        return 0
    return max(1, floor(log(max(allowed, 1.0)) / log(region.per_block)))


def anchors_text(program: Program) -> list[str]:
    """Lines for `archc check --proof`."""
    lines: list[str] = []
    for one in growth(program):
        every = {dtype: blocks_between(one, dtype) for dtype in ("float32", "bfloat16")}
        if one.path and any(every.values()):
            places = [f"in {dtype} {_after(count)}" for dtype, count in every.items()]
            lines.append(f"training {one.what} within {DRIFT:g} keeps the streams {', '.join(places)}")
    return [*lines, ""] if lines else []


def _after(count: int) -> str:
    return "at its end alone" if count == 0 else "after every block" if count == 1 else f"after every {count} blocks"


# -- jumps -------------------------------------------------------------------------------------------------------------
def jump_reads(graph: Graph) -> list[Value]:
    """The streams that steps of a proved graph read to compute what jumps, each once. Context is kept anyway.

    Steps that are blocks of their own are left to the caller.
    """
    assert graph.proof is not None
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    context = {id(v) for port in graph.inputs if port.context for v in port.values}
    live = {id(v): v for port in graph.inputs for v in port.values}
    found: dict[int, Value] = {}
    for step in graph.proof.steps:
        nodes, reads = _operands(step, makers, live)
        own = [step.node] if step.node is not None and step.node.callee is None else []
        if any(effect.kind == "discontinuous" for effect in effects_of([*nodes, *own])):
            found.update((id(v), v) for v in (*reads, *(() if nodes else step.consumed)) if id(v) not in context)
        for v in step.consumed:
            live.pop(id(v), None)
        live.update((id(v), v) for v in step.made)
    return list(found.values())


def _operands(step: Step, makers: dict[int, Node], live: dict[int, Value]) -> tuple[list[Node], list[Value]]:
    """The nodes that compute what a step reads, and the values at hand that they start from."""
    inputs = step.made if step.node is None else step.node.inputs
    pending = [v for v in inputs if not any(v is c for c in step.consumed)]
    nodes: dict[int, Node] = {}
    reads: dict[int, Value] = {}
    while pending:
        v = pending.pop()
        if id(v) in live:
            reads[id(v)] = v
        elif id(v) in makers and id(makers[id(v)]) not in nodes:
            nodes[id(makers[id(v)])] = makers[id(v)]
            pending += makers[id(v)].inputs
    return list(nodes.values()), list(reads.values())


def inner_blocks(graph: Graph) -> Iterator[Node]:
    """The steps that are blocks of their own."""
    assert graph.proof is not None
    for step in graph.proof.steps:
        if step.node is not None and step.node.callee is not None and not step.node.inverted:
            yield step.node
