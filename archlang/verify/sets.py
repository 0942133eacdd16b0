"""The exact set of input sizes for which a program is well formed, one for each phase, as Presburger sets (islpy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from archlang.ir.graph import Constraint, Program
from archlang.records import dataclass
from archlang.shapes.dim import Size, symbol, symbols
from archlang.verify.form import requirements

if TYPE_CHECKING:
    import islpy as isl

    from archlang.verify.sizes import Sizes

__all__ = ["PHASES", "Domain", "Part", "domain", "of_constraints"]

PHASES = ("eval", "train")


@dataclass(frozen=True)
class Part:
    """One constraint and where it holds, on the sizes that the constraints decided before it allow."""

    constraint: Constraint
    where: isl.Set


@dataclass(frozen=True)
class Domain:
    """The sizes of one phase. `parts` are exact; `undecided` constraints are outside of the fragment.

    `set` is exactly the valid sizes where `undecided` is empty, and contains them otherwise.
    """

    phase: str
    space: Sizes
    parts: tuple[Part, ...]
    undecided: tuple[Constraint, ...]

    @cached_property
    def promised(self) -> isl.Set:
        """The sizes that the declaration promises."""
        found = self.space.positive
        for part in self.parts:
            if part.constraint.rule == "promise":
                found = found.intersect(part.where)
        return found.coalesce()

    @cached_property
    def set(self) -> isl.Set:
        found = self.space.positive
        for part in self.parts:
            found = found.intersect(part.where)
        return found.coalesce()

    @property
    def trivial(self) -> bool:
        """Whether every positive size is valid."""
        return not self.parts and not self.undecided

    def contains(self, sizes: Mapping[str, int]) -> bool:
        """Whether a choice of all free sizes is valid: by the set, and for what is undecided by its numbers."""
        return self.space.point(sizes).is_subset(self.set) and all(c.holds(sizes) for c in self.undecided)


def domain(program: Program, phase: str = "eval", *, declared: bool = False) -> Domain:
    """The sizes, over the root's symbols, at which the program is well formed in a phase, "eval" or "train".

    declared: over the symbols of the declaration (`16*h`) instead.
    """
    from archlang.verify.sizes import Sizes

    names = program.root.symbols
    if declared and program.given:
        names = tuple(
            dict.fromkeys(n for name in names for n in sorted(symbols(program.given.get(name, symbol(name)))))
        )
    return of_constraints(Sizes(names), requirements(program, phase, declared=declared), phase)


def of_constraints(space: Sizes, constraints: Sequence[Constraint], phase: str = "eval") -> Domain:
    """Linear constraints first; what has products then, with the equations known by then put in."""
    wheres: dict[int, isl.Set] = {}
    within = space.positive
    waiting: list[int] = []
    for i, c in enumerate(constraints):
        if _linear(c):
            where = _decide(space, c, within)
            assert where is not None
            wheres[i] = where
            within = within.intersect(where)
        else:
            waiting.append(i)
    while waiting:
        known = space.determined(within)
        left: list[int] = []
        for i in waiting:
            where = _decide(space, _put_in(constraints[i], known), within)
            if where is None:
                left.append(i)
            else:
                wheres[i] = where
                within = within.intersect(where).coalesce()
        if len(left) == len(waiting):
            break
        waiting = left
    parts = tuple(Part(constraints[i], wheres[i]) for i in sorted(wheres))
    return Domain(phase, space, parts, tuple(constraints[i] for i in waiting))


def _put_in(c: Constraint, known: Mapping[str, Size]) -> Constraint:
    return c.at(known) if c.symbols & known.keys() else c


def _linear(c: Constraint) -> bool:
    from archlang.verify.sizes import is_linear

    return is_linear(c.left - c.right) and all(_linear(inner) for case in c.cases for inner in case)


def _decide(space: Sizes, c: Constraint, within: isl.Set) -> isl.Set | None:
    """Where a constraint holds, of the sizes within; None where that is not known."""
    from archlang.verify.products import decide

    if not c.cases:
        return decide(space, c.left, c.right, c.relation, within)
    found = space.empty
    for case in c.cases:
        met = space.everything
        for inner in case:
            where = _decide(space, inner, within)
            if where is None:
                return None
            met = met.intersect(where)
        found = found.union(met)
    return found.coalesce()
