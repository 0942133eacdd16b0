"""Symbolic sizes: integer polynomials over size symbols and floor divisions, kept in a normal form.

A *size* is an `int` where it is known and a `Dim` where it depends on symbols such as `H`. Arithmetic on either
gives either: an expression that is constant collapses to an `int`, so `size == 64` needs no special case.

Normal form: a sum of integer-weighted monomials; floor divisions by integers have all numerator coefficients in
`[0, n)`, common factors removed, and nested divisions composed: `((H - 1)//2)//2` is `(H - 1)//4`, exactly.
Two equal normal forms denote the same function; the converse does not hold (`2*(H//2)` equals `H` for even H only).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import gcd
from typing import ClassVar, Union

__all__ = [
    "Dim",
    "Size",
    "at_least",
    "ceil_div",
    "difference",
    "evaluate",
    "exact_div",
    "never_text",
    "non_negative",
    "size_str",
    "substitute",
    "symbol",
    "symbols",
    "with_all",
]


class Symbol:
    """A size's name: one object for each, so that comparing and hashing cost nothing."""

    __slots__ = ("name",)
    name: str
    _known: ClassVar[dict[str, Symbol]] = {}

    def __new__(cls, name: str) -> Symbol:
        known = cls._known.get(name)
        if known is None:
            known = cls._known[name] = super().__new__(cls)
            known.name = name
        return known

    def __reduce__(self) -> tuple[type[Symbol], tuple[str]]:
        return Symbol, (self.name,)

    def __str__(self) -> str:
        return self.name


class Floor:
    """`numerator // denominator`, not simplifiable; one object for each, too."""

    __slots__ = ("denominator", "numerator")
    numerator: Dim
    denominator: Size
    _known: ClassVar[dict[tuple[Dim, Size], Floor]] = {}

    def __new__(cls, numerator: Dim, denominator: Size) -> Floor:
        known = cls._known.get((numerator, denominator))
        if known is None:
            known = cls._known[numerator, denominator] = super().__new__(cls)
            known.numerator, known.denominator = numerator, denominator
        return known

    def __reduce__(self) -> tuple[type[Floor], tuple[Dim, Size]]:
        return Floor, (self.numerator, self.denominator)

    def __str__(self) -> str:
        den = str(self.denominator)
        return f"{_parenthesised(self.numerator)} // {den if isinstance(self.denominator, int) else f'({den})'}"


Atom = Union[Symbol, Floor]
Monomial = tuple[tuple[Atom, int], ...]  # sorted (atom, power) pairs; () is the constant


class Dim:
    """An immutable size expression that is not constant. Build with `symbol` and arithmetic.

    There is one object for each normal form, so that `==` and hashing, which `in`, caches and memos do all the time,
    are those of identity.
    """

    __slots__ = ("_items", "_text", "as_symbol")
    _items: tuple[tuple[Monomial, int], ...]
    _text: str | None
    as_symbol: str | None  # the name, when this is one bare symbol
    _known: ClassVar[dict[tuple[tuple[Monomial, int], ...], Dim]] = {}

    def __new__(cls, terms: Mapping[Monomial, int]) -> Dim:
        items = tuple(terms.items() if len(terms) < 2 else sorted(terms.items(), key=_order))
        known = cls._known.get(items)
        if known is None:
            known = cls._known[items] = super().__new__(cls)
            known._items, known._text = items, None
            known.as_symbol = _bare_symbol(items)
        return known

    def __reduce__(self) -> tuple[type[Dim], tuple[dict[Monomial, int]]]:
        return Dim, (dict(self._items),)

    # -- arithmetic ------------------------------------------------------------------------------------------------
    def __add__(self, other: Size) -> Size:
        return self if other == 0 else _sum(self, other)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + (-other)

    def __rsub__(self, other: Size) -> Size:
        return (-self) + other

    def __mul__(self, other: Size) -> Size:
        return self if other == 1 else _product(self, other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return _floor(self, other)

    def __rfloordiv__(self, other: int) -> Size:
        return _floor(other, self)

    def __mod__(self, other: Size) -> Size:
        return self - (self // other) * other

    # -- inspection ------------------------------------------------------------------------------------------------
    @property
    def terms(self) -> tuple[tuple[Monomial, int], ...]:
        """(monomial, coefficient) pairs in a stable order; the empty monomial is the constant."""
        return self._items

    def __str__(self) -> str:
        if self._text is None:
            self._text = _written(self._items)
        return self._text

    def __repr__(self) -> str:
        return f"Dim({self})"


def _bare_symbol(items: tuple[tuple[Monomial, int], ...]) -> str | None:
    if len(items) == 1:
        (mono, coef) = items[0]
        if coef == 1 and len(mono) == 1 and mono[0][1] == 1 and isinstance(mono[0][0], Symbol):
            return mono[0][0].name
    return None


Size = Union[int, Dim]


@lru_cache(maxsize=1 << 12)
def symbol(name: str) -> Dim:
    """The size called `name`."""
    return Dim({((Symbol(name), 1),): 1})


def ceil_div(a: Size, b: Size) -> Size:
    """`a / b` rounded up."""
    return -((-a) // b)


@lru_cache(maxsize=1 << 14)
def difference(left: Size, right: Size) -> Size:
    """`left - right`; the same questions are asked of the sizes of every layer."""
    return left - right


def exact_div(a: Size, b: Size) -> Size | None:
    """`a / b` where `b` divides `a` as a polynomial, else None."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    rest: Size = a
    quotient: Size = 0
    lead_mono, lead_coef = _leading(b)
    for _ in range(64):  # a polynomial in a spec has a handful of terms; more means no exact quotient
        if rest == 0:
            return quotient
        mono, coef = _leading(rest)
        factor = _divide(mono, lead_mono)
        if factor is None or coef % lead_coef:
            return None
        term = _build({factor: coef // lead_coef})
        quotient = quotient + term
        rest = rest - term * b
    return None


def symbols(size: Size) -> frozenset[str]:
    """Names of the symbols that a size depends on."""
    return frozenset() if isinstance(size, int) else _symbols(size)


@lru_cache(maxsize=1 << 14)
def _symbols(size: Dim) -> frozenset[str]:
    return frozenset(name for mono, _ in size.terms for atom, _ in mono for name in _atom_symbols(atom))


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """Replaces symbols by sizes; symbols that are not named stay."""
    if isinstance(size, int) or not values:
        return size
    return _substituted(size, tuple(values.items()))


@lru_cache(maxsize=1 << 14)
def _substituted(size: Dim, pairs: tuple[tuple[str, Size], ...]) -> Size:
    values = dict(pairs)
    total: Size = 0
    for mono, coef in size.terms:
        product: Size = coef
        for atom, power in mono:
            value = _substitute_atom(atom, values)
            for _ in range(power):
                product = product * value
        total = total + product
    return total


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The integer value at an assignment of every symbol; KeyError where one is missing."""
    result = substitute(size, values)
    if isinstance(result, int):
        return result
    raise KeyError(min(symbols(result)))


def with_all(size: Size, n: int) -> int:
    """The value where every symbol is `n`: an order for sizes that are not known."""
    return evaluate(size, dict.fromkeys(symbols(size), n))


def non_negative(size: Size) -> bool:
    """Whether a size is at least 0 by its form alone: sizes of tensors are, and so are sums and quotients of such."""
    return size >= 0 if isinstance(size, int) else _non_negative(size)


@lru_cache(maxsize=1 << 14)
def _non_negative(size: Dim) -> bool:
    return all(coef >= 0 and _monomial_non_negative(mono) for mono, coef in size.terms)


def at_least(a: Size, b: Size) -> bool:
    """Whether `a >= b` by their forms alone: `non_negative(a - b)`, without making the difference."""
    if isinstance(a, int) and isinstance(b, int):
        return a >= b
    left, right = dict(_terms(a)), dict(_terms(b))
    for mono, coef in right.items():
        here = left.get(mono, 0)
        if here < coef or (here > coef and not _monomial_non_negative(mono)):
            return False
    return all(mono in right or (coef > 0 and _monomial_non_negative(mono)) for mono, coef in left.items())


def _monomial_non_negative(mono: Monomial) -> bool:
    return all(_atom_non_negative(atom) for atom, _ in mono)


@lru_cache(maxsize=1 << 16)
def _atom_non_negative(atom: Atom) -> bool:
    return isinstance(atom, Symbol) or (non_negative(atom.numerator) and non_negative(atom.denominator))


def size_str(size: Size) -> str:
    """Text as printed in types: `64`, `H`, `(H + 1) // 2`."""
    return str(size)


def never_text(a: Size, b: Size) -> str:
    """An equation that never holds, with small sizes that show it: `needs H - 2 = H, which holds at no size: at H = 3,
    1 is not 3`."""
    names = sorted(symbols(a) | symbols(b))
    text = f"needs {size_str(a)} = {size_str(b)}, which {'holds at no size' if names else 'is false'}"
    for n in range(1, 65):
        values = dict.fromkeys(names, n)
        try:
            left, right = evaluate(a, values), evaluate(b, values)
        except ZeroDivisionError:
            continue
        if names and min(left, right) >= 1:
            return f"{text}: at {', '.join(f'{name} = {n}' for name in names)}, {left} is not {right}"
    return text


# -- text --------------------------------------------------------------------------------------------------------------
def _written(items: Sequence[tuple[Monomial, int]]) -> str:
    parts: list[str] = []
    constants = [(m, c) for m, c in items if not m]
    for mono, coef in [*((m, c) for m, c in items if m), *constants]:
        factors = [_factor(atom, power, alone=len(items) == 1 and len(mono) == 1) for atom, power in mono]
        if abs(coef) != 1 or not factors:
            factors = [str(abs(coef)), *(_factor(a, p, alone=False) for a, p in mono)]
        elif coef < 0 or len(items) > 1:
            factors = [_factor(a, p, alone=False) for a, p in mono]
        text = "*".join(factors)
        sign = ("-" if coef < 0 else "") if not parts else (" - " if coef < 0 else " + ")
        parts.append(sign + text)
    return "".join(parts)


def _parenthesised(size: Size) -> str:
    return str(size) if isinstance(size, int) or size.as_symbol else f"({size})"


def _factor(atom: Atom, power: int, *, alone: bool) -> str:
    text = str(atom) if alone or isinstance(atom, Symbol) else f"({atom})"
    return "*".join([text] * power)


# -- arithmetic, once for each two operands ----------------------------------------------------------------------------
@lru_cache(maxsize=1 << 14)
def _sum(a: Dim, b: Size) -> Size:
    terms = dict(a.terms)
    for mono, coef in _terms(b):
        terms[mono] = terms.get(mono, 0) + coef
    return _build(terms)


@lru_cache(maxsize=1 << 14)
def _product(a: Dim, b: Size) -> Size:
    if isinstance(b, int):
        return _build({mono: coef * b for mono, coef in a.terms})
    terms: dict[Monomial, int] = {}
    for m1, c1 in a.terms:
        for m2, c2 in b.terms:
            mono = _times(m1, m2)
            terms[mono] = terms.get(mono, 0) + c1 * c2
    return _build(terms)


# -- normal form -------------------------------------------------------------------------------------------------------
def _terms(size: Size) -> Iterator[tuple[Monomial, int]]:
    if isinstance(size, int):
        if size:
            yield (), size
    else:
        yield from size.terms


def _build(terms: Mapping[Monomial, int]) -> Size:
    kept = {m: c for m, c in terms.items() if c} if 0 in terms.values() else terms
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return Dim(kept)


@lru_cache(maxsize=1 << 14)
def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for atom, power in b:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: _atom_key(item[0])))


def _divide(a: Monomial, b: Monomial) -> Monomial | None:
    powers = dict(a)
    for atom, power in b:
        left = powers.get(atom, 0) - power
        if left < 0:
            return None
        powers[atom] = left
        if not left:
            del powers[atom]
    return tuple(sorted(powers.items(), key=lambda item: _atom_key(item[0])))


def _leading(size: Size) -> tuple[Monomial, int]:
    return max(_terms(size), key=lambda t: (sum(p for _, p in t[0]), [(_atom_key(a), p) for a, p in t[0]]))


@lru_cache(maxsize=1 << 14)
def _floor(a: Size, n: Size) -> Size:
    if isinstance(a, int) and isinstance(n, int):
        return a // n
    if not isinstance(n, int):
        exact = exact_div(a, n)
        if exact is not None:
            return exact
        return Dim({((Floor(_as_dim(a), n), 1),): 1})
    if n < 0:
        a, n = -a, -n
    whole: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for mono, coef in _terms(a):
        whole[mono], rest[mono] = divmod(coef, n)
    return _build(whole) + _floor_reduced(_build(rest), n)


def _floor_reduced(rest: Size, n: int) -> Size:
    """Floor of a numerator whose coefficients lie in [0, n)."""
    if isinstance(rest, int):
        return rest // n
    common = gcd(n, *(c for m, c in rest.terms if m))
    if common > 1:  # floor((g*a + c) / (g*n)) = floor((a + floor(c/g)) / n)
        reduced = _build({m: c // common for m, c in rest.terms})
        return _floor(reduced, n // common)
    for mono, coef in rest.terms:  # floor((floor(p/m) + q) / n) = floor((p + m*q) / (m*n))
        if coef == 1 and len(mono) == 1 and mono[0][1] == 1:
            atom = mono[0][0]
            if isinstance(atom, Floor) and isinstance(atom.denominator, int):
                others = rest - Dim({mono: 1})
                return _floor(atom.numerator + others * atom.denominator, atom.denominator * n)
    return Dim({((Floor(rest, n), 1),): 1})


def _as_dim(size: Size) -> Dim:
    return size if isinstance(size, Dim) else Dim({(): size})


def _substitute_atom(atom: Atom, values: Mapping[str, Size]) -> Size:
    if isinstance(atom, Symbol):
        return values.get(atom.name, symbol(atom.name))
    return substitute(atom.numerator, values) // substitute(atom.denominator, values)


def _atom_symbols(atom: Atom) -> frozenset[str]:
    if isinstance(atom, Symbol):
        return frozenset({atom.name})
    return symbols(atom.numerator) | symbols(atom.denominator)


@lru_cache(maxsize=1 << 16)
def _atom_key(atom: Atom) -> tuple[int, str]:
    return (0, atom.name) if isinstance(atom, Symbol) else (1, str(atom))


def _order(item: tuple[Monomial, int]) -> tuple[int, list[tuple[tuple[int, str], int]]]:
    return _monomial_key(item[0])


@lru_cache(maxsize=1 << 14)
def _monomial_key(mono: Monomial) -> tuple[int, list[tuple[tuple[int, str], int]]]:
    return -sum(power for _, power in mono), [(_atom_key(atom), power) for atom, power in mono]
