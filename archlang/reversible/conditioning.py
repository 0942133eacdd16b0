"""How rounding errors grow when reversible regions are undone: an estimate, at the network's initial weights.

In units of the element type's rounding error, a total of 100 means that float32 leaves five digits, and one of 1e7 that
nothing is left. `undoing.py` follows errors through a region.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from archlang.ir.graph import Graph, Node, Program
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.reversible.exact import on_grid
from archlang.reversible.prove import proved
from archlang.reversible.signals import Activation, Signals
from archlang.reversible.undoing import Undoing, blocks_in

__all__ = ["ROUNDING", "Growth", "growth", "regions", "report"]

ROUNDING = {"float32": 6e-8, "bfloat16": 3.9e-3, "float16": 4.9e-4, "float64": 1.1e-16}


@dataclass(frozen=True, slots=True)
class Growth:
    """A region: where it stands, how many reversible blocks it has, and the relative error of its rebuilt streams.

    blocks: reversible blocks in it, those inside others counted alone. total: in units of the rounding error;
    per_block: the mean factor by which one block multiplies it. anchored: the most that it is anywhere, where streams
    are known after every so many blocks.
    """

    graph: Graph
    path: str
    span: Span | None
    blocks: int
    total: float
    anchored: Callable[[int], float]

    @property
    def what(self) -> str:
        blocks = "the reversible block" if self.blocks == 1 else f"the {self.blocks} reversible blocks"
        return f"{blocks} {f'from `{self.path}` on in' if self.path else 'of'} `{self.graph.block}`"

    @property
    def per_block(self) -> float:
        return float(max(self.total, 1.0) ** (1 / max(self.blocks, 1)))


def growth(program: Program, *, calibrated: bool = True) -> list[Growth]:
    """Of the root, where it is reversible as a whole; else of the regions.

    calibrated: batch normalisations have the statistics of the data (training, or evaluation after it); otherwise those
    of a fresh network, mean 0 and variance 1.
    """
    root = program.root
    if all(graph.proof is None for graph in program.graphs):
        return []
    if proved(root) is None:
        return regions(program, calibrated=calibrated)
    signals = Signals(calibrated)
    here, blocks = _start(signals, program), blocks_in(root)

    def anchored(every: int) -> float:
        return Undoing(signals, every, blocks).whole(here)

    return [Growth(root, "", root.span, blocks, anchored(0), anchored)]


def regions(program: Program, *, calibrated: bool = True) -> list[Growth]:
    """Every maximal chain of reversible calls, in the root and in the graphs that are not reversible as a whole."""
    signals = Signals(calibrated)
    found: list[Growth] = []
    if all(graph.proof is None for graph in program.graphs):
        return found
    stack = [_start(signals, program)]
    seen: set[tuple[int, int]] = set()
    while stack:
        here = stack.pop()
        inside: set[int] = set()
        for region in _regions(here.graph):
            inside |= {id(node) for node in region}
            found.append(_region(signals, here, region, here.graph is program.root))
        for node in here.graph.nodes:
            for inner, _ in here.calls.get(id(node), ())[:1] if id(node) not in inside else ():
                if (id(here.graph), id(node)) not in seen:
                    seen.add((id(here.graph), id(node)))
                    stack.append(inner)
    return found


def _start(signals: Signals, program: Program) -> Activation:
    return signals.forward(program.root, [1.0 for port in program.root.inputs for _ in port.values])


def _region(signals: Signals, here: Activation, region: list[Node], root: bool) -> Growth:
    exact = on_grid(here.graph, region, root)
    blocks = sum(node.count * blocks_in(node.callee) for node in region if node.callee is not None)

    def anchored(every: int) -> float:
        return 0.0 if exact else Undoing(signals, every, blocks).region(here, region)

    first = region[0]
    return Growth(here.graph, first.path or first.op, first.span, blocks, anchored(0), anchored)


def _regions(graph: Graph) -> Iterator[list[Node]]:
    """Chains of reversible calls, each on nothing but what those before it in the chain gave."""
    chain: list[Node] = []
    live: set[int] = set()
    for node in graph.nodes:
        if node.callee is None or node.inverted or proved(node.callee) is None:
            continue
        context = sum(len(port.values) for port in node.callee.inputs if port.context)
        streams = {id(v) for v in node.inputs[: len(node.inputs) - context]}
        if chain and not streams <= live:
            yield chain
            chain, live = [], set()
        chain.append(node)
        live = (live - streams) | {id(v) for v in node.outputs}
    if chain:
        yield chain


def report(program: Program) -> list[str]:
    """Lines for `archc check --proof`."""
    lines: list[str] = []
    for calibrated in (True, False):
        for one in growth(program, calibrated=calibrated):
            if calibrated or one.total > 10 * _same(program, one):
                if one.total == 0:
                    lines.append(f"undoing {one.what}: exact, bit for bit")
                    continue
                when = "" if calibrated else " with fresh batch statistics"
                lines.append(
                    f"undoing {one.what}{when}: rounding errors grow to {_amount(one.total)} "
                    f"(x{one.per_block:.2f} a block)"
                )
    return [*lines, ""] if lines else []


def _same(program: Program, one: Growth) -> float:
    """The growth of the same region with calibrated statistics."""
    regions = growth(program)
    return next((g.total for g in regions if g.graph is one.graph and g.path == one.path), 0.0)


def _amount(total: float) -> str:
    float32 = total * ROUNDING["float32"]
    digits = "nothing is left" if float32 >= 1 else f"relative error about {float32:.0e}"
    return f"{total:.1e} times the rounding error; in float32, {digits}"
