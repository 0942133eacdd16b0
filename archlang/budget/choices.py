"""The choices that there are for the units of a graph: to record them, to evaluate them again, or to undo them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from archlang.analyze.plan import Plan, Plans
from archlang.analyze.regions import jumps
from archlang.budget.course import Choice
from archlang.budget.units import Level, Readable, Unit, Way, What, context
from archlang.ir.graph import Node
from archlang.records import dataclass, replace
from archlang.reversible import region_from, uses
from archlang.reversible.kept import Anchors
from archlang.reversible.undoing import blocks_in

__all__ = ["Regions", "Span", "again", "recorded", "repeated"]

CUTS = 72  # places of a graph where what is evaluated again may begin or end, if it is longer than
SHORT = 16  # units


def recorded(level: Level) -> Iterator[Choice]:
    """To record a unit, or to train its callee by a plan of its own."""
    for i, unit in enumerate(level.units):
        if unit.opened is not None:
            continue
        place = level.marks[i]
        plain = [] if unit.fixed else [Way(unit.keeps, unit.inner, 0, 0, ())]
        for way in (*plain, *unit.ways):
            what = What("way", level, i, i + 1, way.schedule)
            yield Choice(place, place + 1, way.keeps, way.inner, way.extra, way.cost, what, way.moments)


# -- evaluated again ---------------------------------------------------------------------------------------------------
class Span:
    """Consecutive units that are evaluated again together: they keep what the first ones take."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.units: list[Unit] = []
        self.takes: dict[int, None] = {}
        self.made: set[int] = set()
        self.kept: set[int] = set()
        self.inner = self.copies = 0

    def add(self, unit: Unit) -> None:
        self.units.append(unit)
        self.takes |= dict.fromkeys(t for t in unit.takes if t not in self.made)
        self.made.update(t for t in unit.gives if t not in self.takes)
        self.kept |= unit.keeps
        self.inner += unit.inner
        self.copies += unit.copies

    @property
    def rebuilt(self) -> int:
        """Bytes that are there once all is evaluated again."""
        return self.inner + self.copies + sum(self.sizes[t] for t in self.kept & self.made)

    def choice(self, start: int, stop: int, what: object) -> Choice:
        """For places of a course. It costs a little more than what is evaluated, so that no plan has it for nothing."""
        keeps = frozenset(t for t in self.takes if self.sizes[t])
        return Choice(start, stop, keeps, 0, self.rebuilt, again(self.units) + 1, what)


def again(units: Sequence[Unit]) -> int:
    """The cost of evaluating units again: torch stops when all is rebuilt that autograd kept."""
    last = max((i for i, u in enumerate(units) if u.saves), default=-1)
    return sum(u.cost for u in units[:last]) + (units[last].short if last >= 0 else 0)


def repeated(level: Level, sizes: Sequence[int]) -> Iterator[Choice]:
    """To evaluate consecutive units again."""
    units, readable, narrow = level.units, Readable(level.graph), _narrow(level.units, sizes)
    modal = [i for i, node in enumerate(level.graph.nodes) if node.phase is not None or node.op == "phase"]
    for i, first in enumerate(units):
        span = Span(sizes)
        for j in range(i, len(units)):
            unit = units[j]
            if not unit.safe or any(first.start[0] < place < unit.stop[0] for place in modal):
                break
            span.add(unit)
            near = j - i < SHORT or (i in narrow and j + 1 in narrow)
            if near and unit.saves and span.rebuilt and readable.ok(first.start[0], unit.start[0]):
                choice = span.choice(level.marks[i], level.marks[j + 1], What("again", level, i, j + 1))
                yield choice
                yield from _within(choice, unit, sizes) if i == j else ()


def _within(whole: Choice, unit: Unit, sizes: Sequence[int]) -> Iterator[Choice]:
    """To evaluate one unit again by a plan of its own: checkpoints inside of a checkpoint."""
    for way in unit.ways:
        extra = 0 if way.inside else way.extra
        again = replace(whole, keeps=way.keeps, inner=way.inner + way.copies, extra=extra, moments=way.inside)
        held = again.held(sizes, whole.keeps)
        if held < whole.extra:
            what = replace(whole.what, schedule=way.schedule)
            yield replace(whole, extra=held, cost=whole.cost + way.cost, what=what)


def _narrow(units: Sequence[Unit], sizes: Sequence[int]) -> set[int]:
    """The places between units where a long span may begin or end: all of few, else those that the fewest bytes
    cross."""
    if len(units) < CUTS:
        return {*range(len(units) + 1)}
    last = {t: i for i, unit in enumerate(units) for t in unit.takes}
    crossing = [0] * (len(units) + 1)
    for i, unit in enumerate(units):
        for t in unit.gives:
            for place in range(i + 1, last.get(t, i) + 1):
                crossing[place] += sizes[t]
    return {*sorted(range(len(units) + 1), key=lambda place: (crossing[place], place))[:CUTS]}


# -- undone ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Regions:
    """undoable: ids of the graphs whose calls can be undone. overlap: activations of two blocks are there at a time."""

    undoable: Collection[int]
    anchors: Anchors
    plans: Plans
    overlap: bool

    def takes(self, node: Node) -> bool:
        return id(node.callee) in self.undoable and not node.inverted and not node.log_det

    def choices(self, level: Level, plan: Plan, sizes: Sequence[int]) -> Iterator[Choice]:
        """To undo consecutive reversible calls, as one region. Units outside of regions are no more `fixed`."""
        nodes, read = level.graph.nodes, uses(level.graph)
        inside: set[int] = set()
        at = 0
        while at < len(nodes):
            region = region_from(nodes, at, self.takes, read)
            if region:
                every = self.anchors.every(level.graph, region)
                units = [i for i, u in enumerate(level.units) if at <= u.start[0] < at + len(region)]
                inside.update(units)
                for first in units:
                    yield from self._from(level, plan, sizes, range(first, units[-1] + 1), every)
            at += max(1, len(region))
        for i, unit in enumerate(level.units):
            unit.fixed = unit.fixed and i in inside

    def _from(self, level: Level, plan: Plan, sizes: Sequence[int], units: range, every: int) -> Iterator[Choice]:
        """Those that begin with the first of these units. every: the region has anchors after so many blocks."""
        read: set[int] = set()  # context
        streams: dict[int, None] = {}
        inner = blocks = extra = cost = 0
        for i in units:
            unit, node = level.units[i], level.units[i].step.node
            assert node.callee is not None
            for tensor, fixed in zip(unit.takes, context(node), strict=True):
                read |= {tensor} if fixed else set()
                streams.pop(tensor, None)
            streams |= dict.fromkeys(unit.gives)
            once = sum(sizes[t] for t in set(unit.gives))
            jumping = jumps(self.plans, node.callee, plan.sizes[unit.start[0]])
            assert isinstance(jumping, int)
            inner += unit.count * jumping
            blocks += unit.count * blocks_in(node.callee)
            extra = max(extra, unit.undoing)
            cost += unit.cost
            if i + 1 in units and (unit.fixed or level.units[i + 1].fixed):
                continue  # what is always undone is one region with its neighbours
            anchors = (blocks - 1) // every * once if every else 0
            what = What("undo", level, units[0], i + 1)
            keeps = frozenset((*read, *streams))
            most = 2 * extra if self.overlap else extra
            yield Choice(level.marks[units[0]], level.marks[i + 1], keeps, inner + anchors, most, cost + 1, what)
