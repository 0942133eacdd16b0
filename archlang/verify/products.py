"""Decides where a size is zero, or not negative, when products of symbols occur in it.

Every rule is an equivalence on the sizes of `within`, or gives up (None): a question outside of the fragment is said to
be undecided, never guessed. In order: by form; linear; common factors; floors of products; one symbol; a product
against a number (its divisors, its thresholds); two products, factor by factor; products modulo a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from math import gcd
from typing import Union

import islpy as isl

from archlang.records import dataclass
from archlang.shapes.dim import Atom, Dim, Floor, Size, exact_div, substitute, symbols
from archlang.verify import periodic
from archlang.verify.factors import Product, divisors, ordered_factors, product
from archlang.verify.form import always, never
from archlang.verify.sizes import Sizes, is_linear

__all__ = ["decide"]

LARGEST_NUMBER = 1 << 20  # products are compared with numbers up to this one
MOST_CASES = 512
DEEPEST = 12

_Answer = Union[isl.Set, None]


def decide(space: Sizes, left: Size, right: Size, relation: str, within: isl.Set) -> isl.Set | None:
    """Where `left` stands in the relation to `right`, on `within`; None where the rules do not tell."""
    question = _Question(space, within)
    answer = question.holds(left - right, relation, 0)
    if answer is None and relation == "==":
        answer = question.equal_products(left, right, 0)
    return answer


@dataclass
class _Question:
    space: Sizes
    within: isl.Set

    def holds(self, size: Size, relation: str, depth: int) -> _Answer:
        if isinstance(size, int):
            return self.space.everything if (size == 0 if relation == "==" else size >= 0) else self.space.empty
        if always(size, relation):
            return self.space.everything
        if never(size, relation):
            return self.space.empty
        if depth > DEEPEST:
            return None
        answer = self.single_floor(size, relation, depth + 1)  # of a linear size, it spares isl a variable
        if answer is None and is_linear(size):
            answer = self.space.linear(size, relation)
        if answer is not None:
            return answer
        rules: list[Callable[[Dim, str, int], _Answer]] = [
            self.common_factor,
            self.one_symbol,
            self.against_number,
            self.two_products,
            self.congruence,
        ]
        for rule in rules:
            answer = rule(size, relation, depth + 1)
            if answer is not None:
                return answer
        return None

    def non_negative(self, size: Size) -> bool:
        """Whether `size >= 0` on all sizes that matter."""
        if always(size, ">="):
            return True
        where = self.holds(size, ">=", DEEPEST)
        return where is not None and self.within.is_subset(where)

    # -- a * rest ------------------------------------------------------------------------------------------------------
    def common_factor(self, size: Dim, relation: str, depth: int) -> _Answer:
        """`a*q == 0` where a or q is 0; `a*q >= 0` where a is 0, or where q >= 0 as long as a >= 0."""
        monos = [mono for mono, _ in size.terms]
        shared = [atom for atom, _ in monos[0] if all(any(atom == a for a, _ in mono) for mono in monos)]
        for atom in shared:
            factor = Dim({((atom, 1),): 1})
            rest = exact_div(size, factor)
            if rest is None or (relation == ">=" and not self.non_negative(factor)):
                continue
            zero, other = self.holds(factor, "==", depth), self.holds(rest, relation, depth)
            if zero is not None and other is not None:
                return zero.union(other)
        return None

    # -- floor(p / n) against a number ---------------------------------------------------------------------------
    def single_floor(self, size: Dim, relation: str, depth: int) -> _Answer:
        """`e * (p // n) + k` against 0 is a bound on p."""
        rest = dict(size.terms)
        constant = rest.pop((), 0)
        if len(rest) != 1:
            return None
        ((mono, scale),) = rest.items()
        if len(mono) != 1 or mono[0][1] != 1 or not isinstance(mono[0][0], Floor):
            return None
        floor = mono[0][0]
        if not isinstance(floor.denominator, int):
            return None
        low, high = -((constant) // scale), (-constant) // scale  # ceil, floor of -constant / scale
        n, inside = floor.denominator, floor.numerator
        if relation == ">=":
            if scale > 0:
                return self.holds(inside - n * low, ">=", depth)
            return self.holds(n * (-constant // scale) + n - 1 - inside, ">=", depth)
        if constant % scale:
            return self.space.empty
        above = self.holds(inside - n * high, ">=", depth)
        below = self.holds(n * high + n - 1 - inside, ">=", depth)
        return None if above is None or below is None else above.intersect(below)

    # -- one symbol ----------------------------------------------------------------------------------------------------
    def one_symbol(self, size: Dim, relation: str, depth: int) -> _Answer:
        return periodic.holds(self.space, size, relation) if len(symbols(size)) == 1 else None

    # -- product against a number --------------------------------------------------------------------------------------
    def against_number(self, size: Dim, relation: str, depth: int) -> _Answer:
        found = product(size)
        if found is None or len(found.factors) < 2:
            return None
        if relation == "==":
            if found.constant % found.scale:
                return self.space.empty
            return self.product_is(found.factors, -found.constant // found.scale, depth)
        if not all(self.non_negative(f) for f in found.factors):
            return None
        if found.scale > 0:
            return self.product_at_least(found.factors, ceil_number(-found.constant, found.scale), depth)
        over = self.product_at_least(found.factors, found.constant // -found.scale + 1, depth)
        return None if over is None else self.space.everything.subtract(over)

    def product_is(self, factors: Sequence[Dim], value: int, depth: int) -> _Answer:
        """Where the factors multiply to `value`: a finite union over its divisors."""
        first, rest = factors[0], factors[1:]
        if not rest:
            return self.holds(first - value, "==", depth)
        if value == 0:
            return self.union([self.holds(f, "==", depth) for f in factors])
        if abs(value) > LARGEST_NUMBER:
            return None
        cases = divisors(abs(value))
        if not self.non_negative(first):
            cases += [-d for d in cases]
        parts: list[_Answer] = []
        for d in cases:
            here = self.holds(first - d, "==", depth)
            if here is not None and here.intersect(self.within).is_empty():
                continue
            parts.append(self.both(here, self.product_is(rest, value // d, depth)))
        return self.union(parts)

    def product_at_least(self, factors: Sequence[Dim], value: int, depth: int) -> _Answer:
        """Where factors that are not negative multiply to `value` or more."""
        first, rest = factors[0], factors[1:]
        if value <= 0:
            return self.space.everything
        if not rest:
            return self.holds(first - value, ">=", depth)
        if value > LARGEST_NUMBER:
            return None
        needs: dict[int, int] = {}  # what the rest must reach -> the least of the first factor with which it is enough
        d = 1
        while True:
            need = ceil_number(value, d)
            needs[need] = d
            if need == 1:
                break
            d = ceil_number(value, need - 1)
            if len(needs) > MOST_CASES:
                return None
        parts = []
        for need, least in needs.items():
            parts.append(self.both(self.holds(first - least, ">=", depth), self.product_at_least(rest, need, depth)))
        return self.union(parts)

    # -- product against product ---------------------------------------------------------------------------------------
    def two_products(self, size: Dim, relation: str, depth: int) -> _Answer:
        plus: Size = 0
        for mono, coef in size.terms:
            plus = plus + (Dim({mono: coef}) if coef > 0 else 0)
        minus = plus - size
        if relation == "==":
            return self.equal_products(plus, minus, depth)
        found = self.dominated(plus, minus)
        return self.space.everything if found is not None else None

    def equal_products(self, left: Size, right: Size, depth: int) -> _Answer:
        """`f1*f2 == g1*g2` with f_i >= g_i >= 0: where each f_i == g_i, or some f_i is 0."""
        for a, b in ((left, right), (right, left)):
            pairs = self.dominated(a, b)
            if pairs is not None:
                same: _Answer = self.space.everything
                for f, g in pairs:
                    same = self.both(same, self.holds(f - g, "==", depth))
                return self.union([same, *(self.holds(f, "==", depth) for f, _ in pairs)])
        return None

    def dominated(self, left: Size, right: Size) -> list[tuple[Size, Size]] | None:
        """Factors of both sides in pairs, each on the left at least the one on the right, which is at least 0."""
        f, g = product(left), product(right)
        if f is None or g is None or f.constant != g.constant or len(f.factors) != len(g.factors):
            return None
        if not f.factors or f.scale <= 0 or g.scale <= 0 or len(f.factors) > 4:
            return None
        common = gcd(f.scale, g.scale)
        over, under = f.scale // common, g.scale // common
        if max(over, under) > LARGEST_NUMBER:
            return None
        count = len(f.factors)
        for order in permutations(g.factors):
            if any(symbols(a) != symbols(b) for a, b in zip(f.factors, order, strict=True)):
                continue
            for up in ordered_factors(over, count):
                for down in ordered_factors(under, count):
                    pairs = [(u * a, d * b) for u, a, d, b in zip(up, f.factors, down, order, strict=True)]
                    if all(self.non_negative(a - b) and self.non_negative(b) for a, b in pairs):
                        return pairs
        return None

    # -- modulo a number -----------------------------------------------------------------------------------------------
    def congruence(self, size: Dim, relation: str, depth: int) -> _Answer:
        """`e * (p - n * (p // n)) + k == 0`, that is p mod n == -k / e."""
        if relation != "==":
            return None
        for mono, coef in size.terms:
            if len(mono) == 1 and mono[0][1] == 1 and isinstance(mono[0][0], Floor):
                floor: Atom = mono[0][0]
                assert isinstance(floor, Floor)
                n = floor.denominator
                if not isinstance(n, int) or coef % n:
                    continue
                scale = -coef // n
                constant = size - Dim({mono: coef}) - scale * floor.numerator
                if isinstance(constant, int):
                    if constant % scale or not 0 <= -constant // scale < n:
                        return self.space.empty
                    return self.residue(floor.numerator, n, -constant // scale, depth)
        return None

    def residue(self, size: Dim, modulus: int, rest: int, depth: int) -> _Answer:
        """Where a polynomial leaves a rest modulo a number: by divisors, or class by class."""
        found = product(size)
        if rest == 0 and found is not None and found.constant == 0 and len(found.factors) > 1:
            return self.divides_product(modulus // gcd(modulus, found.scale), found, depth)
        names = sorted(symbols(size))
        step = periodic.period(size)
        if step is None or (step * modulus) ** len(names) > MOST_CASES:
            return None
        cases: list[dict[str, int]] = [{}]
        for name in names:
            cases = [{**case, name: r} for case in cases for r in range(step * modulus)]
        parts: list[_Answer] = []
        for case in cases:
            at = substitute(size, dict(case))
            assert isinstance(at, int)
            if at % modulus == rest:
                where = self.space.everything
                for name, r in case.items():
                    where = where.intersect(self.space.residue(name, step * modulus, r, 0, None))
                parts.append(where)
        return self.union(parts)

    def divides_product(self, n: int, found: Product, depth: int) -> _Answer:
        """n divides f*g where some d | n divides f and n / d divides g."""
        count = len(found.factors)
        if n > LARGEST_NUMBER:
            return None
        parts: list[_Answer] = []
        for split in ordered_factors(n, count):
            where: _Answer = self.space.everything
            for d, factor in zip(split, found.factors, strict=True):
                where = self.both(where, self.holds(factor - d * (factor // d), "==", depth))
            parts.append(where)
        return self.union(parts)

    # -- sets that may be unknown --------------------------------------------------------------------------------------
    def union(self, parts: Sequence[_Answer]) -> _Answer:
        total = self.space.empty
        for part in parts:
            if part is None:
                return None
            total = total.union(part)
        return total.coalesce()

    def both(self, a: _Answer, b: _Answer) -> _Answer:
        return None if a is None or b is None else a.intersect(b)


def ceil_number(a: int, b: int) -> int:
    return -(-a // b)
