"""Products of sizes: a polynomial over atoms (symbols and floors) as a product of factors in separate symbols."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd, prod

from archlang.records import dataclass
from archlang.shapes.dim import Atom, Dim, Monomial, Size, Symbol, symbols

__all__ = ["Product", "divisors", "ordered_factors", "product", "terms"]


@dataclass(frozen=True, slots=True)
class Product:
    """`scale * factors[0] * factors[1] * ... + constant`; every factor has symbols of its own."""

    scale: int
    factors: tuple[Dim, ...]
    constant: int


def terms(size: Size) -> dict[Monomial, int]:
    return dict(size.terms) if isinstance(size, Dim) else {(): size}


def product(size: Size) -> Product | None:
    """The form of a size as a product plus a constant; None where it has none."""
    if isinstance(size, int):
        return Product(0, (), size)
    table = terms(size)
    groups = _groups(table)
    split = {_parts(mono, groups): coef for mono, coef in table.items()}
    count = max(groups.values()) + 1
    pivot = next((parts for parts in split if all(parts)), None)
    if pivot is None:
        return None
    lead = split[pivot]
    factors: list[Size] = []
    for i in range(count):
        beside = (*pivot[:i], *pivot[i + 1 :])
        factors.append(Dim({p[i]: coef for p, coef in split.items() if (*p[:i], *p[i + 1 :]) == beside}))
    whole: Size = prod(factors[1:], start=factors[0])
    constant = size * lead ** (count - 1) - whole  # of a product, the constant term is the one that cannot differ
    if not isinstance(constant, int) or constant % lead ** (count - 1):
        return None
    scale = 1
    primitive: list[Dim] = []
    for factor in factors:
        assert isinstance(factor, Dim)
        common = gcd(*(c for _, c in factor.terms)) * (1 if lead > 0 else -1)  # `lead` leads every factor
        scale *= common
        primitive.append(Dim({m: c // common for m, c in factor.terms}))
    if scale % lead ** (count - 1):
        return None
    return Product(scale // lead ** (count - 1), tuple(primitive), constant // lead ** (count - 1))


def _groups(table: dict[Monomial, int]) -> dict[Atom, int]:
    """Numbers the atoms by connected sets of symbols."""
    atoms = list(dict.fromkeys(atom for mono in table for atom, _ in mono))
    clusters: list[tuple[set[str], list[Atom]]] = []
    for atom in atoms:
        names = {atom.name} if isinstance(atom, Symbol) else set(symbols(Dim({((atom, 1),): 1})))
        members = [atom]
        rest = []
        for known, inside in clusters:
            if known & names:
                names |= known
                members = inside + members
            else:
                rest.append((known, inside))
        clusters = [*rest, (names, members)]
    return {atom: i for i, (_, members) in enumerate(clusters) for atom in members}


def _parts(mono: Monomial, groups: dict[Atom, int]) -> tuple[Monomial, ...]:
    count = max(groups.values()) + 1
    return tuple(tuple((atom, power) for atom, power in mono if groups[atom] == i) for i in range(count))


def divisors(n: int) -> list[int]:
    """The positive divisors of a positive number."""
    low = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*low, *(n // d for d in low)})


def ordered_factors(n: int, count: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `n` as a product of `count` positive numbers, in order."""
    if count == 1:
        yield (n,)
        return
    for d in divisors(n):
        for rest in ordered_factors(n // d, count - 1):
            yield (d, *rest)
