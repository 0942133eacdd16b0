"""What training keeps of a region besides its results: anchors against rounding, and what steps that jump read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archlang.ir.graph import Graph, Node, Program, Value
from archlang.reversible.conditioning import ROUNDING, Growth, regions
from archlang.reversible.effects import effects_of
from archlang.reversible.together import Operands, operands_of

__all__ = ["DRIFT", "Anchors", "anchors_text", "blocks_between", "inner_blocks", "jump_reads"]

# The relative errors that rebuilt streams may have, as estimated at the initial weights, by the type of training. Of
# float32 three digits are left, of the others what plain training in them has: some roundings.
DRIFT = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}


class Anchors:
    """After how many blocks a region keeps its streams, so that what is rebuilt from them is right within `DRIFT`.

    dtype: what branches are computed in.
    """

    def __init__(self, program: Program, dtype: str = "float32") -> None:
        if dtype not in DRIFT:
            raise ValueError(f"no bound for training in {dtype}, only in {', '.join(DRIFT)}")
        self.program = program
        self.dtype = dtype
        self.growths: list[Growth] | None = None
        self.found: dict[int, int] = {}

    def every(self, graph: Graph, nodes: Sequence[Node]) -> int:
        """For a region in a graph; 0: its results are enough. The most blocks, hence the least memory."""
        if self.growths is None:
            self.growths = regions(self.program)
        paths = {node.path for node in nodes}
        here = [g for g in self.growths if g.graph is graph and g.path in paths]
        worst = max(here, key=lambda g: g.total, default=None)
        if worst is None:
            return 0
        if id(worst) not in self.found:
            self.found[id(worst)] = blocks_between(worst, self.dtype)
        return self.found[id(worst)]


def blocks_between(region: Growth, dtype: str) -> int:
    allowed = DRIFT[dtype] / ROUNDING[dtype]
    low, high = 1, region.blocks
    if region.total <= allowed or high == 1:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if region.anchored(middle) <= allowed else (low, middle)
    return low


def anchors_text(program: Program) -> list[str]:
    """Lines for `archc check --proof`."""
    lines: list[str] = []
    for one in regions(program):
        every = {dtype: blocks_between(one, dtype) for dtype in DRIFT}
        if any(every.values()):
            places = [f"{_after(count)} in {dtype}" for dtype, count in every.items()]
            lines.append(f"training {one.what} keeps the streams {', '.join(places)}")
    return [*lines, ""] if lines else []


def _after(count: int) -> str:
    return "at its end alone" if count == 0 else "after every block" if count == 1 else f"after every {count} blocks"


# -- jumps -------------------------------------------------------------------------------------------------------------
def jump_reads(graph: Graph) -> list[Value]:
    """The streams that steps of a proved graph read to compute what jumps, each once. Context is kept anyway.

    Steps that are blocks of their own are left to the caller.
    """
    assert graph.proof is not None
    operands = Operands(graph)
    context = {id(v) for port in graph.inputs if port.context for v in port.values}
    live = {id(v): v for v in graph.entries}
    found: dict[int, Value] = {}
    for step in graph.proof.steps:
        nodes = operands.nodes(operands_of(step), live)
        reads = [v for v in (*(i for n in nodes for i in n.inputs), *operands_of(step)) if id(v) in live]
        own = [step.node] if step.node is not None and step.node.callee is None else []
        if any(effect.kind == "discontinuous" for effect in effects_of([*nodes, *own])):
            found.update((id(v), v) for v in (*reads, *(() if nodes else step.consumed)) if id(v) not in context)
        for v in step.consumed:
            live.pop(id(v), None)
        live.update((id(v), v) for v in step.made)
    return list(found.values())


def inner_blocks(graph: Graph) -> Iterator[Node]:
    """The steps that are blocks of their own."""
    assert graph.proof is not None
    for step in graph.proof.steps:
        if step.node is not None and step.node.callee is not None and not step.node.inverted:
            yield step.node
