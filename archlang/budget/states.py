"""The states of a course: a place, and which tensors that a later choice may refer to are kept.

An arc from one to another is a choice, with the bytes that it adds to what is kept, those that it holds while its
backward pass runs, and its cost. On a chain there are two states a place; of graphs with many connections across, at
most `STATES` are followed, those that are the cheapest at several prices of a byte.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from archlang.budget.course import Choice, Course
from archlang.records import dataclass, field

__all__ = ["Arc", "Label", "State", "States", "choices_of", "front_of", "thinned"]

STATES = 48  # of a place
PRICES = (0.0, 0.1, 0.5, 2.0, 20.0)  # 1: to evaluate all again costs as much as to store all

# Where to, bytes more that are kept, bytes held, cost, and the choice.
Arc = tuple["State", int, int, int, Choice]
# A plan up to a state: what it keeps, its cost, the label before its last choice, that choice, and more that is needed.
Label = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class State:
    """there: the tensors that are kept, of those that matter later; figures: what it costs to come here, at each of the
    prices. Of a search: open, the arcs that the budget has room for; low: the least that may be kept here; value: a
    bound of what it still costs to the end; labels: the plans up to here."""

    there: frozenset[int]
    figures: list[float] = field(default_factory=lambda: [inf] * len(PRICES))
    arcs: list[Arc] = field(default_factory=list)
    open: list[Arc] = field(default_factory=list)
    low: float = inf
    value: float = inf
    labels: list[Label] = field(default_factory=list)


class States:
    """places: the states of each place, with one in the first; all: whether none was left out."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.all = True
        starting: list[list[Choice]] = [[] for _ in range(course.parts)]
        self._last = dict.fromkeys(course.lasting, course.parts)  # where it matters for the last time if it is kept
        for choice in course.choices:
            starting[choice.start].append(choice)
            for tensor in choice.keeps:
                self._last[tensor] = max(self._last.get(tensor, 0), choice.start)
        stored = sum(course.sizes) + sum(c.inner for c in course.choices)
        again = sum(max((c.cost for c in row), default=0) for row in starting)
        self._prices = [price * again / max(1, stored) for price in PRICES]
        self.places = self._laid(starting)

    def _laid(self, starting: list[list[Choice]]) -> list[list[State]]:
        waiting: list[dict[frozenset[int], State]] = [{} for _ in range(len(starting) + 1)]
        waiting[0][frozenset()] = State(frozenset(), [0.0] * len(PRICES))
        places: list[list[State]] = []
        for place, choices in enumerate(starting):
            places.append(self._followed([*waiting[place].values()]))
            for state in places[-1]:
                for choice in choices:
                    self._arc(state, choice, waiting[choice.stop])
        places.append([*waiting[-1].values()])
        there = {state for states in places for state in states}
        for state in there:
            state.arcs = [arc for arc in state.arcs if arc[0] in there]
        return places

    def _arc(self, state: State, choice: Choice, there: dict[frozenset[int], State]) -> None:
        sizes = self.course.sizes
        more, held = choice.kept(sizes, state.there), choice.held(sizes, state.there)
        after = frozenset(t for t in state.there | choice.keeps if self._last[t] >= choice.stop)
        if after not in there:
            there[after] = State(after)
        target = there[after]
        state.arcs.append((target, more, held, choice.cost, choice))
        for i, price in enumerate(self._prices):
            target.figures[i] = min(target.figures[i], state.figures[i] + choice.cost + price * more)

    def _followed(self, states: list[State]) -> list[State]:
        if len(states) <= STATES:
            return states
        self.all = False
        sizes = self.course.sizes
        half = {state: sum(sizes[t] for t in state.there) / 2 for state in states}  # someone may need it later, or not
        found: dict[State, None] = {}
        for i, price in enumerate(self._prices):
            best = sorted(states, key=lambda state: state.figures[i] - price * half[state])
            found |= dict.fromkeys(best[: STATES // len(PRICES)])
        return list(found)


def front_of(labels: list[Label]) -> list[Label]:
    """The labels that no other one is as good as, the smallest first."""
    found: list[Label] = []
    for label in sorted(labels, key=lambda label: label[:2]):
        if not found or label[1] < found[-1][1]:
            found.append(label)
    return found


def thinned(front: list[Label], limit: int, rank: Callable[[Label], Any]) -> list[Label]:
    """Of labels in order of size, the smallest, and the first by `rank` in each of `limit` intervals of sizes."""
    if len(front) <= limit:
        return front
    low, high = front[0][0], front[-1][0]
    buckets: dict[int, Label] = {}
    for label in front[1:]:
        place = (label[0] - low) * limit // (high - low + 1)
        if place not in buckets or rank(label) < rank(buckets[place]):
            buckets[place] = label
    return [front[0], *buckets.values()]


def choices_of(label: Label) -> list[Choice]:
    """The choices that lead to a label."""
    found: list[Choice] = []
    while label[3] is not None:
        found.append(label[3])
        label = label[2]
    return found[::-1]
