"""Runs a program on tensors without values: work, what autograd keeps, which tensors share memory.

A graph is traced once for each distinct way of calling it: sizes, strides, gradients, and which inputs share memory
or are kept already. A run of equal children is followed until two of them are alike; the rest is multiplied. Of a
region of reversible calls, autograd keeps the results, anchors, what is only read, and what steps that jump read; else
what happens inside leaves nothing.

What a step keeps is gone with it: where no result of a graph depends on it but by what autograd does not follow
(`detach`), nothing is kept. Such steps are known once the graph has been walked, which is then walked again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from archlang.analyze.plan import Env, Plan, Plans, present
from archlang.analyze.regions import crossed, jumps
from archlang.ir.externs import cost_is_stated, figure, parameters_of
from archlang.ir.graph import CONTRACTIONS, Attrs, Graph, Node, TensorType, WeightDecl
from archlang.ir.paths import shift
from archlang.ops.base import registry
from archlang.ops.eager import BYTES, FLOATS, Ghost, Storage, Tape, nbytes
from archlang.records import dataclass, field
from archlang.reversible import region_from, runs, uses
from archlang.reversible.kept import Anchors
from archlang.shapes.dim import Size

_OUTSIDE = ("extern", *CONTRACTIONS)  # their work is not known

__all__ = ["Row", "Step", "Trace", "Tracer", "Work", "operations"]


@dataclass(frozen=True, slots=True)
class Work:
    """Operations, bytes read and written, and bytes kept for the backward pass."""

    macs: Size = 0
    flops: Size = 0
    traffic: Size = 0
    saved: Size = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.macs + other.macs, self.flops + other.flops, self.traffic + other.traffic, self.saved + other.saved
        )

    def __mul__(self, times: int) -> Work:
        return Work(self.macs * times, self.flops * times, self.traffic * times, self.saved * times)


@dataclass(slots=True)
class Step:
    """One application: the storages that go in and come out, and the trace of the callee; of an op, what it asks
    autograd to keep, whoever else does. vain: it asked, but is gone at once, as no result needs its gradient. copies:
    bytes of the buffers that it keeps and writes, which a second evaluation keeps copies of.

    Of a run's instances it is the one at `place`, and stands for those up to the next one of which there is a step.
    """

    ins: tuple[Storage, ...]
    outs: tuple[Storage, ...]
    trace: Trace | None
    node: Node
    place: int = 0
    asked: tuple[Storage, ...] = ()
    work: Work = Work()
    vain: bool = False
    copies: Size = 0

    @property
    def name(self) -> str:
        return shift(self.node.path, self.place) if self.node.path is not None else self.node.op


@dataclass(slots=True)
class Row:
    """What one node did in all; `trace` is that of its last instance."""

    node: Node
    work: Work = Work()
    trace: Trace | None = None


@dataclass(slots=True)
class Trace:
    """What a graph did. Storages are its own copies: `inputs` stand for the caller's, in order of first occurrence."""

    inputs: tuple[Storage, ...]
    outputs: tuple[Ghost, ...] = ()
    steps: list[Step] = field(default_factory=list)
    rows: list[Row | None] = field(default_factory=list)  # a row a node; None: not in this mode
    work: Work = Work()
    by_op: dict[str, tuple[int, Work]] = field(default_factory=dict)
    uncounted: frozenset[str] = frozenset()  # `extern m:f`, of which nothing is known; what keeps what is not known
    plan: Plan | None = None
    vain: frozenset[int] = frozenset()  # ids of values: a graph hangs on them that is gone with them

    @property
    def used(self) -> frozenset[int]:
        """Indices of the inputs that something reads, or that come out again."""
        if self._used is None:
            reached = {id(s) for g in self.outputs for s in (g.storage,)}
            for step in self.steps:
                read = step.ins if step.trace is None else _distinct(step.ins)
                kept = range(len(read)) if step.trace is None else step.trace.used
                reached.update(id(read[i]) for i in kept)
            self._used = frozenset(i for i, s in enumerate(self.inputs) if id(s) in reached)
        return self._used

    _used: frozenset[int] | None = None


class Tracer:
    """Traces of one program in one mode. grad: whether autograd records.

    rebuilt: ids of the graphs that training takes back (`rebuildable`); empty: everything is kept.
    backwards: within an inverse, where the buffers that training writes are copies, which autograd keeps.
    """

    def __init__(
        self,
        plans: Plans,
        training: bool,
        grad: bool,
        rebuilt: Collection[int] = (),
        backwards: bool = False,
        anchors: Anchors | None = None,
    ) -> None:
        self.plans = plans
        self.training = training
        self.grad = grad
        self.rebuilt = rebuilt if grad else ()
        self.backwards = backwards
        self.anchors = anchors
        self.unrecorded = Tracer(plans, training, grad=False) if grad else self
        self.inverse = self if backwards else Tracer(plans, training, grad, backwards=True)
        self._memo: dict[Any, Trace] = {}

    def graph(self, graph: Graph, env: Env, ins: Sequence[Ghost], unread: frozenset[int] = frozenset()) -> Trace:
        """unread: the places of results that the caller does nothing with."""
        plan = self.plans.plan(graph, env)
        key = (plan.key, signature(ins), unread)
        if key not in self._memo:
            walk = _Walk(self, plan, ins)
            trace = walk.run()
            vain = walk.in_vain(unread) if self.grad else None
            self._memo[key] = trace if vain is None else _Walk(self, plan, ins, vain).run()
        return self._memo[key]


def signature(ins: Sequence[Ghost]) -> Any:
    """Equal for inputs between which no graph can tell; one tensor given twice is not two views of it."""
    storages = _distinct(g.storage for g in ins)
    numbers = {id(s): i for i, s in enumerate(storages)}
    first = {id(g): i for i, g in reversed([*enumerate(ins)])}
    ghosts = tuple((g.shape, g.strides, g.dtype, g.grad, numbers[id(g.storage)], first[id(g)]) for g in ins)
    return ghosts, tuple((s.bytes, s.own, s.kept) for s in storages)


def _distinct(storages: Iterable[Storage]) -> tuple[Storage, ...]:
    return tuple({id(s): s for s in storages}.values())


def _moved(ghosts: Sequence[Ghost], old: Sequence[Storage], new: Sequence[Storage]) -> tuple[Ghost, ...]:
    """The ghosts on other storages: `new` in place of `old`, copies of those that are in neither."""
    places = {id(s): t for s, t in zip(old, new, strict=True)}
    moved: dict[int, Ghost] = {}
    for g in ghosts:
        if id(g.storage) not in places:
            places[id(g.storage)] = Storage(g.storage.bytes, g.storage.own, g.storage.kept)
        if id(g) not in moved:
            moved[id(g)] = Ghost(g.shape, g.strides, g.dtype, places[id(g.storage)], g.grad)
    return tuple(moved[id(g)] for g in ghosts)


@dataclass(frozen=True, slots=True)
class _Vain:
    """By the ids of nodes. whole: those whose gradients no result needs, and whether they ask for any storage; parts:
    of calls, the places of such results."""

    whole: Mapping[int, bool] = field(default_factory=dict)
    parts: Mapping[int, frozenset[int]] = field(default_factory=dict)

    def values(self, graph: Graph) -> frozenset[int]:
        """Ids of results of such nodes, where something asked for storages on the way to them."""
        found: set[int] = set()
        for node in graph.nodes if self.whole else ():
            asks = self.whole.get(id(node))
            if asks or (asks is not None and any(id(v) in found for v in node.inputs)):
                found.update(id(v) for v in node.outputs)
        return frozenset(found)


class _Walk:
    """One graph, node by node."""

    def __init__(self, tracer: Tracer, plan: Plan, ins: Sequence[Ghost], vain: _Vain | None = None) -> None:
        self.vain = vain or _Vain()
        self.tracer = tracer
        self.plan = plan
        self.tape = Tape(tracer.training, tracer.grad)
        outer = _distinct(g.storage for g in ins)
        own = tuple(Storage(s.bytes, s.own, s.kept) for s in outer)
        self.values = {id(v): g for v, g in zip(plan.graph.entries, _moved(ins, outer, own), strict=True)}
        self.trace = Trace(own, plan=plan, vain=self.vain.values(plan.graph))
        self.regions = self.places() if tracer.rebuilt else {}

    def places(self) -> dict[int, list[Node]]:
        """For the ids of the nodes in regions, the nodes of the region."""
        nodes, rebuilt, read = self.plan.graph.nodes, self.tracer.rebuilt, uses(self.plan.graph)
        found: dict[int, list[Node]] = {}
        at = 0
        while at < len(nodes):
            taken = region_from(nodes, at, lambda n: not n.inverted and id(n.callee) in rebuilt, read)
            found.update((id(node), taken) for node in taken)
            at += max(1, len(taken))
        return found

    def run(self) -> Trace:
        graph, trace = self.plan.graph, self.trace
        for index, node in enumerate(graph.nodes):
            if node.phase is not None and node.phase != ("train" if self.tracer.training else "eval"):
                trace.rows.append(None)
                continue
            row = Row(node)
            trace.rows.append(row)
            self.tape.grad = self.tracer.grad and id(node) not in self.vain.whole
            outs = self.node(index, node, row)
            self.values.update((id(v), g) for v, g in zip(present(node, self.tracer.training), outs, strict=True))
            trace.work += row.work
        trace.outputs = tuple(
            self.values[id(v)] for o in graph.outputs for v in o.values if self.tracer.training or not o.training
        )
        return trace

    def in_vain(self, unread: Collection[int]) -> _Vain | None:
        """After a walk, what asks for storages and whose gradients no result needs; None where nothing does."""
        asking = {id(step.node) for step in self.trace.steps if step.asked or step.work.saved}
        values = [v for o in self.plan.graph.outputs for v in o.values if self.tracer.training or not o.training]
        needed = {id(v) for i, v in enumerate(values) if i not in unread}
        whole: dict[int, bool] = {}
        parts: dict[int, frozenset[int]] = {}
        for node, row in reversed([*zip(self.plan.graph.nodes, self.trace.rows, strict=True)]):
            outs = [] if row is None else present(node, self.tracer.training)
            wanted = [id(v) in needed for v in outs if self.values[id(v)].grad]
            plain = not node.inverted and id(node) not in self.regions
            if any(wanted):
                if not all(wanted) and node.op == "call" and node.count == 1 and plain and id(node) in asking:
                    parts[id(node)] = frozenset(i for i, v in enumerate(outs) if id(v) not in needed)
                needed.update(id(v) for v in node.inputs)
            elif wanted and plain:
                whole[id(node)] = id(node) in asking
        return _Vain(whole, parts) if any(whole.values()) or parts else None

    def node(self, index: int, node: Node, row: Row) -> Sequence[Ghost]:
        if node.op == "phase":
            return (self.values[id(node.inputs[0 if self.tracer.training else 1])],)
        ins = [self.values[id(v)] for v in node.inputs]
        if id(node) in self.vain.whole:
            ins = _bare(ins)
        if node.op == "weight":
            return (self.weight(node, row),)
        if id(node) in self.regions:
            return self.region(index, node, row, ins)
        if node.op == "call":
            return self.call(index, node, row, ins)
        weights = self.tracer.plans.child(self.plan.graph, node.path) if node.path is not None else None
        decls = weights.weights if weights is not None else ()
        return self.repeat(node, row, ins, lambda given, i: self.op(index, node, given, i, decls))

    def weight(self, node: Node, row: Row) -> Ghost:
        decl = self.tracer.plans.weight(self.plan.graph, node.path or "")
        w = self.tape.weight(decl.shape, decl.dtype, decl.trainable and decl.kind == "parameter")
        if decl.constraint is None:
            return w
        before, asked = self.tape.kept, len(self.tape.asked)  # where(w < 0, -size, size) of size = clamp(abs(w))
        y = self.tape.new(w.shape, w.dtype, (w,))
        self.tape.extra(y, w.shape, w.dtype)
        self.tape.extra(y, w.shape, "bool")
        row.work = Work(saved=self.tape.kept - before)
        self.trace.steps.append(Step((), (y.storage,), None, node, 0, tuple(self.tape.asked[asked:]), row.work))
        return y

    # -- steps ---------------------------------------------------------------------------------------------------------
    def repeat(
        self, node: Node, row: Row, ins: list[Ghost], step: Callable[[list[Ghost], int], tuple[Sequence[Ghost], Trace]]
    ) -> Sequence[Ghost]:
        """Runs the node's instances on each other's results; between two alike ones and the last, only counts."""
        streams = [i for i, fixed in enumerate(_context(node)) if not fixed]
        last: Any = None
        outs: Sequence[Ghost] = ()
        i = 0
        while i < node.count:
            here = signature(ins)
            outs, part = step(ins, i)
            times = node.count - 1 - i if here == last and i < node.count - 1 else 1
            i += times
            last = here
            row.work += part.work * times
            row.trace = part if node.op == "call" else None
            self.account(part, times)
            self.tape.kept = self.tape.kept + part.work.saved * (times - 1)
            if i < node.count:
                for place, ghost in zip(streams, outs, strict=True):
                    ins[place] = ghost
        return outs

    def account(self, part: Trace, times: int) -> None:
        for name, (count, work) in part.by_op.items():
            before = self.trace.by_op.get(name, (0, Work()))
            self.trace.by_op[name] = (before[0] + count * times, before[1] + work * times)
        self.trace.uncounted |= part.uncounted

    def region(self, index: int, node: Node, row: Row, ins: list[Ghost]) -> Sequence[Ghost]:
        """A call without a record. At the region's end its results are kept, and of its inputs what is only read."""
        fixed = [x for x, context in zip(ins, _context(node), strict=True) if context]
        outs = self.call(index, node, row, _bare(ins), self.tracer.unrecorded)
        outs = [Ghost(g.shape, g.strides, g.dtype, g.storage, g.dtype in FLOATS) for g in outs]
        before = self.tape.kept
        end = node is self.regions[id(node)][-1]
        self.tape.keep(*fixed, *(outs if end else ()))
        callee, env = runs(node), self.plan.sizes[index]
        assert callee is not None
        streams = sum((nbytes(g.shape, g.dtype) for g in outs), 0)
        region, anchors = self.regions[id(node)], self.tracer.anchors
        every = anchors.every(self.plan.graph, region) if anchors is not None else 0
        self.tape.kept += crossed(region, node, every) * streams + node.count * jumps(self.tracer.plans, callee, env)
        row.work += Work(saved=self.tape.kept - before)
        return outs

    def call(self, index: int, node: Node, row: Row, ins: list[Ghost], tracer: Tracer | None = None) -> Sequence[Ghost]:
        callee, env = runs(node), self.plan.sizes[index]
        assert callee is not None
        within = tracer or (self.tracer.inverse if node.inverted else self.tracer)
        within = self.tracer.unrecorded if id(node) in self.vain.whole else within

        def step(given: list[Ghost], place: int) -> tuple[Sequence[Ghost], Trace]:
            trace = within.graph(callee, env, given, self.vain.parts.get(id(node), frozenset()))
            mine = _distinct(g.storage for g in given)
            for here, there in zip(mine, trace.inputs, strict=True):
                here.kept = there.kept
            outs = _moved(trace.outputs, trace.inputs, mine)
            self.tape.kept = self.tape.kept + trace.work.saved
            self.trace.steps.append(Step(_storages(given), _storages(outs), trace, node, place, (), trace.work))
            return outs, trace

        return self.repeat(node, row, ins, step)

    def op(
        self, index: int, node: Node, ins: list[Ghost], place: int, decls: Sequence[WeightDecl]
    ) -> tuple[Sequence[Ghost], Trace]:
        attrs, outs = self.plan.attrs[index], self.plan.outs(node)
        weights = {d.name: self.tape.weight(d.shape, d.dtype, d.trainable and d.kind == "parameter") for d in decls}
        if self.tracer.backwards and self.tracer.training and decls:
            for name in registry()[node.op].written(attrs):
                weights[name].storage.own = weights[name].dtype not in FLOATS  # counters are not kept
        part = Trace(())
        before, asked = self.tape.kept, len(self.tape.asked)
        given = [*ins, *weights.values()]
        if node.op in _OUTSIDE or node.inverted or node.log_det:
            if node.op != "extern" or node.inverted or not cost_is_stated(attrs):
                part.uncounted = frozenset({_uncounted(node, attrs)})
            results: Sequence[Ghost] = [self.tape.new(out.shape, out.dtype, given) for out in outs]
        else:
            results = registry()[node.op].trace(self.tape, ins, weights, outs, attrs)
        if node.op == "extern" and not node.inverted:
            records = self.tape.grad and (any(g.grad for g in ins) or parameters_of(attrs))
            self.tape.kept += (figure(attrs, "saved") or 0) if records else 0
        macs, flops = operations(node, attrs, [TensorType(g.shape, g.dtype) for g in ins], outs)
        sources = {id(g.storage) for g in given}
        moves = not results or any(id(g.storage) not in sources for g in results)
        traffic = sum((_bytes(g) for g in (*given, *results)), start=0) if moves else 0
        part.work = Work(macs, flops, traffic, self.tape.kept - before)
        part.by_op = {"log_det" if node.log_det else node.op: (1, part.work)}
        kept = tuple(self.tape.asked[asked:])
        step = Step(_storages(ins), _storages(results), None, node, place, kept, part.work)
        step.vain = self.vain.whole.get(id(node), False)
        if decls and self.tracer.training:
            written = [weights[name] for name in registry()[node.op].written(attrs)]
            own = {id(s) for s in kept if s.own}
            step.copies = sum((w.storage.bytes for w in written if w.dtype in FLOATS and id(w.storage) in own), 0)
        self.trace.steps.append(step)
        return results, part


def operations(node: Node, attrs: Attrs, ins: Sequence[TensorType], outs: Sequence[TensorType]) -> tuple[Size, Size]:
    """MACs and floating-point operations of an op; of these, backwards as many as forwards."""
    if node.op == "extern":
        macs: Size = figure(attrs, "macs") or 0
        return macs, 2 * macs
    if node.op in _OUTSIDE or node.log_det:
        return 0, 0
    op = registry()[node.op]
    if node.inverted:
        return op.inverse_macs(outs, ins, attrs), op.flops(outs, ins, attrs)
    return op.macs(ins, outs, attrs), op.flops(ins, outs, attrs)


def _bare(ghosts: Iterable[Ghost]) -> list[Ghost]:
    """The same tensors without gradients."""
    return [Ghost(g.shape, g.strides, g.dtype, g.storage, False) for g in ghosts]


def _storages(ghosts: Iterable[Ghost]) -> tuple[Storage, ...]:
    return tuple(g.storage for g in ghosts)


def _context(node: Node) -> list[bool]:
    """Which inputs every instance of a run sees unchanged."""
    graph = runs(node)
    if graph is None:
        return [False] * len(node.inputs)
    return [port.context for port in graph.inputs for _ in port.values]


def _bytes(ghost: Ghost) -> Size:
    assert ghost.dtype in BYTES
    return nbytes(ghost.shape, ghost.dtype)


def _uncounted(node: Node, attrs: Attrs) -> str:
    """`extern mine:Flash`, `~actnorm`, `logdet(actnorm)`."""
    if node.op == "extern":
        return f"extern {attrs['target']}"
    if node.op in _OUTSIDE:
        return node.op
    return f"logdet({node.op})" if node.log_det else f"~{node.op}"
