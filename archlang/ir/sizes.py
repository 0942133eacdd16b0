"""Sizes and what a graph requires of them: equality under its equations, and whether given sizes meet them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache

from archlang.ir.graph import Constraint, Graph, TensorType
from archlang.shapes.dim import Dim, Monomial, Size

__all__ = ["Equalities", "declared", "fitting"]

_Row = dict[Monomial, Fraction]


def declared(graph: Graph) -> list[Constraint]:
    """What the shapes of the graph's own inputs ask of its sizes (`16*h`, `W + 2`); no promises by `where`."""
    spans = [port.span for port in graph.inputs if port.span is not None]

    def own(c: Constraint) -> bool:
        at = c.span
        return at is not None and any(s.source is at.source and s.start <= at.start < s.end for s in spans)

    return [c for c in graph.constraints if c.rule == "language" and own(c)]


class Equalities:
    """Decides whether two sizes agree wherever all equations hold, by linear algebra over their monomials.

    Sound, not complete: it does not look inside floor divisions or multiply equations together.
    """

    def __init__(self, equations: Iterable[tuple[Size, Size]]) -> None:
        self._rows: dict[Monomial, _Row] = {}  # leading monomial -> row with coefficient 1 there
        for left, right in equations:
            row = self._reduce(_row(left - right))
            if row:
                lead = _lead(row)
                scale = row[lead]
                self._rows[lead] = {mono: coefficient / scale for mono, coefficient in row.items()}

    def same(self, a: Size, b: Size) -> bool:
        """Whether `a == b` follows."""
        return a == b or (bool(self._rows) and not self._reduce(_row(a - b)))

    def _reduce(self, row: _Row) -> _Row:
        """Takes multiples of the equations off, from the largest monomial downwards."""
        rest: _Row = {}
        while row:
            lead = _lead(row)
            coefficient = row[lead]
            if lead not in self._rows:
                rest[lead] = row.pop(lead)
                continue
            for mono, factor in self._rows[lead].items():
                value = row.get(mono, Fraction(0)) - coefficient * factor
                if value:
                    row[mono] = value
                else:
                    row.pop(mono, None)
        return rest


def _row(size: Size) -> _Row:
    terms = size.terms if isinstance(size, Dim) else (((), size),) if size else ()
    return {mono: Fraction(coefficient) for mono, coefficient in terms}


def _lead(row: _Row) -> Monomial:
    return max(row, key=_rank)


@lru_cache(maxsize=1 << 14)
def _rank(mono: Monomial) -> tuple[int, tuple[tuple[str, int], ...]]:
    """The order of monomials: by degree, then by name."""
    return sum(power for _, power in mono), tuple((str(atom), power) for atom, power in mono)


def fitting(graph: Graph, types: Sequence[TensorType]) -> dict[str, Size] | None:
    """What the graph's symbols stand for where its inputs have these types; None where they cannot, or where a need of
    the graph fails by form."""
    own = [v.type for v in graph.entries]
    if len(own) != len(types):
        return None
    sizes: dict[str, Size] = {}
    for mine, given in zip(own, types, strict=True):
        if mine.dtype != given.dtype or mine.rank != given.rank:
            return None
        for size, value in zip(mine.shape, given.shape, strict=True):
            wanted = size if isinstance(size, int) else sizes.setdefault(str(size), value)
            if value != wanted:
                return None
    return None if any(c.phase is None and c.at(sizes).known is False for c in graph.constraints) else sizes
