"""What there is to say of a design's input sizes: none is valid (ARC0340), or not all that are declared (ARC0341)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archlang.ir.graph import Constraint, Program
from archlang.report.diagnostic import Diagnostic, Fix, Label, Severity, Span
from archlang.shapes.dim import evaluate, size_str
from archlang.verify.form import requirements
from archlang.verify.origins import imposing, origins

if TYPE_CHECKING:
    import islpy as isl

    from archlang.verify.sets import Domain, Part
    from archlang.verify.sizes import Sizes

__all__ = ["MOST_FINDINGS", "findings"]

MOST_FINDINGS = 5


def findings(program: Program) -> list[Diagnostic]:
    """The findings of a design. Where constraints hold by form, as most do, this does not import islpy."""
    phases = [p for p in ("eval", "train") if requirements(program, p, declared=True)]
    if not phases:
        return []
    found: list[Diagnostic] = []
    if "eval" in phases:
        found = _of_phase(program)
        if any(d.severity is Severity.ERROR for d in found):
            return found
    constant = next((c for c in requirements(program, "train", declared=True) if c.known is False), None)
    if constant is not None:  # of training, only what fails at every size is said unasked
        found.append(_untrainable(constant))
    return found


def _untrainable(c: Constraint) -> Diagnostic:
    message = f"this design cannot be trained: {c.reason}, and there is {size_str(c.left)}"
    return Diagnostic("ARC0340", message, c.span, "at every size of the input", severity=Severity.WARNING)


def _of_phase(program: Program) -> list[Diagnostic]:
    from archlang.verify.sets import domain

    of = domain(program, declared=True)
    if of.promised.is_empty():
        return [_nothing_declared(of)]
    found = [_undecided(c) for c in of.undecided[:MOST_FINDINGS]]
    if of.set.is_empty():
        return [_empty(program, of)]
    groups = _groups(_binding(of))
    for span, parts in list(groups.items())[:MOST_FINDINGS]:
        found.append(_unpromised(program, of, span, parts))
    return found


# -- no size at all ----------------------------------------------------------------------------------------------------
def _empty(program: Program, of: Domain) -> Diagnostic:
    within = of.space.positive
    culprit = of.parts[-1]
    for part in of.parts:
        within = within.intersect(part.where)
        if within.is_empty():
            culprit = part
            break
    against = [p for p in _conflict(of, culprit) if p.constraint.span != culprit.constraint.span]
    c = culprit.constraint
    related = list(origins(program, c))
    for part in against[:2]:
        if part.constraint.span is not None:
            text = f"needs {part.constraint}: {part.constraint.reason}"
            if all(r.span != part.constraint.span for r in related):
                related.append(Label(part.constraint.span, text))
    message = f"no size of the input fits: {c.reason}, which needs {c}"
    sides = c.relation == "==" and not c.cases
    label = f"{size_str(c.left)} on one side, {size_str(c.right)} on the other" if sides else f"needs {c}"
    help = "no choice of " + ", ".join(f"`{n}`" for n in _names(of.space, [culprit])) + " >= 1 satisfies this"
    help += " and the rest" if against else ""
    return Diagnostic("ARC0340", message, c.span, label, tuple(related), help)


def _nothing_declared(of: Domain) -> Diagnostic:
    """The declaration itself has no size: `[B, H, -H]`, or conditions of `where` that exclude each other."""
    within = of.space.positive
    promises = [p for p in of.parts if p.constraint.rule == "promise"]
    for part in promises:
        within = within.intersect(part.where)
        if within.is_empty():
            break
    c = part.constraint
    names = ", ".join(f"`{n}` >= 1" for n in _names(of.space, [part]))
    help = f"no {names} meets this" + (" and the rest of the declaration" if len(promises) > 1 else "")
    return Diagnostic("ARC0340", "no size fits this declaration", c.span, f"needs {c}", (), help, (c.reason,))


def _conflict(of: Domain, culprit: Part) -> list[Part]:
    """Few other parts with which the culprit leaves nothing: those that cannot be left out, one after the other."""
    kept = [p for p in of.parts if p is not culprit]
    for part in list(kept):
        fewer = [p for p in kept if p is not part]
        if _meet(of.space, [culprit, *fewer]).is_empty():
            kept = fewer
    return kept


def _meet(space: Sizes, parts: list[Part]) -> isl.Set:
    found = space.positive
    for part in parts:
        found = found.intersect(part.where)
    return found


# -- sizes that are not promised ---------------------------------------------------------------------------------------
def _binding(of: Domain) -> list[Part]:
    """The parts that no others imply: lower bounds give way first, and of two alike the later one."""
    space = of.space
    needs = [p for p in of.parts if p.constraint.rule != "promise"]
    kept = [p for p in needs if not of.promised.is_subset(p.where)]
    order = sorted(kept, key=lambda p: (p.constraint.relation != ">=", p.constraint.rule == "torch"))
    for part in order:
        others = [p for p in kept if p is not part]
        if _meet(space, others).intersect(of.promised).is_subset(part.where):
            kept = others
    return kept


def _groups(parts: list[Part]) -> dict[Span | None, list[Part]]:
    groups: dict[Span | None, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.constraint.span, []).append(part)
    return groups


def _names(space: Sizes, parts: list[Part]) -> list[str]:
    used = {n for p in parts for n in p.constraint.symbols}
    return [n for n in space.names if n in used]


def _unpromised(program: Program, of: Domain, span: Span | None, parts: list[Part]) -> Diagnostic:
    from archlang.verify.text import condition

    space = of.space
    own = _meet(space, parts)
    text = condition(space, own, short=True)
    names = _names(space, parts)
    outside = _example(of, own)
    first = next((p for p in parts if not p.constraint.holds(outside)), parts[0])
    c = first.constraint
    at = ", ".join(f"{n} = {outside[n]}" for n in names if n in c.symbols)
    left, right = evaluate(c.left, outside), evaluate(c.right, outside)
    told = f"{left} {'is not' if c.relation == '==' else 'is less than'} {right}"
    label = f"at {at}: {'none of the cases' if c.cases else told}"
    message = f"not every size that the input declares fits: this needs {text}"
    help, fix = _mended(program, c) or (_promise(text), None)
    return Diagnostic("ARC0341", message, span, label, origins(program, c), help, (c.reason,), Severity.WARNING, fix)


def _mended(program: Program, c: Constraint) -> tuple[str, Fix] | None:
    """For two sides of a sum, the edit after which they are equal at every size."""
    at = imposing(program, c)
    if at is None or len(at[1].inputs) != 2 or c.rule != "broadcast":
        return None
    from archlang.elaborate.resizing import operands, sizes_fix

    graph, node, _ = at
    return sizes_fix(graph, node.inputs, operands(node.span), node)


def _example(of: Domain, own: isl.Set) -> dict[str, int]:
    """A size that only these parts refuse, next to a valid one where there is such a size."""
    space = of.space
    base = space.lowest(of.set)
    assert base is not None
    outside = of.promised.subtract(own)
    for name in space.names:  # beside the smallest valid one
        for step in (1, -1):
            near = {**base, name: base[name] + step}
            if near[name] >= 1 and space.point(near).is_subset(outside):
                return near
    return space.lowest(outside) or base


def _promise(text: str) -> str:
    """What to declare, where a declaration can say it."""
    if " in " not in text and "//" not in text:
        promise = text.replace(" mod ", " % ").replace(" = ", " == ")
        return f"declare it after the inputs: `where {promise}`"
    return "give the network inputs of such sizes only, or change the layers above so that others fit as well"


# -- outside of the fragment -------------------------------------------------------------------------------------------
def _undecided(c: Constraint) -> Diagnostic:
    message = f"it is not decided for which sizes this holds: {c}"
    help = "products of free sizes are compared where factors decide it; write the sizes so that they are equal by form"
    return Diagnostic("ARC0342", message, c.span, "needs it", (), help, (c.reason,), Severity.WARNING)
