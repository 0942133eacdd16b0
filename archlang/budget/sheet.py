"""The course of a program: its parts, and the choices that there are for them, from the traces of the cost model.

A large callee is *opened*: its nodes are parts of the course like the caller's. Of a smaller one, a few ways to train
it are worked out once, for all its calls, and the caller chooses among them. What is evaluated again together, or
undone, are consecutive nodes of one graph, so that it can be written as a part of that graph's class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from archlang.analyze.plan import Plans
from archlang.analyze.trace import Trace
from archlang.budget.choices import Regions, again, recorded, repeated
from archlang.budget.course import Choice, Course, moments
from archlang.budget.schedule import Schedule, scheduled
from archlang.budget.tradeoffs import tradeoffs
from archlang.budget.units import Level, Numbers, Reach, Unit, Way, What, by_node, context, distinct
from archlang.ir.graph import CONTRACTIONS, Node, Program
from archlang.ops.base import registry
from archlang.ops.eager import Storage
from archlang.records import dataclass, replace
from archlang.reversible import rebuildable
from archlang.reversible.kept import Anchors, inner_blocks
from archlang.reversible.together import groups
from archlang.shapes.dim import Size

__all__ = ["Facts", "Sheet", "macs_of", "price"]

WAYS = 12  # to train a callee that is not opened
_SHIFT = 80  # costs are MACs, and for equal MACs other operations: two numbers in one


def price(macs: int, flops: int) -> int:
    """A cost that orders plans by MACs, then by FLOPs."""
    return (macs << _SHIFT) + flops


def macs_of(cost: int) -> int:
    return cost >> _SHIFT


class Facts:
    """What is the same wherever a graph is called, worked out once."""

    def __init__(self, plans: Plans, anchors: Anchors, overlap: bool) -> None:
        self.regions = Regions(rebuildable(anchors.program), anchors, plans, overlap)
        self._plain: dict[int, tuple[Trace, Plain]] = {}
        self._ways: dict[int, tuple[Trace, list[_Way]]] = {}
        self._undoing: dict[int, tuple[Trace, tuple[Held, ...]]] = {}
        self._safe: dict[int, bool] = {}

    def plain(self, trace: Trace) -> Plain:
        if id(trace) not in self._plain:
            self._plain[id(trace)] = (trace, _plain(trace, self))
        return self._plain[id(trace)][1]

    def ways(self, trace: Trace) -> list[_Way]:
        if id(trace) not in self._ways:
            self._ways[id(trace)] = (trace, _ways(trace, self))
        return self._ways[id(trace)][1]

    def undoing(self, trace: Trace) -> tuple[Held, ...]:
        if id(trace) not in self._undoing:
            self._undoing[id(trace)] = (trace, _undoing(trace, self))
        return self._undoing[id(trace)][1]

    def safe(self, node: Node) -> bool:
        """Whether a second evaluation of a node gives the same, and can be left out of no mode."""
        if node.phase is not None or node.inverted or node.log_det or node.op in ("extern", *CONTRACTIONS):
            return False
        if node.callee is not None:
            if any(output.training for output in node.callee.outputs):
                return False
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


# -- what is held while a callee is undone -----------------------------------------------------------------------------
Held = tuple[frozenset[int], int]  # of the callee's inputs, by their indices, and bytes besides


def _undoing(trace: Trace, facts: Facts) -> tuple[Held, ...]:
    """What autograd keeps of each step of a proved callee, which is evaluated once more to be undone. Streams count:
    but for those at a region's end they were made anew."""
    assert trace.plan is not None
    graph = trace.plan.graph
    sheet = Sheet(facts, choices=False)
    level = sheet.lay(trace, sheet.numbered(trace.inputs))
    places = {t: i for i, t in reversed([*enumerate(sheet.ends(trace)[0])])}
    blocks = {id(node) for node in inner_blocks(graph)}
    found: dict[Held, None] = {}
    for group in groups(graph):
        nodes = {id(n) for n in (*group.nodes, *(s.node for s in group.steps))}
        units = [u for u in level.units if id(u.step.node) in nodes]
        own, inner = ([u for u in units if (id(u.step.node) in blocks) is block] for block in (False, True))
        kept = frozenset().union(*(u.keeps for u in own))
        held = sum(u.inner + u.copies for u in own)
        for keeps, more in _parts(inner, facts):
            there = kept | keeps
            rest = held + more + sum(sheet.sizes[t] for t in there if t not in places)
            found[frozenset(places[t] for t in there if t in places), rest] = None
    return tuple(found)


def _parts(blocks: Sequence[Unit], facts: Facts) -> Iterator[tuple[frozenset[int], int]]:
    """The same of steps that are blocks of their own, with the tensors of the graph around."""
    if not blocks:
        yield frozenset(), 0
    for unit in blocks:
        assert unit.step.trace is not None
        takes = distinct(unit)
        for keeps, held in facts.undoing(unit.step.trace):
            yield frozenset(takes[i] for i in keeps), held


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
    copies: int


def _plain(trace: Trace, facts: Facts) -> Plain:
    sheet = Sheet(facts, choices=False)
    level = sheet.lay(trace, sheet.numbered(trace.inputs))
    kept = frozenset().union(*(u.keeps for u in level.units))
    inputs, outputs = sheet.ends(trace)
    inner = sum(u.inner for u in level.units) + sum(sheet.sizes[t] for t in kept - {*inputs, *outputs})
    return Plain(
        frozenset(i for i, t in enumerate(inputs) if t in kept),
        frozenset(i for i, t in enumerate(outputs) if t in kept),
        inner, sum(u.cost for u in level.units), again(level.units), any(u.saves for u in level.units),
        sum(u.copies for u in level.units),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to train a callee; inputs and outputs by their indices, in its moments, too."""

    inputs: frozenset[int]
    outputs: frozenset[int]
    inner: int
    extra: int
    cost: int
    schedule: Schedule
    copies: int
    moments: tuple[tuple[frozenset[int], frozenset[int], int], ...]
    inside: tuple[tuple[frozenset[int], frozenset[int], int], ...]


def _ways(trace: Trace, facts: Facts) -> list[_Way]:
    """Ways to train a callee besides recording all."""
    sheet = Sheet(facts)
    level = sheet.lay(trace, sheet.numbered(trace.inputs))
    inputs, outputs = sheet.ends(trace)
    found: list[_Way] = []

    def ends(kept: frozenset[int]) -> tuple[frozenset[int], frozenset[int]]:
        first, last = (frozenset(i for i, t in enumerate(end) if t in kept) for end in (inputs, outputs))
        return first, last

    course = sheet.course(frozenset((*inputs, *outputs)))
    for plan in tradeoffs(course, WAYS):
        schedule = scheduled(level, plan)
        if schedule:
            inner = plan.kept - sum(sheet.sizes[t] for t in plan.tensors)
            times, inside = (
                tuple((*ends(kept), held) for kept, held in moments(course, choices))
                for choices in (plan.choices, [_second(choice) for choice in plan.choices])
            )
            copies = sum(_copies(choice.what) for choice in plan.choices)
            extra = plan.peak - plan.kept
            found.append(_Way(*ends(plan.tensors), inner, extra, plan.cost, schedule, copies, times, inside))
    found = [way for way in found if not any(_better(other, way, trace) for other in found)]
    found.sort(key=lambda way: (way.inner + _bytes(way, trace), way.cost))
    if len(found) > WAYS:
        found = [found[i * (len(found) - 1) // (WAYS - 1)] for i in range(WAYS)]
    return found


def _copies(what: What) -> int:
    """Bytes of the buffers that a choice records the use of, as of a unit."""
    unit = what.level.units[what.first]
    ways = {way.schedule: way.copies for way in unit.ways}
    return 0 if what.kind != "way" else ways.get(what.schedule, unit.copies)


def _second(choice: Choice) -> Choice:
    """The same inside of a second evaluation: what is recorded there keeps copies of buffers."""
    what: What = choice.what
    inner = choice.inner + _copies(what)
    inside = {way.schedule: way.inside for way in what.level.units[what.first].ways if what.kind == "way"}
    if times := inside.get(what.schedule, ()):
        return replace(choice, inner=inner, extra=0, moments=times)
    return replace(choice, inner=inner)


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
                unit.safe = unit.safe and trace.vain.isdisjoint(map(id, node.inputs))  # else it keeps their graphs
                self.parts += unit.opened is None
        level.marks.append(self.parts)
        self._ends[id(trace)] = (
            [numbers[id(s)] for s in trace.inputs],
            [inside.number(g.storage) for g in trace.outputs],
        )
        if self.with_choices:
            self.choices += self.facts.regions.choices(level, trace.plan, self.sizes)
            self.choices += recorded(level)
            self.choices += repeated(level, self.sizes)
        return level

    def fill(self, unit: Unit, inside: Numbers, reach: Reach, prefix: str) -> None:
        """The unit's figures, and the ways to train its callee."""
        step, node = unit.step, unit.step.node
        unit.safe = self.facts.safe(node)
        if step.trace is None:
            _fill_op(unit, inside)
            return
        plain, mine = self.facts.plain(step.trace), distinct(unit)
        unit.inner = plain.inner * unit.count + inside.between(unit, plain.inputs, plain.outputs)
        unit.cost, unit.saves, unit.copies = plain.cost * unit.count, plain.saves, plain.copies * unit.count
        unit.short = plain.cost * (unit.count - 1) + plain.short
        unit.fixed = self.facts.regions.takes(node) and not reach.sole(node)
        unit.safe = unit.safe and not unit.fixed
        unit.undoing = self.undoing(unit, mine) if self.facts.regions.takes(node) else 0
        own = reach.sole(node) and not step.trace.uncounted  # its class may be written in several ways
        own = own and node.callee is not None
        if own and unit.count == node.count == 1 and self.opens(unit):
            numbers = dict(zip((id(s) for s in step.trace.inputs), mine, strict=True))
            unit.opened = self.lay(step.trace, numbers, f"{prefix}{node.path}.")
            inside.same(unit, self.ends(step.trace)[1])
        unit.keeps = _ends(unit, mine, plain.inputs, plain.outputs)
        nested = unit.opened is not None and any(u.opened for u in unit.opened.units)
        for way in self.facts.ways(step.trace) if own and self.with_choices and not nested else ():
            unit.ways.append(_called(way, unit, mine, inside))

    def undoing(self, unit: Unit, inputs: Sequence[int]) -> int:
        """The most bytes that are held while a step is undone, besides what is no stream and kept for all of them."""
        assert unit.step.trace is not None
        fixed = {t for t, read in zip(unit.takes, context(unit.step.node), strict=True) if read}
        return max(
            (held + sum(self.sizes[t] for t in {inputs[i] for i in keeps} - fixed)
             for keeps, held in self.facts.undoing(unit.step.trace)), default=0,
        )  # fmt: skip


def _ends(unit: Unit, inputs: Sequence[int], ins: Iterable[int], outs: Iterable[int]) -> frozenset[int]:
    """The tensors of a unit that are kept of its callee's inputs and outputs."""
    return frozenset([*(inputs[i] for i in ins), *(unit.gives[i] for i in outs)])


def _called(way: _Way, unit: Unit, inputs: Sequence[int], numbers: Numbers) -> Way:
    """The way of a callee, of a unit that runs it. Of several applications the last one has the most, with its own
    input."""
    inner = way.inner * unit.count + numbers.between(unit, way.inputs, way.outputs)
    times, inside = (
        tuple((_ends(unit, inputs, ins, outs), held) for ins, outs, held in moments) if unit.count == 1 else ()
        for moments in (way.moments, way.inside)
    )
    keeps, cost, copies = _ends(unit, inputs, way.inputs, way.outputs), way.cost * unit.count, way.copies * unit.count
    return Way(keeps, inner, way.extra, cost, way.schedule, copies, times, inside)


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
    unit.copies = _known(step.copies) * unit.count
    unit.saves = bool(asked) or step.node.path is not None or step.vain
    results = {id(s) for s in step.outs} - {id(s) for s in step.ins}
    before = not step.vain and all(
        s.own or (id(s) in ends and id(s) not in results) for s in asked
    )  # kept when the op begins
    unit.short = once * (unit.count - 1) + (0 if before else once)


def _kept_ends(unit: Unit) -> tuple[frozenset[int], frozenset[int]]:
    takes = list(dict.fromkeys(unit.takes))
    inputs = frozenset(i for i, t in enumerate(takes) if t in unit.keeps)
    return inputs, frozenset(i for i, t in enumerate(unit.gives) if t in unit.keeps)
