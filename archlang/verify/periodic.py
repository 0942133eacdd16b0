"""Where a polynomial of one symbol and its floor divisions is zero, or not negative: exactly, class by class.

On the numbers `L*k + r`, with L a multiple of every denominator, all floors are polynomials of k.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import lcm

import islpy as isl

from archlang.shapes.dim import Dim, Floor, Size, substitute, symbol, symbols
from archlang.verify.sizes import Sizes

__all__ = ["MOST_CLASSES", "holds", "period"]

MOST_CLASSES = 512


def period(size: Size) -> int | None:
    """A common multiple of all denominators, those of nested floors multiplied; None where one is symbolic."""
    if isinstance(size, int):
        return 1
    total = 1
    for mono, _ in size.terms:
        for atom, _ in mono:
            if isinstance(atom, Floor):
                inner = period(atom.numerator)
                if inner is None or not isinstance(atom.denominator, int):
                    return None
                total = lcm(total, atom.denominator * inner)
    return total


def holds(space: Sizes, size: Size, relation: str) -> isl.Set | None:
    """The set of the one symbol's values; None where there are too many classes."""
    (name,) = symbols(size)
    modulus = period(size)
    if modulus is None or modulus > MOST_CLASSES:
        return None
    found = space.empty
    for rest in range(modulus):
        low = 1 if rest == 0 else 0
        for start, end in _intervals(_coefficients(size, name, modulus, rest), relation, low):
            found = found.union(space.residue(name, modulus, rest, start, end))
    return found.coalesce()


def _coefficients(size: Size, name: str, modulus: int, rest: int) -> list[int]:
    """Of the polynomial in k that the size is at `modulus * k + rest`, constant first."""
    at = substitute(size, {name: modulus * symbol(name) + rest})
    found: list[int] = []
    for mono, coef in at.terms if isinstance(at, Dim) else (((), at),):
        power = sum(p for _, p in mono)
        assert not any(isinstance(atom, Floor) for atom, _ in mono)
        found += [0] * (power + 1 - len(found))
        found[power] = coef
    return found


def _value(poly: list[int], at: int) -> int:
    total = 0
    for coef in reversed(poly):
        total = total * at + coef
    return total


def _sign(poly: list[int], at: int) -> int:
    value = _value(poly, at)
    return (value > 0) - (value < 0)


def _breaks(poly: list[int], low: int) -> list[int]:
    """Integers b >= low such that every real root above `low` lies in some [b, b + 1]; ascending."""
    while poly and poly[-1] == 0:
        poly = poly[:-1]
    if len(poly) < 2:
        return []
    bound = max(low, 1 + max(abs(c) for c in poly[:-1]) // abs(poly[-1])) + 1  # no real root is above (Cauchy)
    inner = _breaks([i * c for i, c in enumerate(poly)][1:], low)
    found = set(inner)
    edges = sorted({low, *inner, *(b + 1 for b in inner), bound})
    for a, b in pairwise(edges):
        if _sign(poly, a) == _sign(poly, b):
            continue
        while b - a > 1:  # monotone between the edges
            middle = (a + b) // 2
            if _sign(poly, middle) == _sign(poly, a):
                a = middle
            else:
                b = middle
        found.update((a, b))
    return sorted(found)


def _intervals(poly: list[int], relation: str, low: int) -> Iterator[tuple[int, int | None]]:
    """Maximal ranges of k >= low where the polynomial stands in the relation to 0; None for no end."""
    edges = [low - 1, *_breaks(poly, low)]
    start: int | None = None
    for i, edge in enumerate(edges):
        first = edge + 1
        sign = _sign(poly, first)
        good = sign == 0 if relation == "==" else sign >= 0
        if good and start is None:
            start = first
        if not good and start is not None:
            yield start, edge
            start = None
        if good and i == len(edges) - 1:
            yield start if start is not None else first, None
