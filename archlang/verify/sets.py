"""The exact set of input sizes for which a program is well formed, one for each phase, as Presburger sets (islpy)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from archlang.ir.graph import Constraint, Program
from archlang.records import dataclass, replace
from archlang.shapes.dim import evaluate, substitute, symbol, symbols
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
        return self.space.point(sizes).is_subset(self.set) and all(_holds(c, sizes) for c in self.undecided)


def _holds(c: Constraint, sizes: Mapping[str, int]) -> bool:
    try:
        left, right = evaluate(c.left, sizes), evaluate(c.right, sizes)
    except ZeroDivisionError:
        return False
    return left == right if c.relation == "==" else left >= right


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
    from archlang.verify.products import decide
    from archlang.verify.sizes import is_linear

    wheres: dict[int, isl.Set] = {}
    within = space.positive
    waiting: list[int] = []
    for i, c in enumerate(constraints):
        if is_linear(c.left - c.right):
            where = decide(space, c.left, c.right, c.relation, within)
            assert where is not None
            wheres[i] = where
            within = within.intersect(where)
        else:
            waiting.append(i)
    while waiting:
        known = space.determined(within)
        left: list[int] = []
        for i in waiting:
            c = _put_in(constraints[i], known)
            where = decide(space, c.left, c.right, c.relation, within)
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


def _put_in(c: Constraint, known: Mapping[str, object]) -> Constraint:
    if not known or not (symbols(c.left) | symbols(c.right)) & known.keys():
        return c
    return replace(c, left=substitute(c.left, known), right=substitute(c.right, known))  # type: ignore[arg-type]
