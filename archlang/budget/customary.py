"""What is customary: every block a checkpoint of its own, or the blocks in k equal segments. To compare with."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.analyze.cost import recorded
from archlang.analyze.plan import Plans
from archlang.budget.budget import Budget, Fit
from archlang.budget.choices import Span
from archlang.budget.course import Choice, Course, measure
from archlang.budget.sheet import Facts, Sheet
from archlang.budget.units import Level, Unit
from archlang.reversible.kept import Anchors

__all__ = ["Customary"]


class Customary:
    """Plans that checkpoint the blocks of a network in equal segments, as `checkpoint_sequential` does. A segment may
    go on from one stage to the next. What stands outside of the blocks is stored.

    Blocks are the calls in the network's chains.
    """

    def __init__(self, budget: Budget) -> None:
        plans = Plans()
        trace = recorded(budget.program, plans, budget.sizes)
        facts = Facts(plans, Anchors(budget.program), overlap=False)
        sheet = Sheet(facts, _chain, choices=False)
        level = sheet.lay(trace, sheet.numbered(trace.inputs))
        self.sizes = sheet.sizes
        self.units = list(_flat(level))
        self.blocks = [i for i, (_, inside) in enumerate(self.units) if inside]

    def segments(self, count: int, last_stored: bool = False) -> Fit:
        """The blocks in so many segments; last_stored: the last one is no checkpoint."""
        n, size = len(self.blocks), -(-len(self.blocks) // count)
        starts = [self.blocks[i] for i in range(0, n, size)]
        stops = [*starts[1:], self.blocks[-1] + 1]
        ends = dict(zip(starts, stops, strict=True))
        if last_stored:
            ends.pop(starts[-1])
        choices: list[Choice] = []
        at = 0
        while at < len(self.units):
            unit, stop = self.units[at][0], ends.get(at)
            if stop is None:
                choices.append(Choice(at, at + 1, unit.keeps, unit.inner, 0, 0))
            else:
                span = Span(self.sizes)
                for inside, _ in self.units[at:stop]:
                    span.add(inside)
                choices.append(span.choice(at, stop, None))
            at = stop or at + 1
        return Fit(measure(Course(len(self.units), self.sizes, choices), choices))


def _chain(unit: Unit) -> bool:
    callee = unit.step.node.callee
    return callee is not None and callee.sequential and any(node.callee is not None for node in callee.nodes)


def _flat(level: Level, inside: bool = False) -> Iterator[tuple[Unit, bool]]:
    """The units in order, and whether each is a block."""
    for unit in level.units:
        if unit.opened is not None:
            yield from _flat(unit.opened, True)
        else:
            yield unit, inside and unit.step.trace is not None
