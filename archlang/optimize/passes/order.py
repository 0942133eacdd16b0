"""The order of steps: what lets go of memory comes early, where the peak of inference is lower then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from archlang.analyze.cost import evaluation
from archlang.analyze.liveness import peak
from archlang.analyze.trace import Trace
from archlang.ir.graph import Graph, Node, Program
from archlang.ops.eager import Storage
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, acts
from archlang.shapes.dim import Size, evaluate, symbols

_GAIN = 50  # a fiftieth of the peak is worth another order than the author's
_USUAL = 64  # what a symbolic size is taken for


@rewrites("order", equivalence="exact", level=1, purposes=("inference",), late=True)
def order(edit: Editor) -> None:
    """Puts steps into another order where less memory is needed at one time."""
    graph = edit.graph
    written = graph.nodes
    if graph.sequential or graph.reversible or all(len(edit.readers(v)) < 2 for v in graph.values):
        return
    trace = _trace(graph)
    found = [written[i] for i in _schedule(edit, trace)]
    if all(a is b for a, b in zip(found, written, strict=True)):
        return
    before = _peak(trace)
    graph.nodes = found
    after = _peak(_trace(graph))
    if before is None or after is None or after * _GAIN > before * (_GAIN - 1):
        graph.nodes = written
        return
    first = next(node for node, old in zip(found, written, strict=True) if node is not old)
    edit.did(first, f"in another order, the peak of memory is {after / before:.2f} of what it was")


def _trace(graph: Graph) -> Trace:
    return evaluation(Program.of(graph))


def _peak(trace: Trace) -> int | None:
    """Bytes; None where the maximum of formulas is not decided."""
    return max(map(_number, peak(trace).options), default=None)


def _number(size: Size) -> int:
    return evaluate(size, dict.fromkeys(symbols(size), _USUAL))


class _Step:
    """A node, with the places of the nodes that must come before it, and the memory that it touches."""

    def __init__(self, node: Node, before: set[int]) -> None:
        self.node = node
        self.before = before
        self.storages: dict[int, Storage] = {}
        self.fresh: list[Storage] = []


def _schedule(edit: Editor, trace: Trace) -> list[int]:
    """Places of the nodes: of those that can be next, always the one after which least is live, else the first."""
    steps = _steps(edit, trace)
    held = {id(s) for s in trace.inputs} | {id(ghost.storage) for ghost in trace.outputs}
    uses = Counter(key for step in steps for key in step.storages)
    waiting = [len(step.before) for step in steps]
    after: list[list[int]] = [[] for _ in steps]
    for i, step in enumerate(steps):
        for k in step.before:
            after[k].append(i)
    ready = {i for i, count in enumerate(waiting) if not count}
    found: list[int] = []

    def growth(i: int) -> tuple[int, int]:
        ends = sum(_number(s.bytes) for key, s in steps[i].storages.items() if uses[key] == 1 and key not in held)
        return sum(_number(s.bytes) for s in steps[i].fresh) - ends, i

    while ready:
        i = min(ready, key=growth)
        ready.remove(i)
        found.append(i)
        uses.subtract(list(steps[i].storages))
        for k in after[i]:
            waiting[k] -= 1
            if not waiting[k]:
                ready.add(k)
    return found


def _steps(edit: Editor, trace: Trace) -> Sequence[_Step]:
    nodes = edit.graph.nodes
    place = {id(v): i for i, node in enumerate(nodes) for v in node.outputs}
    steps, last = [], None
    for i, node in enumerate(nodes):
        before = {place[id(v)] for v in node.inputs if id(v) in place}
        if acts(node, False):  # numbers are drawn in the same order
            before |= set() if last is None else {last}
            last = i
        steps.append(_Step(node, before))
    by_node = {id(step.node): step for step in steps}
    known = {id(s) for s in trace.inputs}
    for one in trace.steps:
        step = by_node[id(one.node)]
        step.storages |= {id(s): s for s in (*one.ins, *one.outs) if not s.own}
        step.fresh += [s for s in one.outs if id(s) not in known and not s.own]
        known |= {id(s) for s in one.outs}
    return steps
