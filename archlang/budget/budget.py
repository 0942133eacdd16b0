"""The plans that there are for a program at given sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.analyze.cost import recorded
from archlang.analyze.plan import Plans
from archlang.budget.course import Choice, Plan, measure
from archlang.budget.order import orders
from archlang.budget.rewrite import Planned, planned
from archlang.budget.schedule import Schedule, scheduled
from archlang.budget.search import Search
from archlang.budget.sheet import Facts, Sheet, macs_of
from archlang.budget.stages import Stages
from archlang.ir.graph import Program
from archlang.records import dataclass, replace
from archlang.reversible.kept import Anchors

__all__ = ["Budget", "Fit", "Layout", "layout_of"]

OPENED = 16  # a callee that keeps more than such a part of all is opened


class Layout:
    """A program as the search sees it: its parts in order, and the choices for them."""

    def __init__(self, stages: Stages, sizes: Mapping[str, int], overlap: bool, dtype: str) -> None:
        plans = Plans()
        self.stages = stages
        self.trace = recorded(stages.program, plans, sizes)
        total = self.trace.work.saved
        assert isinstance(total, int)
        facts = Facts(plans, Anchors(stages.program, dtype), overlap)
        sheet = Sheet(facts, lambda unit: unit.inner * OPENED > total)
        self.level = sheet.lay(self.trace, sheet.numbered(self.trace.inputs))
        self.course = sheet.course()
        self.search = Search(self.course)

    def within(self, memory: int) -> Fit | None:
        """The cheapest plan that is found, with equal decisions side by side."""
        found = self.search.within(memory)
        if found is None:
            return None
        tidied = measure(self.course, self._tidied(found.choices, memory))
        return Fit(replace(tidied, bound=found.bound), self)

    def _tidied(self, choices: Sequence[Choice], memory: int) -> Sequence[Choice]:
        """The same choices with those of equal units side by side, where that needs no more memory.

        Of equal units in a row it does not matter which ones are trained in which way, but for the peak; those that
        rebuild most come first, when the least is kept. So runs stay runs in what is written.
        """
        before = measure(self.course, choices)
        order = list(choices)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and _alike(order[start], order[stop]):
                stop += 1
            if stop - start > 2:
                row = sorted(order[start:stop], key=lambda c: (-c.extra, c.inner, str(c.what.schedule)))
                moved = [*order[:start], *_placed(row, order[start:stop], self.course.choices), *order[stop:]]
                after = measure(self.course, moved)
                if after.peak <= memory and (after.cost, after.kept) <= (before.cost, before.kept):
                    order, before = moved, after
            start = stop
        return order


@dataclass(frozen=True, slots=True)
class Fit:
    """A plan, in bytes and MACs. kept: at the end of the forward pass; peak: the most at one time in the backward pass;
    again: what the backward pass evaluates again; bound: what no plan of these parts has less of, where that is known;
    layout: whose parts it is about. See docs/memory.md."""

    plan: Plan
    layout: Layout | None = None

    @property
    def kept(self) -> int:
        return self.plan.kept

    @property
    def peak(self) -> int:
        return self.plan.peak

    @property
    def again(self) -> int:
        return macs_of(self.plan.cost)

    @property
    def bound(self) -> int:
        return macs_of(self.plan.bound)


class Budget:
    """What the training of a program at given sizes can do about its memory.

    sizes: a number for each symbol of the inputs. `stored` records all; `least` has the least peak. `macs` are those of
    a forward pass; `uncounted` names what the figures lack, as in `analyze.Cost`. `layouts`: the program as it is,
    with its stages written out, and with nodes in another order, where that differs; the best plan is taken. overlap:
    what is undone is so on two streams of a GPU; dtype: what branches of reversible blocks are trained in, by which
    anchors stand (bytes are those of float32). Raises ValueError where a size has no number.
    """

    def __init__(
        self, program: Program, sizes: Mapping[str, int], *, overlap: bool = False, dtype: str = "float32"
    ) -> None:
        self.program = program
        self.sizes = dict(sizes)
        if missing := [name for name in program.root.symbols if name not in sizes]:
            raise ValueError(f"no number for {', '.join(missing)}")
        first = Layout(Stages(program, write=False), sizes, overlap, dtype)
        found = orders(first.trace)
        others = [Stages(program), *([Stages(program, orders=found)] if found else [])]
        others = [stages for stages in others if stages.program.root is not program.root]
        self.layouts = [first, *(Layout(stages, sizes, overlap, dtype) for stages in others)]
        macs = first.trace.work.macs
        assert isinstance(macs, int)
        self.macs = macs
        self.uncounted = tuple(sorted(first.trace.uncounted))
        self.stored = Fit(first.search.stored(), first)
        least = self.within(min(layout.search.least() for layout in self.layouts))
        assert least is not None
        self.least = least

    def within(self, memory: int) -> Fit | None:
        """The plan that evaluates the least again, of those that need at most so many bytes at their peak."""
        found: list[Fit] = []
        for layout in self.layouts:
            if all(fit.again for fit in found) and (fit := layout.within(memory)) is not None:
                found.append(fit)
        best = min(found, key=lambda fit: fit.again, default=None)
        bound = min((fit.plan.bound for fit in found), default=0)
        return best and replace(best, plan=replace(best.plan, bound=bound))

    def curve(self, points: int) -> list[Fit]:
        """From the least memory to where all is stored, in equal steps of memory."""
        low, high = self.least.peak, self.stored.peak
        steps = [low + (high - low) * i // max(1, points - 1) for i in range(points)]
        found: list[Fit] = []
        for memory in dict.fromkeys(steps):
            fit = self.within(memory)
            if fit is not None and (not found or fit.plan.cost < found[-1].plan.cost):
                found.append(fit)
        return found

    def schedule(self, fit: Fit) -> Schedule:
        """The decisions for the root of the layout's program."""
        return scheduled(layout_of(fit).level, fit.plan)

    def planned(self, fit: Fit) -> Planned:
        """The program in which the plan can be written down, and what `codegen.generate` needs besides."""
        return planned(layout_of(fit).stages, self.schedule(fit))

    def held(self, fit: Fit) -> tuple[Choice, int]:
        """Where a plan's peak is: the choice whose backward pass has it, and the bytes that those before it keep."""
        sizes = layout_of(fit).course.sizes
        kept = 0
        there: set[int] = set()
        found: list[tuple[int, Choice, int]] = []
        for choice in fit.plan.choices:
            found.append((kept + choice.held(sizes, there), choice, kept))
            kept += choice.kept(sizes, there)
            there |= choice.keeps
        _, choice, before = max(found, key=lambda item: item[0])
        return choice, before


def layout_of(fit: Fit) -> Layout:
    assert fit.layout is not None  # only what is customary has none
    return fit.layout


def _alike(choice: Choice, other: Choice) -> bool:
    """Whether two choices are about single applications of one node, with the same ways to train them."""
    a, b = choice.what, other.what
    if a.kind != "way" or b.kind != "way" or a.level is not b.level:
        return False
    first, second = a.level.units[a.first], b.level.units[b.first]
    return first.step.node is second.step.node and first.step.trace is second.step.trace is not None


def _placed(row: Sequence[Choice], places: Sequence[Choice], choices: Sequence[Choice]) -> list[Choice]:
    """The choices of a row, in its order, at these places of the course."""
    there = {place.start for place in places}
    found = {(c.start, c.what.schedule): c for c in choices if c.start in there and c.what.kind == "way"}
    return [found[place.start, choice.what.schedule] for choice, place in zip(row, places, strict=True)]
