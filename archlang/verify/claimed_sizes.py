"""Claims about sizes: `valid for H % 32 == 0 and H >= 32`. Every size that meets the condition must be valid.

A condition that does not name `training` speaks of evaluation; one that does is decided in both phases, with `training`
true in one of them (`valid for training and H >= 64`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from archlang.elaborate.copying import free_names
from archlang.elaborate.errors import fail
from archlang.report.diagnostic import ArchError, Diagnostic, Label
from archlang.shapes.dim import Dim, Size, size_str, symbol
from archlang.syntax import tree
from archlang.verify.figures import Measured, Unknown
from archlang.verify.form import requirements
from archlang.verify.subject import Subject, shown

if TYPE_CHECKING:
    import islpy as isl

    from archlang.verify.sets import Domain

__all__ = ["check_sizes"]

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def check_sizes(subject: Subject, claim: tree.Claim) -> list[Diagnostic]:
    """The findings of one claim. Raises ArchError, and Unknown where the sets are not known exactly."""
    measured = _measured(subject, claim.left)
    if _lower_bounds(claim.left, measured.free) and not requirements(measured.program, "eval", declared=True):
        return []  # it takes every size, as is seen without islpy, and there are some above all bounds
    from archlang.verify.sets import domain

    phases = ("eval", "train") if "training" in free_names(claim.left) else ("eval",)
    met = False
    for phase in phases:
        of = domain(measured.program, phase, declared=True)
        condition = _Condition(subject, of, phase == "train").set(claim.left).intersect(of.space.positive)
        met = met or not condition.is_empty()
        outside = condition.subtract(of.set)
        if not outside.is_empty():
            return [_refused(subject, claim, of, outside)]
        if of.undecided and not condition.is_empty():
            raise Unknown(f"it is not known where {of.undecided[0]} holds ({of.undecided[0].reason})")
    return [] if met else [Diagnostic("ARC0803", "no size meets this condition", claim.left.span)]


def _lower_bounds(condition: tree.Expr, free: Collection[str]) -> bool:
    """Whether a condition only asks that sizes are not too small: `H >= 1 and W > 31`."""
    if isinstance(condition, tree.Paren):
        return _lower_bounds(condition.value, free)
    if not isinstance(condition, tree.Binary):
        return False
    left, right = condition.left, condition.right
    if condition.op == "and":
        return _lower_bounds(left, free) and _lower_bounds(right, free)
    number = isinstance(right, tree.Number) and isinstance(right.value, int)
    return condition.op in (">", ">=") and isinstance(left, tree.Name) and left.id in free and number


def _measured(subject: Subject, condition: tree.Expr) -> Measured:
    """The design at the types after `on` where the condition speaks of their free sizes, else at its own types."""
    names = _names(condition, subject)
    own = subject.measured.free
    if names <= set(own) or not subject.verify.inputs:
        return subject.measured
    try:
        declared = subject.on(subject.verify.design, ())
    except ArchError:
        return subject.measured
    return declared if names <= set(declared.free) else subject.measured


def _names(condition: tree.Expr, subject: Subject) -> set[str]:
    return {name for name in free_names(condition) if name != "training" and subject.module.scope.find(name) is None}


def _refused(subject: Subject, claim: tree.Claim, of: Domain, outside: isl.Set) -> Diagnostic:
    from archlang.verify.text import condition

    at = of.space.lowest(outside) or {}
    point = of.space.point(at)
    part = next((p for p in of.parts if not point.is_subset(p.where)), None)
    related: tuple[Label, ...] = ()
    if part is not None and part.constraint.span is not None:
        related = (Label(part.constraint.span, f"needs {part.constraint}: {part.constraint.reason}"),)
    phase = "in training " if of.phase == "train" else ""
    message = f"`{subject.name}` {phase}refuses sizes that are claimed, such as {shown(at)}"
    help = f"it is valid {phase}for {condition(of.space, of.set)}, and for no other size"
    return Diagnostic("ARC0803", message, claim.left.span, f"true of {shown(at)}", related, help)


class _Condition:
    """A condition as the set of free sizes that meet it."""

    def __init__(self, subject: Subject, of: Domain, training: bool) -> None:
        self.subject = subject
        self.of = of
        self.space = of.space
        self.training = training

    def set(self, expr: tree.Expr) -> isl.Set:
        if isinstance(expr, tree.Paren):
            return self.set(expr.value)
        if isinstance(expr, tree.Bool):
            return self._all(expr.value)
        if isinstance(expr, tree.Name) and expr.id == "training":
            return self._all(self.training)
        if isinstance(expr, tree.Unary) and expr.op == "not":
            return self.space.everything.subtract(self.set(expr.operand))
        if isinstance(expr, tree.Binary) and expr.op in ("and", "or"):
            left, right = self.set(expr.left), self.set(expr.right)
            return left.intersect(right) if expr.op == "and" else left.union(right)
        if isinstance(expr, tree.Binary) and expr.op in (*_COMPARISONS, "in"):
            return self._comparison(expr)
        fail("ARC0806", "this is no condition on sizes", expr.span, help="such as `H % 32 == 0 and H >= 32`")

    def _all(self, holds: bool) -> isl.Set:
        return self.space.everything if holds else self.space.empty

    def _comparison(self, expr: tree.Binary) -> isl.Set:
        left = self.size(expr.left)
        if expr.op == "in":
            if not isinstance(expr.right, tree.Range):
                fail("ARC0806", "this is no interval", expr.right.span, help="write `H in 32 .. 64`: both ends belong")
            low, high = self.size(expr.right.lower), self.size(expr.right.upper)
            return self._decided(left - low, ">=", expr).intersect(self._decided(high - left, ">=", expr))
        less = self.size(expr.right) - left
        if expr.op in ("==", "!="):
            equal = self._decided(less, "==", expr)
            return equal if expr.op == "==" else self.space.everything.subtract(equal)
        size = {"<=": less, "<": less - 1, ">=": -less, ">": -less - 1}[expr.op]
        return self._decided(size, ">=", expr)

    def _decided(self, size: Size, relation: str, expr: tree.Expr) -> isl.Set:
        from archlang.verify.products import decide

        where = decide(self.space, size, 0, relation, self.space.positive)
        if where is None:
            raise Unknown(f"it is not known at which sizes `{expr.span.text}` holds")
        return where

    def size(self, expr: tree.Expr) -> Size:
        if isinstance(expr, tree.Paren):
            return self.size(expr.value)
        if isinstance(expr, tree.Unary) and expr.op == "-":
            return -self.size(expr.operand)
        if isinstance(expr, tree.Binary) and expr.op in ("+", "-", "*", "//", "%"):
            return self._arithmetic(expr)
        if isinstance(expr, tree.Name) and expr.id in self.space.names:
            return symbol(expr.id)
        if isinstance(expr, tree.Name) and self.subject.module.scope.find(expr.id) is None:
            self.subject.unknown_size(expr, self.space.names)
        value = self.subject.evaluate(expr)
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            fail("ARC0323", "a size must be an int", expr.span)
        return value

    def _arithmetic(self, expr: tree.Binary) -> Size:
        left, right = self.size(expr.left), self.size(expr.right)
        if expr.op in ("//", "%"):
            if not isinstance(right, int) or right < 1:
                fail("ARC0806", f"`{size_str(right)}` is no positive number to divide by", expr.right.span)
            return left // right if expr.op == "//" else left - right * (left // right)
        return {"+": left + right, "-": left - right, "*": left * right}[expr.op]
