"""Sets of one positive number, which are periodic from some number on, as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from math import lcm

import islpy as isl

from archlang.records import dataclass

__all__ = ["Numbers", "numbers"]

LAST = 1 << 15  # beyond it nothing is looked for
_SET = isl.dim_type.set


@dataclass(frozen=True, slots=True)
class Numbers:
    """`first` (ascending, below `start`), and from `start` on the numbers whose rest modulo `period` is in `rests`."""

    first: tuple[int, ...]
    start: int
    period: int
    rests: tuple[int, ...]

    @property
    def all(self) -> bool:
        return not self.first and self.start == 1 and self.rests == (0,) and self.period == 1

    @property
    def finite(self) -> bool:
        return not self.rests

    def text(self, name: str, *, short: bool = False) -> str:
        """The set as a condition; with `short`, without bounds that hold anyway of positive numbers of these rests."""
        parts = [self._run(name, *run) for run in _runs(self.first)]
        if len(parts) > 2 and len(self.first) <= 12:
            parts = [f"{name} in {_listed(self.first)}"]
        if self.rests and self.period == 1:
            parts.append(f"{name} >= {self.start}")
        elif self.rests:
            rest = f"= {self.rests[0]}" if len(self.rests) == 1 else f"in {_listed(self.rests)}"
            bound = f" and {name} >= {self.start}"
            lowest = min((r - 1) % self.period + 1 for r in self.rests)
            parts.append(f"{name} mod {self.period} {rest}" + (bound if self.start > lowest or not short else ""))
        if not parts:
            return "no size"
        return parts[0] if len(parts) == 1 else "(" + " or ".join(parts) + ")"

    @staticmethod
    def _run(name: str, low: int, high: int) -> str:
        if low == high:
            return f"{name} = {low}"
        return f"{name} <= {high}" if low == 1 else f"{low} <= {name} <= {high}"


def _listed(values: Sequence[int]) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def numbers(of: isl.Set) -> Numbers | None:
    """A one-dimensional set of positive numbers in that form: guessed from its first members, then proved equal."""
    of = of.coalesce()
    period, last = _scale(of)
    last += 2 * period
    while last <= LAST:
        found = _guess(_members(of, last), last, period)
        if found is not None and _set(of, found).is_equal(of):
            return found
        last *= 4
    return None


def _scale(of: isl.Set) -> tuple[int, int]:
    """A common multiple of the moduli, and a number that no constant exceeds."""
    period, last = 1, 1
    for basic in of.compute_divs().get_basic_sets():
        local = basic.get_local_space()
        divs = local.dim(isl.dim_type.div)
        for i in range(divs):
            period = lcm(period, basic.get_div(i).get_denominator_val().to_python())
        for constraint in basic.get_constraints():
            last = max(last, abs(constraint.get_constant_val().to_python()))
            if constraint.is_equality():
                coef = abs(constraint.get_coefficient_val(_SET, 0).to_python())
                period = lcm(period, coef or 1)
    return min(period, LAST // 4), min(last, LAST // 4)


def _members(of: isl.Set, last: int) -> set[int]:
    found: set[int] = set()
    high = isl.Val.int_from_si(of.get_ctx(), last)
    low = isl.Val.int_from_si(of.get_ctx(), 1)
    inside = of.lower_bound_val(_SET, 0, low).upper_bound_val(_SET, 0, high)
    inside.foreach_point(lambda p: found.add(p.get_coordinate_val(_SET, 0).to_python()))
    return found


def _guess(members: set[int], last: int, period: int) -> Numbers | None:
    top = range(last - period + 1, last + 1)
    shortest = period
    for p in range(1, period):
        if period % p == 0 and all((x in members) == (x - p in members) for x in top if x - p > 0):
            shortest = p
            break
    rests = tuple(sorted({x % shortest for x in top if x in members}))
    start = last
    while start > 1 and ((start - 1) in members) == ((start - 1) % shortest in rests):
        start -= 1
    first = tuple(sorted(x for x in members if x < start))
    if rests:
        start = min(x for x in range(start, start + shortest) if x % shortest in rests)
    else:
        start = 1
        first = tuple(sorted(members))
    return Numbers(first, start, shortest if rests else 1, rests)


def _set(like: isl.Set, found: Numbers) -> isl.Set:
    """The numbers as a set again."""
    parts = [f"{low} <= x <= {high}" for low, high in _runs(found.first)]
    parts += [f"(x mod {found.period} = {rest} and x >= {found.start})" for rest in found.rests]
    text = f"{{ [x] : {' or '.join(parts) or 'false'} }}"
    return isl.Set.read_from_str(like.get_ctx(), text).reset_space(like.get_space())
