"""Finds loops in straight-line forwards: consecutive passes of equal statements, each fed by the one before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from archlang.codegen.body import Step, StepItem
from archlang.codegen.exprs import SELF, Apply, Get, Item, Leaf, Py, Raw, Var
from archlang.codegen.flow import reads, targets
from archlang.codegen.literals import exact
from archlang.codegen.progress import SHORTEST, Alike
from archlang.ir.graph import Graph

__all__ = ["Passes", "Place", "Search", "place", "replaced"]

LONGEST = 12  # statements of one pass
_NUMBERED = re.compile(r"(.*?)(0|[1-9][0-9]*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where numbered modules are: attributes `stem1`, `stem2`, ... of self, or members of a list there."""

    kind: str  # "attribute" | "list"
    name: str  # the attributes' stem; the list's name, "" for self


@dataclass(frozen=True, slots=True)
class Passes:
    """`count` passes of `period` statements each, from the statement `start` on."""

    start: int
    period: int
    count: int
    streams: tuple[int, ...]  # in the last pass: what a pass hands to the next
    initial: tuple[int, ...]
    before: dict[int, int]  # what the last pass reads of the pass before -> the stream
    moving: dict[Place, set[int]]  # modules that change from pass to pass: their numbers in the first

    @property
    def end(self) -> int:
        return self.start + self.period * self.count


def place(e: Any) -> tuple[Place, int] | None:
    """The numbered module that an expression refers to."""
    if isinstance(e, Get) and e.value == SELF:
        found = _NUMBERED.match(e.name)
        return (Place("attribute", found[1]), int(found[2])) if found and found[1] else None
    if isinstance(e, Item) and len(e.items) == 1:
        number = e.items[0]
        if isinstance(number, Raw) and number.text.isdecimal():
            if e.value == SELF:
                return Place("list", ""), int(number.text)
            if isinstance(e.value, Get) and e.value.value == SELF:
                return Place("list", e.value.name), int(number.text)
    return None


def replaced(e: Any, rule: Callable[[Any], Any]) -> Any:
    """The expression with parts replaced: those for which the rule gives something else than None."""
    new = rule(e)
    if new is not None:
        return new
    if isinstance(e, tuple):
        return tuple(replaced(part, rule) for part in e)
    if is_dataclass(e) and not isinstance(e, (type, Graph, Leaf, Raw, Var)):
        names = [f.name for f in fields(e) if not f.metadata.get("meta") and f.name not in ("graph", "size")]
        return replace(e, **{n: replaced(getattr(e, n), rule) for n in names})
    return e


@dataclass
class _Statement:
    """One step, taken apart: the form that all passes share, and what may change from pass to pass."""

    form: Hashable
    values: tuple[int, ...]  # read, in order
    made: tuple[int, ...]
    places: tuple[tuple[Place, int], ...]
    value: Py


def _taken_apart(step: StepItem, alike: Alike) -> _Statement | None:
    if not isinstance(step, Step) or isinstance(step.value, Var):  # `x = x` is not even written
        return None
    places: list[tuple[Place, int]] = []

    def form(e: Any) -> Hashable:
        here = place(e)
        if here is not None:
            places.append(here)
            return ("place", here[0])
        if isinstance(e, Var):
            return "value"
        if isinstance(e, Leaf):
            return ("leaf", exact(e.value))
        if isinstance(e, Apply):
            return ("apply", alike.class_of(e.graph), *(form(a) for a in e.args))
        if isinstance(e, tuple):
            return tuple(form(part) for part in e)
        if is_dataclass(e) and not isinstance(e, type):
            names = [f.name for f in fields(e) if not f.metadata.get("meta")]
            return (type(e).__name__, *(form(getattr(e, n)) for n in names))
        return e  # type: ignore[no-any-return]

    def target(t: Any) -> Hashable:
        return tuple(target(part) for part in t) if isinstance(t, tuple) else "value"

    whole = (form(step.value), target(step.target), step.phase)
    return _Statement(whole, tuple(reads(step.value)), targets(step), tuple(places), step.value)


class Search:
    """Looks for loops among the steps of a forward. returned: values that its outputs read."""

    def __init__(self, steps: Sequence[StepItem], returned: set[int], alike: Alike) -> None:
        self.alike = alike
        self.parts = [_taken_apart(s, alike) for s in steps]
        numbers: dict[Hashable, int] = {}
        self.forms = [None if p is None else numbers.setdefault(p.form, len(numbers)) for p in self.parts]
        self.where = {v: i for i, s in enumerate(steps) for v in targets(s)}
        self.last: dict[int, int] = {}
        for i, step in enumerate(steps):
            for v in reads(step):
                self.last[v] = i
        for v in returned:
            self.last[v] = len(steps)

    def at(self, at: int) -> list[Passes]:
        """Loops that start here; or a few statements later, where those of the same period are simpler."""
        found: list[Passes] = []
        for period in range(1, LONGEST + 1):
            if not self._repeats(at, period):
                continue
            turned = [p for i in range(period) if (p := self._passes(at + i, period)) is not None]
            if turned:
                best = min(turned, key=lambda p: (len(p.streams), -p.count, p.start))
                if best.start == at:
                    found.append(best)
        return sorted(found, key=lambda p: (-p.count * p.period, p.period))

    def _repeats(self, at: int, period: int) -> bool:
        end = at + SHORTEST * period
        here = self.forms[at : end - period]
        return end <= len(self.forms) and None not in here and here == self.forms[at + period : end]

    def _passes(self, start: int, period: int) -> Passes | None:
        if not self._repeats(start, period):
            return None
        count = self._count(start, period)
        return self._flow(start, period, count) if count >= SHORTEST else None

    def _pass(self, start: int, period: int, k: int) -> list[_Statement]:
        return [p for p in self.parts[start + k * period : start + (k + 1) * period] if p is not None]

    def _count(self, start: int, period: int) -> int:
        """How many passes are alike, and are read by the next one only."""
        first, second = self._sources(start, period, 0), self._sources(start, period, 1)
        if any((a[0] == "in" or b[0] == "in") and a != b for a, b in zip(first, second, strict=True)):
            return 0
        count = 1
        while True:
            end = start + period * (count + 1)
            here = self.forms[end - period : end]
            if end > len(self.forms) or here != self.forms[start : start + period]:
                return count
            if self._sources(start, period, count) != second or not self._moves(start, period, count):
                return count
            made = [v for p in self._pass(start, period, count - 1) for v in p.made]
            if any(self.last.get(v, -1) >= end for v in made):  # read after the pass that would be the next
                return count
            count += 1

    def _sources(self, start: int, period: int, k: int) -> list[tuple[str, int]]:
        """Where each value that a pass reads comes from: made in it, in the pass before, or outside."""
        begin = start + k * period
        found: list[tuple[str, int]] = []
        for part in self._pass(start, period, k):
            for v in part.values:
                made = self.where.get(v, -1)
                if made >= begin:
                    found.append(("in", self._slot(v, begin)))
                elif k and made >= begin - period:
                    found.append(("before", self._slot(v, begin - period)))
                else:
                    found.append(("out", v))
        return found

    def _slot(self, v: int, begin: int) -> int:
        """A value's place among those of its pass."""
        at = self.where[v]
        part = self.parts[at]
        assert part is not None
        return sum(len(p.made) for p in self.parts[begin:at] if p is not None) + part.made.index(v)

    def _moves(self, start: int, period: int, k: int) -> bool:
        """Whether this pass's modules are those of the first, or all with numbers k higher; functions are equal."""
        first, here = self._pass(start, period, 0), self._pass(start, period, k)
        second = self._pass(start, period, 1)
        for a, b, c in zip(first, second, here, strict=True):
            for (_, one), (_, two), (_, now) in zip(a.places, b.places, c.places, strict=True):
                if two - one not in (0, 1) or now != one + k * (two - one):
                    return False
            if not self.alike.equal([_functions(a.value), _functions(c.value)]):
                return False
        return True

    def _flow(self, start: int, period: int, count: int) -> Passes | None:
        first, second = self._sources(start, period, 0), self._sources(start, period, 1)
        final = self._pass(start, period, count - 1)
        made = [v for p in final for v in p.made]
        initial: dict[int, int] = {}
        for one, two in zip(first, second, strict=True):
            if two[0] == "before":
                if initial.setdefault(two[1], one[1]) != one[1]:
                    return None
            elif one != two:
                return None
        end = start + period * count
        if any(self.last.get(v, -1) >= end and slot not in initial for slot, v in enumerate(made)):
            return None
        defined = [i for i, p in enumerate(final) for _ in p.made]
        before: dict[int, int] = {}
        sources = iter(self._sources(start, period, count - 1))
        for i, part in enumerate(final):
            for v in part.values:
                kind, slot = next(sources)
                if kind == "before":
                    if i > defined[slot]:  # the new value is in the variable already
                        return None
                    before[v] = made[slot]
        if any(v in made for v in before) or not initial:
            return None
        moving: dict[Place, set[int]] = {}
        fixed: set[Place] = set()
        for a, b in zip(self._pass(start, period, 0), self._pass(start, period, 1), strict=True):
            for (where, number), (_, following) in zip(a.places, b.places, strict=True):
                if following == number:
                    fixed.add(where)
                else:
                    moving.setdefault(where, set()).add(number)
        if fixed & set(moving):
            return None
        slots = sorted(initial)
        streams = tuple(made[s] for s in slots)
        return Passes(start, period, count, streams, tuple(initial[s] for s in slots), before, moving)


def _functions(e: Any) -> tuple[Apply, ...]:
    """The plain functions that an expression applies, without their arguments."""
    if isinstance(e, Apply):
        return (Apply(e.graph, ()), *_functions(e.args))
    if isinstance(e, tuple):
        return tuple(a for part in e for a in _functions(part))
    if is_dataclass(e) and not isinstance(e, (type, Graph)):
        return tuple(a for f in fields(e) if not f.metadata.get("meta") for a in _functions(getattr(e, f.name)))
    return ()
