"""What a plan says of one graph: which of its nodes are evaluated again, undone, or trained by a plan of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archlang.budget.course import Plan
from archlang.records import dataclass

if TYPE_CHECKING:
    from archlang.budget.units import Level, What

__all__ = ["Decision", "Schedule", "scheduled"]

Place = tuple[int, int]  # a node's index in its graph, and which of the node's applications


@dataclass(frozen=True, slots=True)
class Decision:
    """Of the applications from `start` to before `stop`; all that no decision is about is recorded by autograd.

    kind: "again": they are evaluated again in the backward pass, as one; "undo": they are one region of reversible
    calls; "inside": each is a call that `inner` says more about. A single call that is evaluated again may have an
    `inner`, too: then its second evaluation goes by that.
    """

    kind: str
    start: Place
    stop: Place
    inner: tuple[Decision, ...] = ()


Schedule = tuple[Decision, ...]  # in the order of the nodes


def scheduled(level: Level, plan: Plan) -> Schedule:
    """What a plan of a sheet says of a level that was laid out on it."""
    starts = {choice.start: choice.what for choice in plan.choices}
    return _schedule(level, starts)


def _schedule(level: Level, starts: dict[int, What]) -> Schedule:
    found: list[Decision] = []
    i = 0
    while i < len(level.units):
        unit = level.units[i]
        what = starts.get(level.marks[i])
        if what is not None and what.level is level and what.kind != "way":
            found.append(Decision(what.kind, unit.start, level.units[what.last - 1].stop, what.schedule))
            i = what.last
            continue
        inner = what.schedule if unit.opened is None and what is not None else ()
        if unit.opened is not None:
            inner = _schedule(unit.opened, starts)
        if inner:
            last = found[-1] if found else None
            if last is not None and last.kind == "inside" and last.stop == unit.start and last.inner == inner:
                found[-1] = Decision("inside", last.start, unit.stop, inner)
            else:
                found.append(Decision("inside", unit.start, unit.stop, inner))
        i += 1
    return tuple(found)
