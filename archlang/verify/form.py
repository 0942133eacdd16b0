"""What constraints say by their form alone: enough to see, without islpy, that a design takes every size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from archlang.ir.graph import Constraint, Program
from archlang.shapes.dim import Size, non_negative, substitute, symbol, symbols

__all__ = ["always", "matters", "never", "requirements"]


def _shifted(size: Size) -> Size:
    """The size in terms of how far each symbol is above 1."""
    above: Mapping[str, Size] = {name: symbol(name) + 1 for name in symbols(size)}
    return substitute(size, above)


@lru_cache(maxsize=1 << 14)
def always(size: Size, relation: str) -> bool:
    """Whether `size == 0` or `size >= 0` holds by form at all symbols >= 1. False decides nothing."""
    return size == 0 if relation == "==" else non_negative(_shifted(size))


def never(size: Size, relation: str) -> bool:
    """Whether the relation to 0 fails by form at all symbols >= 1. False decides nothing."""
    above = non_negative(_shifted(size) - 1)
    below = non_negative(_shifted(-size) - 1)
    return below or (relation == "==" and above)


def matters(c: Constraint) -> bool:
    """Whether a constraint asks for something that sizes of at least 1 do not have by form."""
    if c.cases:
        return all(any(map(matters, case)) for case in c.cases)
    return not always(c.left - c.right, c.relation)


def _positive(program: Program) -> Iterator[Constraint]:
    """Sizes of inputs are at least 1, however they are declared: `[B, H - 4]` promises H >= 5."""
    for port in program.root.inputs:
        for size in (s for value in port.values for s in value.type.shape):
            if not isinstance(size, int):
                yield Constraint(size, 1, ">=", "a size is at least 1", port.span, rule="promise")


def requirements(program: Program, phase: str, *, declared: bool = False) -> list[Constraint]:
    """The root's constraints of a phase that matter, each question once.

    declared: in the symbols of the declaration, so that only what it does not promise matters.
    """
    found: dict[tuple[object, ...], Constraint] = {}
    for c in [*(_positive(program) if declared else ()), *program.root.constraints]:
        if c.phase in (None, phase):
            if declared and program.given:
                c = c.at(program.given)
            difference, cases = c.left - c.right, c.key[-1]
            known = (difference, c.relation, cases) in found or (
                c.relation == "==" and (-difference, "==", cases) in found
            )
            if not known and matters(c):
                found[difference, c.relation, cases] = c
    return list(found.values())
