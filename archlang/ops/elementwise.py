"""Elementwise operators: arithmetic, comparisons, logic. Sizes broadcast as in torch (see `rules.broadcast`)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any, ClassVar

from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Bijection, Context, Input, Op, OpError, Param, Undo, register
from archlang.ops.code import Bin, Call, Expr, In, Lit, Method, Un
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import broadcast, floating, is_float, numel, promote, promote_scalar, refuse_bool
from archlang.shapes.dim import Size

__all__: list[str] = []

_PYTHON: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


_ROUNDED = ("+", "-", "*", "/")  # correctly, by IEEE 754


def _number(other: Any) -> float | None:
    """A number beside a wire; None for a size that is not known."""
    return other if isinstance(other, (int, float)) else None


def fold(inputs: Iterable[int], join: Callable[[Expr, Expr], Expr]) -> Expr:
    """The wires joined two by two from the left."""
    first, *rest = inputs
    result: Expr = In(first)
    for i in rest:
        result = join(result, In(i))
    return result


def together(a: Ghost, b: Ghost) -> tuple[Size, ...]:
    """The shape to which two tensors broadcast."""
    rank = max(a.rank, b.rank)
    padded = [(1,) * (rank - x.rank) + x.shape for x in (a, b)]
    return tuple(n if m == 1 else m for m, n in zip(*padded, strict=True))


class Binary(Op):
    """`a <symbol> b` on two wires, or on a wire and the number `other` (on the left with `reverse`)."""

    local, elementwise, per_element = True, True, 1
    inputs: ClassVar[tuple[Input, ...]] = (Input("a"), Input("b", optional=True))
    params = (Param("other", "float?", None), Param("reverse", "bool", False))
    symbol: ClassVar[str]
    neutral: ClassVar[float | None] = None  # `x <symbol> neutral` is x

    def result(self, dtype: str) -> str:
        """Element type, from the promoted one."""
        return dtype

    def check(self, ins: Sequence[TensorType], other: Any, promoted: str) -> None:
        """Refuses element types that torch refuses."""

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        other = attrs["other"]
        if (len(ins) > 1) == (other is not None):
            have = "two wires and a number" if other is not None else "one operand"
            raise OpError("ARC0240", f"`{self.symbol}` takes two wires, or a wire and a number, and has {have}")
        dtype = reduce(promote, (x.dtype for x in ins))
        if other is not None:
            dtype = promote_scalar(dtype, other)
        self.check(ins, other, dtype)
        return (TensorType(broadcast(self.symbol, ins, cx), self.result(dtype)),)

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(outs[0].shape) * max(len(ins) - 1, 1)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        number = _number(attrs["other"])
        if number is None or number != self.neutral or ins[0] != outs[0] or (attrs["reverse"] and not self.left_fold):
            return False
        return number != 0 or not is_float(ins[0].dtype) or self.symbol == "-"  # -0.0 + 0 is 0

    def of_numbers(self, numbers: Sequence[float], attrs: Attrs) -> float | None:
        given = list(numbers)
        if attrs["other"] is not None:
            number = _number(attrs["other"])
            if number is None:
                return None
            given = [number, *given] if attrs["reverse"] else [*given, number]
        try:
            result: Any = reduce(_PYTHON[self.symbol], [Fraction(n) for n in given])
        except (ArithmeticError, ValueError):  # by 0, or a number is infinite
            return None
        signed = result == 0 and any(math.copysign(1, n) < 0 for n in given)  # the 0 may be -0.0
        return None if signed and not isinstance(result, bool) else result

    def steady(self, attrs: Attrs) -> bool:
        number = _number(attrs["other"])
        return self.symbol in _ROUNDED and number is not None and math.isfinite(number)

    def rising(self, attrs: Attrs) -> bool:
        scales = self.symbol in ("*", "/")
        return self.steady(attrs) and not attrs["reverse"] and (not scales or attrs["other"] > 0)

    def step(self, tape: Tape, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str) -> Ghost:
        """One application to two wires; default: autograd keeps nothing."""
        return tape.pointwise((a, b), shape, dtype)

    def scalar(self, tape: Tape, x: Ghost, out: TensorType, reverse: bool) -> Ghost:
        """The application to a wire and a number."""
        return tape.scaled(x, out.dtype)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (out,) = outs
        if attrs["other"] is not None:
            return (self.scalar(tape, ins[0], out, attrs["reverse"]),)
        return (reduce(lambda a, b: self.step(tape, a, b, together(a, b), out.dtype), ins),)

    def in_place(self, attrs: Attrs, inputs: int) -> tuple[int, ...]:
        if self.symbol not in _ROUNDED or inputs > 2 or attrs["reverse"]:
            return ()
        return (0, 1) if inputs == 2 and self.symbol in ("+", "*") else (0,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        other = attrs["other"]
        if "in_place" in attrs:
            place = attrs["in_place"]
            return Method(In(place), f"{self.name}_", (In(1 - place) if other is None else Lit(other),))
        if other is None:
            return fold(range(inputs), lambda a, b: Bin(self.symbol, a, b))
        return Bin(self.symbol, Lit(other), In(0)) if attrs["reverse"] else Bin(self.symbol, In(0), Lit(other))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        function = _PYTHON[self.symbol]
        if attrs["other"] is None:
            return reduce(function, ins)
        return function(attrs["other"], ins[0]) if attrs["reverse"] else function(ins[0], attrs["other"])


class _NAry(Binary):
    """A join of any number of wires; also of one wire and a number."""

    inputs = (Input("xs", variadic=True),)
    left_fold = True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        if attrs["other"] is None and len(ins) == 1:
            return (ins[0],)
        return super().infer(ins, attrs, cx)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return (attrs["other"] is None and len(ins) == 1) or super().is_identity(ins, outs, attrs, training)


@register
class Add(_NAry):
    """Sum of the wires."""

    name, symbol, neutral = "add", "+", 0

    def undo(self, attrs: Attrs, index: int) -> Undo:
        return Undo("sub", {**attrs, "reverse": False})


@register
class Mul(_NAry):
    """Product of the wires."""

    name, symbol, neutral = "mul", "*", 1

    def undo(self, attrs: Attrs, index: int) -> Undo:
        return Undo("div", {**attrs, "reverse": False}, divides=True)

    def step(self, tape: Tape, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str) -> Ghost:
        return tape.mul(a, b, shape, dtype)


@register
class Sub(Binary):
    """`a - b`."""

    name, symbol, neutral = "sub", "-", 0

    def undo(self, attrs: Attrs, index: int) -> Undo:
        if index == 1 or attrs["reverse"]:  # y = e - s
            return Undo("sub", attrs, swapped=True)
        return Undo("add", attrs)

    def check(self, ins: Sequence[TensorType], other: Any, promoted: str) -> None:
        refuse_bool("-", ins)
        if isinstance(other, bool):
            raise OpError("ARC0241", "`-` does not take a bool", param="other")


@register
class Div(Binary):
    """`a / b`: true division, floating for integers too."""

    name, symbol, neutral = "div", "/", 1

    def undo(self, attrs: Attrs, index: int) -> Undo | None:
        if index == 1 or attrs["reverse"]:  # y = e / s, which is not defined at s = 0
            return None
        return Undo("mul", attrs, divides=True)

    def result(self, dtype: str) -> str:
        return floating(dtype)

    def step(self, tape: Tape, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str) -> Ghost:
        return tape.div(a, b, shape, dtype)

    def scalar(self, tape: Tape, x: Ghost, out: TensorType, reverse: bool) -> Ghost:
        if reverse:  # torch multiplies by the reciprocal
            x = tape.pointwise((x,), x.shape, out.dtype, "out")
        return super().scalar(tape, x, out, reverse)


class _NoBool(Binary):
    def check(self, ins: Sequence[TensorType], other: Any, promoted: str) -> None:
        if promoted == "bool":
            refuse_bool(self.symbol, ins)


@register
class FloorDiv(_NoBool):
    """`a // b`, rounded down."""

    name, symbol = "floordiv", "//"
    discontinuous = True


@register
class Mod(_NoBool):
    """`a % b`, with the divisor's sign."""

    name, symbol = "mod", "%"
    discontinuous = True

    def step(self, tape: Tape, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str) -> Ghost:
        return tape.pointwise((a, b), shape, dtype, "in" if b.grad else "")


@register
class Pow(_NoBool):
    """`a ** b`."""

    name, symbol, neutral = "pow", "**", 1

    def step(self, tape: Tape, a: Ghost, b: Ghost, shape: Sequence[Size], dtype: str) -> Ghost:
        return tape.pointwise((a, b), shape, dtype, "in out" if b.grad else "in")

    def scalar(self, tape: Tape, x: Ghost, out: TensorType, reverse: bool) -> Ghost:
        if reverse:
            return tape.apply((x,), out.shape, out.dtype, "in out")
        return tape.pointwise((x,), out.shape, out.dtype, "in")

    def check(self, ins: Sequence[TensorType], other: Any, promoted: str) -> None:
        super().check(ins, other, promoted)
        if isinstance(other, int) and other < 0 and not is_float(promoted):
            message = f"`**` of integers takes no negative exponent, and this is {other}"
            raise OpError("ARC0242", message, param="other", help="write the exponent as a float")


class Comparison(Binary):
    """A comparison; the result is bool."""

    discontinuous = True

    def result(self, dtype: str) -> str:
        return "bool"


for _name, _symbol in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
    _doc = f"`a {_symbol} b`; the result is bool."
    register(type(_name.capitalize(), (Comparison,), {"name": _name, "symbol": _symbol, "__doc__": _doc}))


@register
class Neg(Op):
    """`-x`."""

    name = "neg"
    local, elementwise, per_element = True, True, 1

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        refuse_bool("-", ins)
        return (ins[0],)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.name, attrs), volume=True)

    def steady(self, attrs: Attrs) -> bool:
        return True

    def of_numbers(self, numbers: Sequence[float], attrs: Attrs) -> float | None:
        return -numbers[0]

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Un("-", In(0))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].neg()


@register
class Mean(Op):
    """Elementwise mean of equal-shaped wires."""

    name = "mean"
    inputs = (Input("xs", variadic=True),)
    local = elementwise = True

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return len(ins) == 1 and ins[0] == outs[0]

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(outs[0].shape) * len(ins)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        dtype = reduce(promote, (x.dtype for x in ins))
        return (TensorType(broadcast(self.name, ins, cx), floating(dtype)),)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        dtype = outs[0].dtype
        return (tape.scaled(reduce(lambda a, b: tape.pointwise((a, b), together(a, b), dtype), ins), dtype),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Bin("/", fold(range(inputs), lambda a, b: Bin("+", a, b)), Lit(inputs))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return reduce(operator.add, ins) / len(ins)


class _Extremum(Op):
    """Elementwise maximum or minimum of any number of wires."""

    inputs = (Input("xs", variadic=True),)
    local = elementwise = left_fold = True

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return len(ins) == 1

    def of_numbers(self, numbers: Sequence[float], attrs: Attrs) -> float | None:
        return max(numbers) if self.name == "maximum" else min(numbers)

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(outs[0].shape) * (len(ins) - 1)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        dtype = outs[0].dtype
        return (reduce(lambda a, b: tape.pointwise((a, b), together(a, b), dtype, "in"), ins),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(broadcast(self.name, ins, cx), reduce(promote, (x.dtype for x in ins))),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return fold(range(inputs), lambda a, b: Call(f"torch.{self.name}", (a, b)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        result = ins[0]
        for x in ins[1:]:  # torch.maximum, and not where(a > b, ..): it hands a NaN on from either side
            result = torch.maximum(result, x) if self.name == "maximum" else torch.minimum(result, x)
        return result


for _name in ("maximum", "minimum"):
    _doc = f"Elementwise {_name} of the wires."
    register(type(_name.capitalize(), (_Extremum,), {"name": _name, "__doc__": _doc}))


class _Logical(Op):
    """A logical connective of one or two wires."""

    local = elementwise = True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(broadcast(self.name, ins, cx), "bool"),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(f"torch.{self.name}", tuple(In(i) for i in range(inputs)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        true = [x != 0 for x in ins]
        if self.name == "logical_not":
            return ~true[0]
        return true[0] & true[1] if self.name == "logical_and" else true[0] | true[1]


_NONZERO = "numbers count as true where they are not 0."
for _name, _ins in (("and", ("a", "b")), ("or", ("a", "b")), ("not", ("x",))):
    _doc = f"Logical {_name}; {_NONZERO}"
    _members = {"name": f"logical_{_name}", "inputs": tuple(map(Input, _ins)), "__doc__": _doc}
    register(type(f"Logical{_name.capitalize()}", (_Logical,), _members))
