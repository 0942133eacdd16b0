"""The course of a training step: a sequence of parts, the choices that there are for them, and plans made of these.

A *course* is a sequence of parts in the order of the forward pass. A *choice* trains some consecutive parts in one way:
it records them, evaluates them again, or undoes them. A *plan* is a sequence of choices that covers all parts once.

Memory is followed through the backward pass, which takes the choices from the last to the first. When it comes to one,
what the choices before it and itself keep is there, and what it rebuilds (`extra`); what later ones kept is gone. The
most of that, over all choices, is what the plan needs. The choices of a plan keep tensors together: each counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

from archlang.records import dataclass

__all__ = ["Choice", "Course", "Moment", "Plan", "chain", "measure", "moments"]

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
    time; cost: what is computed again; tensors: what it keeps of those that are `lasting`; bound: what no plan
    within the same memory is cheaper than (0: not known)."""

    choices: tuple[Choice, ...]
    kept: int
    peak: int
    cost: int
    tensors: frozenset[int] = frozenset()
    bound: int = 0


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
