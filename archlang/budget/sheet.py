"""The course of a program: its parts, and the choices that there are for them, from the traces of the cost model.

A large callee is *opened*: its nodes are parts of the course like the caller's. Of a smaller one, a few ways to train
it are worked out once, for all its calls, and the caller chooses among them. What is evaluated again together, or
undone, are consecutive nodes of one graph, so that it can be written as a part of that graph's class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from archlang.analyze.plan import Plan, Plans
from archlang.analyze.trace import Trace, jumps
from archlang.budget.course import Choice, Course, tradeoffs
from archlang.budget.schedule import Schedule, scheduled
from archlang.budget.units import Level, Numbers, Reach, Readable, Unit, Way, What, by_node, context
from archlang.ir.graph import CONTRACTIONS, Graph, Node, Program
from archlang.ops.base import registry
from archlang.ops.eager import Storage
from archlang.records import dataclass, replace
from archlang.reversible import rebuildable, region_from, uses
from archlang.reversible.conditioning import blocks_in
from archlang.reversible.kept import Anchors
from archlang.shapes.dim import Size

__all__ = ["Facts", "Sheet", "Span", "macs_of", "price"]

CUTS = 72  # places of a graph where what is evaluated again may begin or end, if it is longer than
SHORT = 8  # units
WAYS = 12  # to train a callee that is not opened
_SHIFT = 80  # costs are MACs, and for equal MACs other operations: two numbers in one


def price(macs: int, flops: int) -> int:
    """A cost that orders plans by MACs, then by FLOPs."""
    return (macs << _SHIFT) + flops


def macs_of(cost: int) -> int:
    return cost >> _SHIFT


class Facts:
    """What is the same wherever a graph is called, worked out once."""

    def __init__(self, program: Program, plans: Plans) -> None:
        self.plans = plans
        self.undoable = rebuildable(program)
        self.anchors = Anchors(program)
        self._plain: dict[int, tuple[Trace, Plain]] = {}
        self._ways: dict[int, tuple[Trace, list[_Way]]] = {}
        self._safe: dict[int, bool] = {}

    def plain(self, trace: Trace) -> Plain:
        if id(trace) not in self._plain:
            self._plain[id(trace)] = (trace, _plain(trace, self))
        return self._plain[id(trace)][1]

    def ways(self, trace: Trace) -> list[_Way]:
        if id(trace) not in self._ways:
            self._ways[id(trace)] = (trace, _ways(trace, self))
        return self._ways[id(trace)][1]

    def safe(self, node: Node) -> bool:
        """Whether a second evaluation of a node gives the same, and can be left out of no mode."""
        if node.phase is not None or node.inverted or node.log_det or node.op in ("extern", *CONTRACTIONS):
            return False
        if node.callee is not None:
            if id(node.callee) not in self._safe:
                below = [n for g in Program.of(node.callee).graphs for n in g.nodes]
                self._safe[id(node.callee)] = all(_repeatable(n) for n in below)
            return self._safe[id(node.callee)]
        return _repeatable(node)


def _repeatable(node: Node) -> bool:
    if node.op in ("extern", *CONTRACTIONS) or node.inverted or node.log_det:
        return False
    op = registry().get(node.op)
    return op is None or not (op.carries and op.written(node.attrs))


# -- what autograd keeps of a callee, all recorded ---------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Plain:
    """Of a trace: which of its inputs and outputs are kept, by their indices, and bytes besides; costs as of a unit."""

    inputs: frozenset[int]
    outputs: frozenset[int]
    inner: int
    cost: int
    short: int
    saves: bool


def _plain(trace: Trace, facts: Facts) -> Plain:
    sheet = Sheet(facts, choices=False)
    level = sheet.lay(trace, sheet.numbered(trace.inputs))
    kept = frozenset().union(*(u.keeps for u in level.units))
    inputs, outputs = sheet.ends(trace)
    inner = sum(u.inner for u in level.units) + sum(sheet.sizes[t] for t in kept - {*inputs, *outputs})
    return Plain(
        frozenset(i for i, t in enumerate(inputs) if t in kept),
        frozenset(i for i, t in enumerate(outputs) if t in kept),
        inner, sum(u.cost for u in level.units), _again(level.units), any(u.saves for u in level.units),
    )  # fmt: skip


def _again(units: Sequence[Unit]) -> int:
    """The cost of evaluating units again: torch stops when all is rebuilt that autograd kept."""
    last = max((i for i, u in enumerate(units) if u.saves), default=-1)
    return sum(u.cost for u in units[:last]) + (units[last].short if last >= 0 else 0)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to train a callee; inputs and outputs by their indices."""

    inputs: frozenset[int]
    outputs: frozenset[int]
    inner: int
    extra: int
    cost: int
    schedule: Schedule


def _ways(trace: Trace, facts: Facts) -> list[_Way]:
    """Ways to train a callee besides recording all."""
    sheet = Sheet(facts)
    level = sheet.lay(trace, sheet.numbered(trace.inputs))
    inputs, outputs = sheet.ends(trace)
    found: list[_Way] = []
    for plan in tradeoffs(sheet.course(frozenset((*inputs, *outputs))), WAYS):
        schedule = scheduled(level, plan)
        if schedule:
            inner = plan.kept - sum(sheet.sizes[t] for t in plan.tensors)
            kept_in, kept_out = (
                frozenset(i for i, t in enumerate(end) if t in plan.tensors) for end in (inputs, outputs)
            )
            found.append(_Way(kept_in, kept_out, inner, plan.peak - plan.kept, plan.cost, schedule))
    found = [way for way in found if not any(_better(other, way, trace) for other in found)]
    found.sort(key=lambda way: (way.inner + _bytes(way, trace), way.cost))
    if len(found) > WAYS:
        found = [found[i * (len(found) - 1) // (WAYS - 1)] for i in range(WAYS)]
    return found


def _better(way: _Way, other: _Way, trace: Trace) -> bool:
    """Whether one way is as good as another in all figures, whatever else keeps the callee's inputs and outputs."""
    more = way.inner + _bytes(way, trace, other) - other.inner
    apart = (more, more + way.extra - other.extra, way.cost - other.cost)
    return way is not other and max(apart) <= 0 and (min(apart) < 0 or str(way.schedule) < str(other.schedule))


def _bytes(way: _Way, trace: Trace, less: _Way | None = None) -> int:
    """Bytes of the inputs and outputs that a way keeps, and another does not."""
    inputs = way.inputs - (less.inputs if less is not None else frozenset())
    outputs = way.outputs - (less.outputs if less is not None else frozenset())
    storages = [*(trace.inputs[i] for i in inputs), *(trace.outputs[i].storage for i in outputs)]
    return sum(_known(s.bytes) for s in {id(s): s for s in storages if not s.own}.values())


class Span:
    """Consecutive units that are evaluated again together: they keep what the first ones take."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.units: list[Unit] = []
        self.takes: dict[int, None] = {}
        self.made: set[int] = set()
        self.kept: set[int] = set()
        self.inner = 0

    def add(self, unit: Unit) -> None:
        self.units.append(unit)
        self.takes |= dict.fromkeys(t for t in unit.takes if t not in self.made)
        self.made.update(t for t in unit.gives if t not in self.takes)
        self.kept |= unit.keeps
        self.inner += unit.inner

    @property
    def rebuilt(self) -> int:
        """Bytes that are there once all is evaluated again."""
        return self.inner + sum(self.sizes[t] for t in self.kept & self.made)

    def choice(self, start: int, stop: int, what: object) -> Choice:
        keeps = frozenset(t for t in self.takes if self.sizes[t])
        return Choice(start, stop, keeps, 0, self.rebuilt, _again(self.units) + 1, what)


# -- the sheet ---------------------------------------------------------------------------------------------------------
class Sheet:
    """Tensors, parts and choices of a course, as they are laid out. opens: which calls are opened."""

    def __init__(
        self, facts: Facts, opens: Callable[[Unit], bool] = lambda unit: False, *, choices: bool = True
    ) -> None:
        self.facts = facts
        self.opens = opens
        self.with_choices = choices
        self.sizes: list[int] = []
        self.parts = 0
        self.choices: list[Choice] = []
        self._ends: dict[int, tuple[list[int], list[int]]] = {}

    def course(self, lasting: frozenset[int] = frozenset()) -> Course:
        return Course(self.parts, self.sizes, self.choices, lasting)

    def ends(self, trace: Trace) -> tuple[list[int], list[int]]:
        """The tensors that a trace takes and gives, where it was laid out last."""
        return self._ends[id(trace)]

    def new(self, storage: Storage) -> int:
        assert isinstance(storage.bytes, int)
        self.sizes.append(0 if storage.own else storage.bytes)
        return len(self.sizes) - 1

    def numbered(self, storages: Sequence[Storage]) -> dict[int, int]:
        """Numbers for storages, by their ids."""
        return {id(s): self.new(s) for s in storages}

    def lay(self, trace: Trace, numbers: dict[int, int], prefix: str = "") -> Level:
        """Adds the parts of a graph, and their choices. numbers: of the storages that it takes."""
        assert trace.plan is not None
        level = Level(trace.plan.graph, prefix)
        inside = Numbers(self, numbers)
        reach = Reach(level.graph)
        for index, node, steps in by_node(trace):
            for unit in inside.units(index, node, steps):
                level.units.append(unit)
                level.marks.append(self.parts)
                self.fill(unit, inside, reach, prefix)
                self.parts += unit.opened is None
        level.marks.append(self.parts)
        self._ends[id(trace)] = (
            [numbers[id(s)] for s in trace.inputs],
            [inside.number(g.storage) for g in trace.outputs],
        )
        if self.with_choices:
            self.store(level)
            self.repeat(level)
            self.undo(level, trace.plan)
        return level

    def fill(self, unit: Unit, inside: Numbers, reach: Reach, prefix: str) -> None:
        """The unit's figures, and the ways to train its callee."""
        step, node = unit.step, unit.step.node
        unit.safe = self.facts.safe(node)
        if step.trace is None:
            _fill_op(unit, inside)
            return
        plain = self.facts.plain(step.trace)
        mine = inside.distinct(unit)  # the tensors of the callee's inputs
        between, inner = inside.between(unit, plain.inputs, plain.outputs), plain.inner
        unit.keeps = frozenset([*(mine[i] for i in plain.inputs), *(unit.gives[i] for i in plain.outputs)])
        unit.inner = inner * unit.count + between
        unit.cost, unit.saves = plain.cost * unit.count, plain.saves
        unit.short = plain.cost * (unit.count - 1) + plain.short
        unit.undoable = id(node.callee) in self.facts.undoable and not node.inverted and not node.log_det
        unit.fixed = unit.undoable and not reach.sole(node)
        unit.safe = unit.safe and not unit.fixed
        declared = node.callee is not None and node.callee.reversible
        if not reach.sole(node) or step.trace.uncounted or declared:
            return
        if unit.count == node.count == 1 and self.opens(unit):
            numbers = dict(zip((id(s) for s in step.trace.inputs), mine, strict=True))
            unit.opened = self.lay(step.trace, numbers, f"{prefix}{node.path}.")
            inside.same(unit, self.ends(step.trace)[1])
        if not self.with_choices or (unit.opened is not None and any(u.opened for u in unit.opened.units)):
            return
        for way in self.facts.ways(step.trace):
            keeps = frozenset([*(mine[i] for i in way.inputs), *(unit.gives[i] for i in way.outputs)])
            between = inside.between(unit, way.inputs, way.outputs)
            unit.ways.append(
                Way(keeps, way.inner * unit.count + between, way.extra, way.cost * unit.count, way.schedule)
            )

    def store(self, level: Level) -> None:
        """The choices to record, and to train callees by plans of their own."""
        for i, unit in enumerate(level.units):
            if unit.opened is not None:
                continue
            place = level.marks[i]
            plain = [] if unit.fixed else [Way(unit.keeps, unit.inner, 0, 0, ())]
            for way in (*plain, *unit.ways):
                what = What("way", level, i, i + 1, way.schedule)
                self.choices.append(Choice(place, place + 1, way.keeps, way.inner, way.extra, way.cost, what))

    def repeat(self, level: Level) -> None:
        """The choices to evaluate consecutive units again."""
        units = level.units
        walls = _walls(level.graph)
        readable = Readable(level.graph)
        narrow = self.narrow(units)
        for i, first in enumerate(units):
            span = Span(self.sizes)
            for j in range(i, len(units)):
                unit = units[j]
                if not unit.safe or any(first.start[0] < w < unit.stop[0] for w in walls):
                    break
                span.add(unit)
                near = j - i < SHORT or (i in narrow and j + 1 in narrow)
                if near and unit.saves and span.rebuilt and readable.ok(first.start[0], unit.start[0]):
                    what = What("again", level, i, j + 1)
                    self.choices.append(span.choice(level.marks[i], level.marks[j + 1], what))
                    self.choices += self.within(span, level, i) if i == j else ()

    def within(self, span: Span, level: Level, place: int) -> Iterator[Choice]:
        """The choices to evaluate one unit again by a plan of its own: checkpoints inside of a checkpoint."""
        (unit,) = span.units
        whole = span.choice(level.marks[place], level.marks[place + 1], None)
        for way in unit.ways:
            held = way.inner + way.extra + sum(self.sizes[t] for t in way.keeps - whole.keeps)
            if held < whole.extra:
                what = What("again", level, place, place + 1, way.schedule)
                yield replace(whole, extra=held, cost=whole.cost + way.cost, what=what)

    def narrow(self, units: Sequence[Unit]) -> set[int]:
        """The places between units where a long segment may begin or end: all of few, else those that the fewest bytes
        cross."""
        if len(units) < CUTS:
            return {*range(len(units) + 1)}
        last = {t: i for i, unit in enumerate(units) for t in unit.takes}
        crossing = [0] * (len(units) + 1)
        for i, unit in enumerate(units):
            for t in unit.gives:
                for place in range(i + 1, last.get(t, i) + 1):
                    crossing[place] += self.sizes[t]
        return {*sorted(range(len(units) + 1), key=lambda place: (crossing[place], place))[:CUTS]}

    def undo(self, level: Level, plan: Plan) -> None:
        """The choices to undo consecutive reversible calls, as one region."""
        nodes, read = level.graph.nodes, uses(level.graph)
        at = 0
        while at < len(nodes):
            region = region_from(nodes, at, lambda n: not n.inverted and id(n.callee) in self.facts.undoable, read)
            if region:
                every = self.facts.anchors.every(level.graph, region)
                inside = [i for i, u in enumerate(level.units) if at <= u.start[0] < at + len(region)]
                for first in inside:
                    self.undo_from(level, plan, first, inside[-1] + 1, every)
            at += max(1, len(region))

    def undo_from(self, level: Level, plan: Plan, first: int, end: int, every: int) -> None:
        """Those that begin with one unit of a region."""
        fixed: set[int] = set()
        made: dict[int, None] = {}
        inner = blocks = extra = cost = 0
        for i in range(first, end):
            unit, node = level.units[i], level.units[i].step.node
            assert node.callee is not None
            for tensor, read in zip(unit.takes, context(node), strict=True):
                if read:
                    fixed.add(tensor)
                else:
                    made.pop(tensor, None)
            made |= dict.fromkeys(unit.gives)
            blocks += unit.count * blocks_in(node.callee)
            inner += unit.count * _known(jumps(self.facts.plans, node.callee, plan.sizes[unit.start[0]]))
            streams = sum(self.sizes[t] for t in set(unit.gives))
            once = unit.inner // unit.count + sum(self.sizes[t] for t in unit.keeps)
            extra = max(extra, once + streams)
            cost += unit.cost
            if (unit.fixed and i + 1 < end) or (i + 1 < end and level.units[i + 1].fixed):
                continue  # what is always undone is one region with its neighbours
            anchors = (blocks - 1) // every * streams if every else 0
            start, stop = level.marks[first], level.marks[i + 1]
            what = What("undo", level, first, i + 1)
            self.choices.append(Choice(start, stop, frozenset((*fixed, *made)), inner + anchors, extra, cost + 1, what))


def _known(size: Size) -> int:
    assert isinstance(size, int)
    return size


def _fill_op(unit: Unit, inside: Numbers) -> None:
    step = unit.step
    asked = list({id(s): s for s in step.asked}.values())
    ends = {**dict(zip(map(id, step.ins), unit.takes, strict=True)), **inside.made(unit)}
    unit.keeps = frozenset(ends[id(s)] for s in asked if id(s) in ends and not s.own)
    own = sum(s.bytes for s in asked if id(s) not in ends and not s.own)
    assert isinstance(own, int) and isinstance(step.work.macs, int) and isinstance(step.work.flops, int)
    between = inside.between(unit, *_kept_ends(unit))
    unit.inner = own * unit.count + between
    once = price(step.work.macs, step.work.flops)
    unit.cost = once * unit.count
    unit.saves = bool(asked) or step.node.path is not None
    results = {id(s) for s in step.outs} - {id(s) for s in step.ins}
    before = all(s.own or (id(s) in ends and id(s) not in results) for s in asked)  # kept when the op begins
    unit.short = once * (unit.count - 1) + (0 if before else once)


def _kept_ends(unit: Unit) -> tuple[frozenset[int], frozenset[int]]:
    takes = list(dict.fromkeys(unit.takes))
    inputs = frozenset(i for i, t in enumerate(takes) if t in unit.keeps)
    return inputs, frozenset(i for i, t in enumerate(unit.gives) if t in unit.keeps)


def _walls(graph: Graph) -> list[int]:
    """Nodes that depend on the mode: nothing is evaluated again across them."""
    return [i for i, node in enumerate(graph.nodes) if node.phase is not None or node.op == "phase"]
