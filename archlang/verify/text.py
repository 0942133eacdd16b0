"""Sets of sizes as people write them: `H mod 16 = 0 and H >= 16`, each symbol by itself where it is independent."""

from __future__ import annotations

from collections.abc import Sequence

import islpy as isl

from archlang.verify.numbers import numbers
from archlang.verify.sizes import Sizes

__all__ = ["condition", "set_text"]

MOST_POINTS = 12
MOST_CASES = 8
_SET = isl.dim_type.set


def set_text(space: Sizes, of: isl.Set) -> str:
    """Every condition of a set of positive sizes, `H >= 1` included."""
    if of.is_empty():
        return "no size at all"
    return " and ".join(_conjuncts(space, of, plain=True)) or "always"


def condition(space: Sizes, of: isl.Set, *, short: bool = False) -> str:
    """The conditions that are not true of all positive sizes anyway; "always" where there are none.

    short: `H mod 16 = 0` alone, since 16 is the first such size.
    """
    if of.is_empty():
        return "never"
    return " and ".join(_conjuncts(space, of, plain=False, short=short)) or "always"


def _conjuncts(space: Sizes, of: isl.Set, *, plain: bool, short: bool = False) -> list[str]:
    """The shadow of each symbol, then what ties symbols together."""
    found: list[str] = []
    hull = space.positive
    tied = _tied(space, of)
    finite = tied and _points(space, of, tied)
    for name in space.names:
        shadow = space.only(of, [name])
        hull = hull.intersect(shadow)
        known = numbers(space.shadow(of, name))
        if finite and name in tied:
            continue
        if known is None:
            found.append(_raw(shadow))
        elif plain or not known.all:
            found.append(known.text(name, short=short))
    if finite:
        found.append(finite)
    elif tied:
        found.append(_relation(space, of, hull, tied))
    return found


def _tied(space: Sizes, of: isl.Set) -> list[str]:
    """The symbols whose conditions depend on each other: all but those that split off."""
    rest = list(space.names)
    for name in space.names:
        others = [n for n in rest if n != name]
        if space.only(of, [name]).intersect(space.only(of, others)).is_equal(space.only(of, rest)):
            rest = others
    return rest


def _points(space: Sizes, of: isl.Set, names: Sequence[str]) -> str:
    """A few tuples, as such; "" where there are many."""
    for name in space.names:
        if name not in names:
            of = of.intersect(space.zero_at(name, space.lowest(of)))
    if not of.is_bounded():
        return ""
    seen: list[tuple[int, ...]] = []

    def add(point: isl.Point) -> None:
        if len(seen) <= MOST_POINTS:
            seen.append(tuple(point.get_coordinate_val(_SET, space.names.index(n)).to_python() for n in names))

    if of.count_val().to_python() > MOST_POINTS:
        return ""
    of.foreach_point(add)
    listed = ", ".join("(" + ", ".join(map(str, p)) + ")" for p in sorted(seen))
    if len(seen) == 1:
        return " and ".join(f"{n} = {v}" for n, v in zip(names, seen[0], strict=True))
    return f"({', '.join(names)}) in {{{listed}}}"


def _relation(space: Sizes, of: isl.Set, hull: isl.Set, names: Sequence[str]) -> str:
    """What holds beyond the shadows: `(B >= 2 or H >= 33)` where a box is missing, a choice of boxes, or equations."""
    of = space.only(of, names)
    missing = space.only(hull, names).intersect(space.positive).subtract(of).coalesce()
    boxes = [space.only(missing, [n]) for n in names]
    box = space.positive
    for side in boxes:
        box = box.intersect(side)
    if box.is_equal(missing.intersect(space.positive)):
        outs = []
        for name, side in zip(names, boxes, strict=True):
            allowed = space.only(hull, [name]).intersect(space.only(space.positive, [name]))
            beyond = allowed.subtract(side)
            if not beyond.is_empty():
                outs.append(_within(space, name, allowed, beyond))
        return f"({' or '.join(outs)})"
    cases = of.coalesce().get_basic_sets()
    if len(cases) <= MOST_CASES:
        texts = [_box(space, isl.Set.from_basic_set(case).intersect(space.positive), names) for case in cases]
        if all(texts):
            return "(" + " or ".join(f"({text})" for text in texts if text) + ")"
    return _raw(of.gist(hull))


def _within(space: Sizes, name: str, allowed: isl.Set, beyond: isl.Set) -> str:
    """One symbol's set, short where it is a bound on what is allowed anyway."""
    i = space.names.index(name)
    lowest = space.shadow(beyond, name).dim_min_val(0)
    if lowest.is_int() and allowed.lower_bound_val(_SET, i, lowest).is_equal(beyond):
        return f"{name} >= {lowest.to_python()}"
    highest = space.shadow(beyond, name).dim_max_val(0)
    if highest.is_int() and allowed.upper_bound_val(_SET, i, highest).is_equal(beyond):
        return f"{name} <= {highest.to_python()}"
    known = numbers(space.shadow(beyond, name))
    return _raw(beyond) if known is None else known.text(name)


def _box(space: Sizes, of: isl.Set, names: Sequence[str]) -> str | None:
    """A product of shadows; None where it is none."""
    box = space.positive
    texts = []
    for name in names:
        box = box.intersect(space.only(of, [name]))
        known = numbers(space.shadow(of, name))
        if known is None:
            return None
        if not known.all:
            texts.append(known.text(name))
    return " and ".join(texts) if box.is_equal(of) else None


def _raw(of: isl.Set) -> str:
    """The constraints of each of isl's cases, in the notation of specs."""
    cases = [_case(basic) for basic in of.compute_divs().coalesce().get_basic_sets()]
    return cases[0] if len(cases) == 1 else "(" + " or ".join(f"({case})" for case in cases) + ")"


def _case(basic: isl.BasicSet) -> str:
    found = []
    for constraint in basic.get_constraints():
        if constraint.is_div_constraint():
            continue
        local = constraint.get_local_space()
        atoms = [(str(local.get_dim_name(_SET, i)), _SET, i) for i in range(local.dim(_SET))]
        atoms += [(_div(constraint.get_div(i)), isl.dim_type.div, i) for i in range(local.dim(isl.dim_type.div))]
        sides: tuple[list[str], list[str]] = ([], [])
        first = 0
        for name, kind, i in atoms:
            coef = constraint.get_coefficient_val(kind, i).to_python()
            if coef:
                first = first or coef
                sides[coef < 0].append(name if abs(coef) == 1 else f"{abs(coef)}*{name}")
        constant = constraint.get_constant_val().to_python()
        if constant:
            sides[constant < 0].append(str(abs(constant)))
        left, right = (" + ".join(side) or "0" for side in sides)
        if constraint.is_equality() and first < 0:
            left, right = right, left
        found.append(f"{left} {'=' if constraint.is_equality() else '>='} {right}")
    return " and ".join(found)


def _div(aff: isl.Aff) -> str:
    by = aff.get_denominator_val()
    local = aff.get_domain_local_space()
    parts = []
    for i in range(local.dim(_SET)):
        coef = aff.get_coefficient_val(isl.dim_type.in_, i).mul(by).to_python()
        if coef:
            name = str(local.get_dim_name(_SET, i))
            parts.append(name if coef == 1 else f"{coef}*{name}")
    constant = aff.get_constant_val().mul(by).to_python()
    inner = " + ".join([*parts, *([str(constant)] if constant else [])])
    return f"({inner if len(parts) == 1 and not constant else f'({inner})'} // {by.to_python()})"
