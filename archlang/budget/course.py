"""The planner itself: the cheapest way to train a sequence of parts within a budget of memory.

A *course* is a sequence of parts in the order of the forward pass. A *choice* trains some consecutive parts in one way:
it records them, evaluates them again, or undoes them. A *plan* is a sequence of choices that covers all parts once.

Memory is followed through the backward pass, which takes the choices from the last to the first. When it comes to one,
what the choices before it and itself keep is there, and what it rebuilds (`extra`); what later ones kept is gone. The
most of that, over all choices, is what the plan needs. The choices of a plan keep tensors together: each counts once.

The search is a shortest path with a limited resource: dynamic programming over (place, which tensors that a later
choice may refer to are kept), with the plans of each of these states of which none is both smaller and cheaper. It is
exact up to `limit` plans a state and `STATES` states a place. Beyond that, plans of nearly the same size are joined,
and those states are followed that have the smallest plans and the cheapest ones. On a chain there are two states a
place, as in Beaumont et al. (2019), "Optimal checkpointing for heterogeneous chains" (without checkpoints inside of
checkpoints).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from operator import itemgetter
from typing import Any

from archlang.records import dataclass, replace

__all__ = ["Choice", "Course", "Moment", "Plan", "chain", "cheapest", "least", "measure", "moments", "tradeoffs"]

FOLLOWED = 16_384  # plans that are followed of each state, over all places
STATES = 32  # of a place


# A time in the backward pass of a choice: the tensors that it still keeps, and the bytes that it holds besides.
Moment = tuple[frozenset[int], int]


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to train the parts from `start` to before `stop`.

    keeps: the tensors, by their numbers, that it keeps and others may keep, too; inner: bytes that it keeps besides;
    extra: the most bytes that it holds beyond what is kept, while its backward pass runs; cost: what it computes again;
    what: whatever the caller knows it by; moments: where it is a plan of its own, times at which it may hold the most,
    as that depends on which of its tensors are there anyway.
    """

    start: int
    stop: int
    keeps: frozenset[int]
    inner: int
    extra: int
    cost: int
    what: Any = None
    moments: tuple[Moment, ...] = ()

    def kept(self, sizes: Sequence[int], there: Set[int]) -> int:
        """Bytes that it keeps, besides the tensors that are there."""
        return self.inner + sum(sizes[t] for t in self.keeps if t not in there)

    def held(self, sizes: Sequence[int], there: Set[int]) -> int:
        """The most bytes that it holds at one time, besides the tensors that are there."""
        most = self.kept(sizes, there) + self.extra
        for keeps, held in self.moments:
            most = max(most, held + sum(sizes[t] for t in keeps if t not in there))
        return most


@dataclass(frozen=True, slots=True)
class Course:
    """`parts` parts, and the choices for them. sizes: bytes of the tensors; lasting: those which someone keeps, or not,
    that comes after the course: plans that differ in them are not compared."""

    parts: int
    sizes: Sequence[int]
    choices: Sequence[Choice]
    lasting: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """Choices from the first part to the last. kept: bytes at the end of the forward pass; peak: the most bytes at one
    time; cost: what is computed again; tensors: what it keeps of those that are `lasting`."""

    choices: tuple[Choice, ...]
    kept: int
    peak: int
    cost: int
    tensors: frozenset[int] = frozenset()


def cheapest(course: Course, memory: int, limit: int = 0) -> Plan | None:
    """The plan of the least cost that needs at most `memory` bytes, and of these one that keeps the least. None: there
    is no plan. limit: plans that are followed of each state (0: some hundreds, the more the shorter the course is)."""
    found = _Search(course, memory, limit or max(64, FOLLOWED // max(1, course.parts))).run()
    return min(found, key=lambda plan: (plan.cost, plan.kept), default=None)


def tradeoffs(course: Course, limit: int) -> list[Plan]:
    """Plans of which none is at least as good as another in what it keeps, its peak and its cost; about `limit` of
    them, the smallest and the cheapest among them."""
    return _Search(course, None, limit).run()


def least(course: Course) -> Plan | None:
    """A plan with the least peak, whatever it costs."""
    free = replace(course, choices=[replace(c, cost=0, what=c) for c in course.choices])
    most = sum(course.sizes) + sum(c.held((0,) * len(course.sizes), c.keeps) for c in course.choices)
    low, best = 0, cheapest(free, most)
    while best is not None and low < best.peak:
        middle = (low + best.peak) // 2
        found = cheapest(free, middle)
        low, best = (low, found) if found is not None else (middle + 1, best)
    return None if best is None else measure(course, [c.what for c in best.choices])


def measure(course: Course, choices: Iterable[Choice]) -> Plan:
    """The figures of a plan that is given by its choices."""
    kept = peak = cost = 0
    there: set[int] = set()
    taken = tuple(choices)
    for choice in taken:
        peak = max(peak, kept + choice.held(course.sizes, there))
        kept += choice.kept(course.sizes, there)
        there |= choice.keeps
        cost += choice.cost
    return Plan(taken, kept, peak, cost, frozenset(there & course.lasting))


def moments(course: Course, choices: Iterable[Choice]) -> tuple[Moment, ...]:
    """The times in a plan's backward pass at which it may hold the most, where tensors that are `lasting` may be there
    anyway: of those, what is kept, and the bytes of all else."""
    found: list[Moment] = []
    sizes = [0 if t in course.lasting else size for t, size in enumerate(course.sizes)]
    kept = 0
    there: set[int] = set()
    for choice in choices:
        for keeps, held in (*choice.moments, (choice.keeps, choice.inner + choice.extra)):
            rest = kept + held + sum(sizes[t] for t in keeps - there)
            found.append((frozenset((keeps | there) & course.lasting), rest))
        kept += choice.kept(sizes, there)
        there |= choice.keeps
    found = list(dict.fromkeys(found))
    return tuple(m for m in found if not any(m != o and m[0] <= o[0] and m[1] <= o[1] for o in found))


def chain(
    inner: Sequence[int], between: Sequence[int], again: Sequence[int], undone: Sequence[int | None] = ()
) -> Course:
    """The course of a plain chain of n parts.

    inner: bytes that each part keeps inside, where it is recorded (its input comes on top); between: bytes of the n + 1
    tensors from the chain's input to its result; again: the cost of evaluating each part once more; undone: for parts
    that can be undone, the bytes that this takes while it runs (None: cannot).

    Consecutive parts that are evaluated again together keep the first one's input; those that are undone together keep
    the last one's result.
    """
    n = len(inner)
    choices = [Choice(i, i + 1, frozenset({i}), inner[i], 0, 0, "store") for i in range(n)]
    for i in range(n):
        extra = cost = 0
        for j in range(i, n):
            extra += inner[j] + (between[j] if j > i else 0)
            cost += again[j]
            choices.append(Choice(i, j + 1, frozenset({i}), 0, extra, cost, "again"))
        most = cost = 0
        for j in range(i, n):
            taken = undone[j] if undone else None
            if taken is None:
                break
            most = max(most, taken)
            cost += again[j]
            choices.append(Choice(i, j + 1, frozenset({j + 1}), 0, most, cost, "undo"))
    return Course(n, between, choices)


State = frozenset[int]
# A plan for the parts before a place: what it keeps, its cost, its peak, the label before its last choice, that choice.
Label = tuple[int, int, int, Any, Any]


class _Search:
    """memory None: the peak is not bounded, and is one more figure in which plans are compared."""

    def __init__(self, course: Course, memory: int | None, limit: int) -> None:
        self.course = course
        self.memory = memory
        self.limit = limit
        self.starting: list[list[Choice]] = [[] for _ in range(course.parts)]
        self.last = dict.fromkeys(course.lasting, course.parts)  # the last place at which it matters whether it is kept
        for choice in course.choices:
            self.starting[choice.start].append(choice)
            for tensor in choice.keeps:
                self.last[tensor] = max(self.last.get(tensor, 0), choice.start)

    def run(self) -> list[Plan]:
        n = self.course.parts
        places: list[dict[State, list[Label]]] = [{} for _ in range(n + 1)]
        places[0][frozenset()] = [(0, 0, 0, None, None)]
        for place in range(n):
            for state, front in self.followed(places[place]):
                for choice in self.starting[place]:
                    self.extend(state, front, choice, places[choice.stop])
            places[place].clear()
        labels = [label for found in places[n].values() for label in self.front(found, self.limit)]
        return [measure(self.course, _choices(label)) for label in labels]

    def followed(self, there: dict[State, list[Label]]) -> list[tuple[State, list[Label]]]:
        """The states that are followed, each with its front: where there are many, half of them for their smallest plan
        and half for their cheapest, with fewer plans each."""
        found = [(state, labels) for state, labels in there.items() if labels]
        if len(found) > STATES:
            small = sorted(found, key=lambda item: min(label[0] for label in item[1]))[: STATES // 2]
            cheap = sorted(found, key=lambda item: min((label[1], label[0]) for label in item[1]))[: STATES // 2]
            found = list({id(labels): (state, labels) for state, labels in (*small, *cheap)}.values())
        limit = max(8, self.limit * 2 // max(2, len(found)))
        return [(state, self.front(labels, limit)) for state, labels in found]

    def extend(self, state: State, front: list[Label], choice: Choice, there: dict[State, list[Label]]) -> None:
        """Adds to a later place what comes of the labels of a state by a choice."""
        more, held = choice.kept(self.course.sizes, state), choice.held(self.course.sizes, state)
        after = frozenset(t for t in state | choice.keeps if self.last[t] >= choice.stop)
        found = there.setdefault(after, [])
        cost, memory = choice.cost, self.memory
        for label in front:
            peak = max(label[2], label[0] + held)
            if memory is None or peak <= memory:
                found.append((label[0] + more, label[1] + cost, peak, label, choice))

    def front(self, labels: list[Label], limit: int) -> list[Label]:
        """The labels that no other one is as good as in all figures, thinned out."""
        found: list[Label] = []
        if self.memory is not None:
            for label in sorted(labels, key=itemgetter(0, 1)):
                if not found or label[1] < found[-1][1]:
                    found.append(label)
            return _thinned(found, limit)
        for label in sorted(labels, key=itemgetter(1, 0, 2)):
            if not any(other[0] <= label[0] and other[2] <= label[2] for other in found):
                found.append(label)
        return _thinned(sorted(found, key=itemgetter(0)), limit)


def _thinned(front: list[Label], limit: int) -> list[Label]:
    """Of a front in order of size, the smallest, and the cheapest in each of `limit` intervals of sizes."""
    if len(front) <= limit:
        return front
    low, high = front[0][0], front[-1][0]
    buckets: dict[int, Label] = {}
    for label in front[1:]:
        place = (label[0] - low) * limit // (high - low + 1)
        if place not in buckets or label[1:3] < buckets[place][1:3]:
            buckets[place] = label
    return [front[0], *buckets.values()]


def _choices(label: Label) -> list[Choice]:
    found: list[Choice] = []
    while label[4] is not None:
        found.append(label[4])
        label = label[3]
    return found[::-1]
