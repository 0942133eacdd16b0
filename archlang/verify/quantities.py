"""Expressions in claims: exact arithmetic over numbers, figures of the design and of others, and free sizes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.values import BlockTemplate, ExternTemplate, Instance, OpTemplate
from archlang.records import dataclass
from archlang.report.suggest import did_you_mean
from archlang.shapes.dim import Dim, Size, size_str
from archlang.syntax import tree
from archlang.verify.figures import FIGURES, Figure, Measured, Unknown, amount
from archlang.verify.subject import Subject

__all__ = ["Mention", "Quantity", "quantity"]

PROPERTIES = ("reversible",)


@dataclass(frozen=True, slots=True)
class Mention:
    """A figure that an expression names, and whose it is."""

    text: str
    figure: Figure
    of: Measured
    value: Size


@dataclass(frozen=True, slots=True)
class Quantity:
    """`number / scale`, exactly; the figures in it; `plain` where it is one of them and nothing else."""

    number: Size
    scale: int = 1
    mentions: tuple[Mention, ...] = ()
    plain: bool = False

    @staticmethod
    def of(value: int | float | Dim) -> Quantity:
        if isinstance(value, float):
            exact = Fraction(repr(value))
            return Quantity(exact.numerator, exact.denominator)
        return Quantity(value)

    @property
    def exact(self) -> Fraction | None:
        return Fraction(self.number, self.scale) if isinstance(self.number, int) else None

    def __add__(self, other: Quantity) -> Quantity:
        number = self.number * other.scale + other.number * self.scale
        return Quantity(number, self.scale * other.scale, self.mentions + other.mentions)

    def __mul__(self, other: Quantity) -> Quantity:
        return Quantity(self.number * other.number, self.scale * other.scale, self.mentions + other.mentions)

    def times(self, factor: Fraction) -> Quantity:
        return Quantity(self.number * factor.numerator, self.scale * factor.denominator, self.mentions)

    def text(self, unit: str = "") -> str:
        if not isinstance(self.number, int):
            return size_str(self.number) if self.scale == 1 else f"({size_str(self.number)}) / {self.scale}"
        if self.number % self.scale == 0:
            return amount(self.number // self.scale, unit)
        value = self.number / self.scale
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.6g}"


def quantity(subject: Subject, expr: tree.Expr) -> Quantity:
    """The value of one side of a comparison. Raises ArchError for what is no number, Unknown for what is not known."""
    if isinstance(expr, tree.Paren):
        return quantity(subject, expr.value)
    if isinstance(expr, tree.Unary) and expr.op == "-":
        return quantity(subject, expr.operand).times(Fraction(-1))
    if isinstance(expr, tree.Binary) and expr.op in ("+", "-", "*", "/"):
        return _arithmetic(subject, expr)
    if isinstance(expr, tree.Name) and expr.id in FIGURES:
        return _figure(subject.measured, expr.id, expr.id)
    if isinstance(expr, tree.Name) and not _known(subject, expr.id):
        _unknown(subject, expr, expr.id)
    if isinstance(expr, tree.Attribute):
        base = subject.evaluate(expr.value)
        if isinstance(base, (BlockTemplate, ExternTemplate, OpTemplate, Instance)):
            if expr.name not in FIGURES:
                fail(
                    "ARC0804",
                    f"designs have no figure `{expr.name}`",
                    expr.name_span,
                    help=did_you_mean(expr.name, FIGURES) or _figures(),
                )
            of = subject.on(expr.value, subject.verify.inputs)
            return _figure(of, expr.name, expr.span.text)
    value = subject.evaluate(expr)
    if isinstance(value, bool) or not isinstance(value, (int, float, Dim)):
        _no_number(expr, value)
    return Quantity.of(value)


def _known(subject: Subject, name: str) -> bool:
    from archlang.elaborate.names import builtin

    return subject.activation.scope.find(name) is not None or builtin(name) is not None


def _unknown(subject: Subject, expr: tree.Expr, name: str) -> Any:
    names = [*FIGURES, *PROPERTIES, *subject.measured.free]
    fail("ARC0804", f"there is no figure `{name}`", expr.span, help=did_you_mean(name, names) or _figures())


def _figures() -> str:
    return f"the figures are {', '.join(FIGURES)}"


def _no_number(expr: tree.Expr, value: object) -> Any:
    from archlang.elaborate.values import describe

    fail(
        "ARC0806",
        f"a claim compares numbers, and this is {describe(value)}",
        expr.span,
        help="such as `params <= 25.6M` or `small.macs <= 0.5 * large.macs`",
    )


def _figure(of: Measured, name: str, text: str) -> Quantity:
    figure = FIGURES[name]
    try:
        value = of.value(figure)
    except Unknown as error:
        raise Unknown(f"`{text}` is not known: {error}") from None
    return Quantity(value, 1, (Mention(text, figure, of, value),), plain=True)


def _arithmetic(subject: Subject, expr: tree.Binary) -> Quantity:
    left, right = quantity(subject, expr.left), quantity(subject, expr.right)
    if expr.op == "+":
        return left + right
    if expr.op == "-":
        return left + right.times(Fraction(-1))
    if expr.op == "*":
        return left * right
    if not isinstance(right.number, int):
        fail("ARC0806", "claims divide by numbers only", expr.right.span, help="multiply the other side instead")
    if right.number == 0:
        fail("ARC0806", "this divides by zero", expr.right.span)
    inverse = Fraction(right.scale, right.number)
    whole = left.times(inverse)
    return Quantity(whole.number, whole.scale, left.mentions + right.mentions)
