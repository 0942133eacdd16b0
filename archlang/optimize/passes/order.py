"""The order of steps: what lets go of memory comes early, where the peak of inference is lower then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from archlang.analyze.cost import evaluation
from archlang.analyze.liveness import peak as peak_of
from archlang.analyze.ordering import least_live
from archlang.analyze.trace import Trace
from archlang.ir.graph import Graph, Node, Program, Value
from archlang.ops.base import registry
from archlang.ops.eager import BYTES
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, acts, dense_run, plain
from archlang.shapes.dim import Size, with_all

_GAIN = 50  # a fiftieth of the peak is worth another order than the author's
_USUAL = 64  # what a symbolic size is taken for


@rewrites("order", equivalence="exact", level=1, purposes=("inference",), late=True)
def order(edit: Editor) -> None:
    """Puts steps into another order where less memory is needed at one time."""
    graph = edit.graph
    written = graph.nodes
    if graph.sequential or graph.reversible or all(len(edit.readers(v)) < 2 for v in graph.values):
        return
    steps, held = _steps(edit)
    before = [step.before for step in steps]
    places = least_live(before, [step.fresh for step in steps], [step.storages for step in steps], held)
    if places == list(range(len(steps))) or not _gains(
        _course(steps, range(len(steps)), held), _course(steps, places, held)
    ):
        return
    usual = _peak(_trace(graph))
    graph.nodes = [written[i] for i in places]
    peak = _peak(_trace(graph))
    if usual is None or peak is None or not _gains(usual, peak):
        graph.nodes = written
        return
    first = next(node for node, old in zip(graph.nodes, written, strict=True) if node is not old)
    edit.did(first, f"in another order, the peak of memory is {peak / usual:.2f} of what it was")


def _gains(before: int, after: int) -> bool:
    return after * _GAIN <= before * (_GAIN - 1)


def _trace(graph: Graph) -> Trace:
    return evaluation(Program.of(graph))


def _peak(trace: Trace) -> int | None:
    """Bytes; None where the maximum of formulas is not decided."""
    return max(map(_number, peak_of(trace).options), default=None)


def _number(size: Size) -> int:
    return with_all(size, _USUAL)


class _Step:
    """A node, with the places of the nodes that must come before it, and the bytes of the memory that it touches."""

    def __init__(self, node: Node, before: set[int]) -> None:
        self.node = node
        self.before = before
        self.storages: dict[int, int] = {}
        self.fresh = 0


def _course(steps: Sequence[_Step], order: Sequence[int], held: set[int]) -> int:
    """The most bytes at one time, beside those inside of calls."""
    uses = Counter(key for step in steps for key in step.storages)
    live = most = 0
    for i in order:
        live += steps[i].fresh
        most = max(most, live)
        for key, size in steps[i].storages.items():
            uses[key] -= 1
            live -= size if not uses[key] and key not in held else 0
    return most


def _steps(edit: Editor) -> tuple[list[_Step], set[int]]:
    """The nodes, and the memory that is held to the end: inputs and results. Calls are taken to give new tensors."""
    graph = edit.graph
    memory = {id(v): (id(v), 0) for v in graph.entries}  # whose it is, and how much
    held = set(memory)
    place = {id(v): i for i, node in enumerate(graph.nodes) for v in node.outputs}
    steps: list[_Step] = []
    last = None
    for i, node in enumerate(graph.nodes):
        before = {place[id(v)] for v in node.inputs if id(v) in place}
        if acts(node, False):  # numbers are drawn in the same order
            before |= set() if last is None else {last}
            last = i
        step = _Step(node, before)
        for value, source in zip(node.outputs, _sources(node), strict=True):
            size = _number(prod(value.type.shape, start=BYTES[value.type.dtype])) if node.op != "weight" else 0
            memory[id(value)] = (id(value), size) if source is None else memory[id(source)]
            step.fresh += size if source is None else 0
        step.storages = dict(memory[id(v)] for v in (*node.inputs, *node.outputs))
        steps.append(step)
    held |= {memory[id(v)][0] for v in graph.results}
    return steps, held


def _sources(node: Node) -> list[Value | None]:
    """Of each result the input whose memory it shares."""
    if node.op not in registry() or not node.inputs or not plain(node):
        return [None] * len(node.outputs)
    ins, outs = dense_run(node)
    shared = {id(ghost.storage): v for ghost, v in zip(ins, node.inputs, strict=True)}
    return [shared.get(id(out.storage)) for out in outs]
