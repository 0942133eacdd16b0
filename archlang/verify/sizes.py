"""Symbolic sizes as quasi-affine functions, and the exact sets of sizes at which one is zero or not negative (islpy).

Floor divisions compose exactly: isl keeps each as an existential variable. What is not linear is left to `products`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import islpy as isl

from archlang.records import dataclass, field
from archlang.shapes.dim import Atom, Dim, Size, Symbol, substitute, symbol, symbols

__all__ = ["Sizes", "is_linear"]

_SET = isl.dim_type.set


def is_linear(size: Size) -> bool:
    """Whether a size is a sum of symbols and of floors, by numbers, of such sums."""
    if isinstance(size, int):
        return True
    return all(not mono or (len(mono) == 1 and mono[0][1] == 1 and _linear(mono[0][0])) for mono, _ in size.terms)


def _linear(atom: Atom) -> bool:
    return isinstance(atom, Symbol) or (isinstance(atom.denominator, int) and is_linear(atom.numerator))


@dataclass
class Sizes:
    """The space of a design's free sizes, each at least 1."""

    names: tuple[str, ...]
    affs: dict[Size, isl.Aff] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.context = isl.Context()
        space = isl.Space.set_alloc(self.context, 0, len(self.names))
        for i, name in enumerate(self.names):
            space = space.set_dim_name(_SET, i, name)
        self.space = space
        self.local = isl.LocalSpace.from_space(space)
        self.empty = isl.Set.empty(space)
        self.everything = isl.Set.universe(space)
        self.positive = self.everything
        for i in range(len(self.names)):
            self.positive = self.positive.lower_bound_val(_SET, i, self.number(1))

    def number(self, n: int) -> isl.Val:
        return isl.Val.read_from_str(self.context, str(n))

    # -- linear sizes --------------------------------------------------------------------------------------------------
    def aff(self, size: Size) -> isl.Aff:
        """A linear size as an isl function of the symbols."""
        if size not in self.affs:
            total = isl.Aff.zero_on_domain(self.local)
            for mono, coef in size.terms if isinstance(size, Dim) else (((), size),):
                if mono:
                    total = total.add(self._atom(mono[0][0]).scale_val(self.number(coef)))
                else:
                    total = total.add_constant_val(self.number(coef))
            self.affs[size] = total
        return self.affs[size]

    def _atom(self, atom: Atom) -> isl.Aff:
        if isinstance(atom, Symbol):
            return isl.Aff.var_on_domain(self.local, _SET, self.names.index(atom.name))
        assert isinstance(atom.denominator, int)
        return self.aff(atom.numerator).scale_down_val(self.number(atom.denominator)).floor()

    def zero(self, size: Size) -> isl.Set:
        """Where a linear size is 0."""
        return isl.Set.from_basic_set(self.aff(size).eq_basic_set(isl.Aff.zero_on_domain(self.local)))

    def at_least_zero(self, size: Size) -> isl.Set:
        """Where a linear size is at least 0."""
        return isl.Set.from_basic_set(self.aff(size).ge_basic_set(isl.Aff.zero_on_domain(self.local)))

    def linear(self, size: Size, relation: str) -> isl.Set:
        return self.zero(size) if relation == "==" else self.at_least_zero(size)

    def residue(self, name: str, modulus: int, rest: int, low: int, high: int | None) -> isl.Set:
        """Where the symbol is `modulus * k + rest` for a k in [low, high]."""
        size = symbol(name) - rest
        found = self.zero(size - (size // modulus) * modulus) if modulus > 1 else self.everything
        found = found.lower_bound_val(_SET, self.names.index(name), self.number(modulus * low + rest))
        if high is not None:
            found = found.upper_bound_val(_SET, self.names.index(name), self.number(modulus * high + rest))
        return found

    # -- points and single symbols -------------------------------------------------------------------------------------
    def point(self, values: Mapping[str, int]) -> isl.Set:
        point = isl.Point.zero(self.space)
        for i, name in enumerate(self.names):
            point = point.set_coordinate_val(_SET, i, self.number(values[name]))
        return isl.Set.from_point(point)

    def zero_at(self, name: str, values: Mapping[str, int] | None) -> isl.Set:
        """Where the symbol has its value, if one is given."""
        return self.everything if values is None else self.zero(symbol(name) - values[name])

    def lowest(self, of: isl.Set) -> dict[str, int] | None:
        """The lexicographically smallest point of a set of positive sizes, None where it is empty."""
        if of.is_empty():
            return None
        point = of.lexmin().sample_point()
        return {n: point.get_coordinate_val(_SET, i).to_python() for i, n in enumerate(self.names)}

    def only(self, of: isl.Set, keep: Sequence[str]) -> isl.Set:
        """The projection to some of the symbols, as a set that says nothing about the others."""
        for i, name in enumerate(self.names):
            if name not in keep:
                of = of.eliminate(_SET, i, 1)
        return of

    def shadow(self, of: isl.Set, name: str) -> isl.Set:
        """The projection to one symbol, as a set of one dimension."""
        i = self.names.index(name)
        of = of.project_out(_SET, i + 1, len(self.names) - i - 1)
        return of.project_out(_SET, 0, i)

    def determined(self, of: isl.Set) -> dict[str, Size]:
        """Symbols that the set's equations give as a linear function of others: `H = 224`, `W = H`."""
        found: dict[str, Size] = {}
        if of.is_empty():
            return found
        for constraint in of.affine_hull().get_constraints():
            divs = constraint.get_local_space().dim(isl.dim_type.div)
            if not constraint.is_equality() or constraint.involves_dims(isl.dim_type.div, 0, divs):
                continue
            constant = constraint.get_constant_val().to_python()
            numbers = {n: constraint.get_coefficient_val(_SET, i).to_python() for i, n in enumerate(self.names)}
            for name in self.names:
                if abs(numbers.get(name, 0)) == 1 and name not in found:
                    sign = -numbers[name]
                    rest: Size = sign * constant
                    for other, coef in numbers.items():
                        if other != name:
                            rest = rest + symbol(other) * (coef * sign)
                    rest = substitute(rest, found)
                    if name in symbols(rest):
                        continue
                    found = {k: substitute(v, {name: rest}) for k, v in found.items()}
                    found[name] = rest
                    break
        return found
