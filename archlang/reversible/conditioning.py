"""How rounding errors grow when reversible regions are undone: an estimate, at the network's initial weights.

An inverse computes old streams from new ones, which have rounding errors, and adds errors of its own: by subtracting,
by the branch that it computes from streams that are slightly off, by dividing by a factor. `growth` follows them from
the results of a region to its streams. In units of the element type's rounding error, a total of 100 means that float32
leaves five digits, and one of 1e7 that nothing is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from archlang.ir.graph import Graph, Node, Program, Step, Value
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.reversible.exact import on_grid
from archlang.reversible.prove import proved
from archlang.reversible.runs import runs
from archlang.reversible.signals import Activation, Signals

__all__ = ["ROUNDING", "Growth", "blocks_in", "growth", "report"]

ROUNDING = {"float32": 6e-8, "bfloat16": 3.9e-3, "float16": 4.9e-4, "float64": 1.1e-16}
_MOST = 1e38
_MARGIN = 1.01  # of a child that stands for several: they need not be at their steady state


@dataclass(frozen=True, slots=True)
class Growth:
    """A region: where it stands, how many reversible blocks it has, and the relative error of its rebuilt streams.

    blocks: reversible blocks in it, those inside others counted alone. total: in units of the rounding error;
    per_block: the mean factor by which one block multiplies it.
    """

    graph: Graph
    path: str
    span: Span | None
    blocks: int
    calibrated: bool
    total: float

    @property
    def what(self) -> str:
        blocks = "the reversible block" if self.blocks == 1 else f"the {self.blocks} reversible blocks"
        return f"{blocks} {f'from `{self.path}` on in' if self.path else 'of'} `{self.graph.block}`"

    @property
    def per_block(self) -> float:
        return float(max(self.total, 1.0) ** (1 / max(self.blocks, 1)))


def growth(program: Program, *, calibrated: bool = True) -> list[Growth]:
    """Every maximal chain of reversible calls, in the graphs that are not reversible as a whole.

    calibrated: batch normalisations have the statistics of the data (training, or evaluation after it); otherwise those
    of a fresh network, mean 0 and variance 1.
    """
    signals = Signals(calibrated)
    found: list[Growth] = []
    if all(graph.proof is None for graph in program.graphs):
        return found
    root = program.root
    start = signals.forward(root, [1.0 for port in root.inputs for _ in port.values])
    if proved(root) is not None:
        assert root.proof is not None
        results = [v for output in root.outputs[: root.proof.outputs] for v in output.values]
        errors = _undo(signals, start, {id(v): start.rms[id(v)] for v in results})
        total = _relative(errors, [start.rms[id(v)] for v in root.streams])
        return [Growth(root, "", root.span, blocks_in(root), calibrated, total)]
    stack = [start]
    seen: set[tuple[int, int]] = set()
    while stack:
        here = stack.pop()
        inside: set[int] = set()
        for region in _regions(here.graph):
            inside |= {id(node) for node in region}
            total = 0.0 if on_grid(here.graph, region, here.graph is root) else _undo_region(signals, here, region)
            blocks = sum(node.count * blocks_in(node.callee) for node in region if node.callee is not None)
            first = region[0]
            found.append(Growth(here.graph, first.path or first.op, first.span, blocks, calibrated, total))
        for node in here.graph.nodes:
            for inner, _ in here.calls.get(id(node), ())[:1] if id(node) not in inside else ():
                if (id(here.graph), id(node)) not in seen:
                    seen.add((id(here.graph), id(node)))
                    stack.append(inner)
    return found


def blocks_in(graph: Graph) -> int:
    """Reversible blocks that a proved graph runs: itself, or those in its steps."""
    if graph.proof is None:
        return 1
    nodes = (step.node for step in graph.proof.steps if step.node is not None)
    return sum(node.count * blocks_in(node.callee) for node in nodes if node.callee is not None) or 1


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


def _undo_region(signals: Signals, here: Activation, region: Sequence[Node]) -> float:
    """The largest relative error of the region's streams, in units of rounding."""
    errors: dict[int, float] = {}
    for node in region:
        errors.update((id(v), here.rms[id(v)]) for v in node.outputs)
    for node in reversed(region):
        for v, error in zip(_streams(node), _undo_call(signals, here, node, errors), strict=True):
            errors[id(v)] = error
    streams = _streams(region[0]) or region[0].outputs
    if region[0].log_det:  # nothing reads a sum of determinants before its end
        streams = streams[:-1]
    return _relative([errors[id(v)] for v in streams], [here.rms[id(v)] for v in streams])


def _relative(errors: Sequence[float], sizes: Sequence[float]) -> float:
    """The largest error beside the largest stream: one that starts at zero has no relative error of its own."""
    return max(errors, default=1.0) / max(*sizes, 1e-12) if sizes else 1.0


def _streams(node: Node) -> tuple[Value, ...]:
    assert node.callee is not None
    context = sum(len(port.values) for port in node.callee.inputs if port.context)
    return node.inputs[: len(node.inputs) - context]


def _undo_call(signals: Signals, here: Activation, node: Node, errors: dict[int, float]) -> list[float]:
    """Errors of a call's streams from those of its results; where a child stands for several, at its rate."""
    callee = runs(node)
    assert callee is not None and callee.proof is not None
    made = [v for output in callee.outputs[: callee.proof.outputs] for v in output.values]
    now = [errors[id(v)] for v in node.outputs[: len(made)]]
    sizes = [here.rms[id(v)] for v in node.outputs[: len(made)]]
    calls = here.calls.get(id(node), [])
    for place, (inner, weight) in reversed(list(enumerate(calls))):
        before = [inner.rms[id(v)] for v in inner.graph.streams]
        if weight == 1:
            now = _undo(signals, inner, dict(zip(map(id, made), now, strict=True)))
        else:
            relative = [e / max(size, 1e-12) for e, size in zip(now, sizes, strict=True)]
            once = partial(_undo_relative, signals, inner, made)
            relative = _repeated(once, relative, weight)
            before = [calls[place - 1][0].rms[id(v)] for v in made]  # where the first of them starts
            now = [min(_MARGIN * e * size, _MOST) for e, size in zip(relative, before, strict=True)]
        sizes = before
    return now


def _undo_relative(signals: Signals, here: Activation, made: Sequence[Value], errors: Sequence[float]) -> list[float]:
    """As `_undo`, of relative errors."""
    results = {id(v): e * here.rms[id(v)] for e, v in zip(errors, made, strict=True)}
    back = _undo(signals, here, results)
    return [e / max(here.rms[id(v)], 1e-12) for e, v in zip(back, here.graph.streams, strict=True)]


def _repeated(once: Callable[[Sequence[float]], list[float]], errors: Sequence[float], count: int) -> list[float]:
    """`once` applied `count` times: squares of errors follow e' = M e + c, and so do two steps, four, eight, ..."""
    large, rank = 1e8, range(len(errors))
    offset = [e**2 for e in once([0.0 for _ in rank])]
    columns = [once([large * (i == j) for i in rank]) for j in rank]
    matrix = [[max(columns[j][i] ** 2 - offset[i], 0.0) / large**2 for j in rank] for i in rank]
    now = [e**2 for e in errors]
    while count:
        if count % 2:
            now = _affine(matrix, now, offset)
        matrix, offset = (
            [[_sum(matrix[i][k] * matrix[k][j] for k in rank) for j in rank] for i in rank],
            _affine(matrix, offset, offset),
        )
        count //= 2
    return [math.sqrt(e) for e in now]


def _affine(matrix: Sequence[Sequence[float]], x: Sequence[float], offset: Sequence[float]) -> list[float]:
    return [_sum((*(m * e for m, e in zip(row, x, strict=True)), c)) for row, c in zip(matrix, offset, strict=True)]


def _sum(terms: Iterable[float]) -> float:
    return min(sum(terms), _MOST**2)


def _undo(signals: Signals, here: Activation, errors: dict[int, float]) -> list[float]:
    """Errors of a proved graph's streams from those of its results, by value."""
    proof = here.graph.proof
    assert proof is not None
    for step in reversed(proof.steps):
        if step.node is None:
            continue
        if step.kind == "update":
            _undo_update(signals, here, step, step.node, errors)
        elif step.node.callee is not None and not step.node.inverted:
            for v, error in zip(step.consumed, _undo_call(signals, here, step.node, errors), strict=True):
                errors[id(v)] = error
        else:
            worst = max(errors[id(v)] / max(here.rms[id(v)], 1e-12) for v in step.made)
            errors.update((id(v), worst * here.rms[id(v)]) for v in step.consumed)
    return [min(errors[id(v)], _MOST) for v in here.graph.streams]


def _undo_update(signals: Signals, here: Activation, step: Step, node: Node, errors: dict[int, float]) -> None:
    (old,), (new,) = step.consumed, step.made
    rest = [v for v in node.inputs if v is not old]
    error = errors[id(new)]
    size, sizes = here.rms[id(new)], [here.rms[id(v)] for v in rest]
    own = signals.errors(here, errors, rest)
    if node.op in ("add", "sub"):
        rounding = max(size, *sizes) if sizes else size
        errors[id(old)] = math.hypot(error, *own, rounding)
        return
    _, gains = signals.rule(here.graph, node, [here.rms[id(v)] for v in node.inputs])
    scale = max(gains[next(i for i, v in enumerate(node.inputs) if v is old)], 1e-12)
    of_factor = [e / max(m, 1e-12) * here.rms[id(old)] for e, m in zip(own, sizes, strict=True)]
    errors[id(old)] = math.hypot(error / scale, *of_factor, here.rms[id(old)])


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
