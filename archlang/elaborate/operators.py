"""Operators, attributes and indices: on numbers and lists at once, on wires as ops of the graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from archlang.elaborate.apply import apply
from archlang.elaborate.arguments import Arg, Args
from archlang.elaborate.bounds import MOST_BITS, bounded
from archlang.elaborate.copying import op_key
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.op_arguments import op_instance
from archlang.elaborate.session import Activation, Split
from archlang.elaborate.values import (
    IndexRange,
    Instance,
    OpInstance,
    OpTemplate,
    Phase,
    Streams,
    Wire,
    describe,
    has_wire,
    length,
)
from archlang.ops.base import registry
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size
from archlang.syntax import tree

__all__ = ["COMPARISONS", "binary", "compare_interval", "index_list", "index_wire", "unary", "wire_attribute"]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPS = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "@": "matmul",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "le",
    ">": "gt",
    ">=": "ge",
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "%": operator.mod,
    "**": operator.pow,
}


def compare_interval(op: str, left: Any, right: Any) -> bool:
    """A comparison of a loop variable's interval with an int; raises Split where the answer changes inside."""
    if isinstance(left, IndexRange) and isinstance(right, IndexRange):
        return COMPARISONS[op](0, 0)  # the same variable on both sides
    mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    if isinstance(right, IndexRange):
        left, right, op = right, left, mirrored.get(op, op)
    if not isinstance(right, int):
        return COMPARISONS[op](left.low, right)
    low, high = left.low, left.high
    borders = {"<": (right,), ">=": (right,), "<=": (right + 1,), ">": (right + 1,)}.get(op, (right, right + 1))
    for border in borders:
        if low < border < high:
            raise Split(border)
    return COMPARISONS[op](low, right)


def unary(cx: Activation, expr: tree.Unary, value: Any) -> Any:
    if expr.op == "not":
        if isinstance(value, bool):
            return not value
        if isinstance(value, Phase):
            return Phase(not value.training)
        if isinstance(value, Wire):
            return _apply_op(cx, "logical_not", (value,), {}, expr.span)
        fail("ARC0201", f"`not` takes a bool, not {describe(value)}", expr.span)
    if expr.op == "~":
        from archlang.elaborate.inverse import inverse

        return inverse(cx, value, expr.span)
    if isinstance(value, Wire):
        return _apply_op(cx, "neg", (value,), {}, expr.span)
    if isinstance(value, (int, float, Dim)) and not isinstance(value, bool):
        return -value
    fail("ARC0201", f"`-` takes a number or a wire, not {describe(value)}", expr.span)


def binary(cx: Activation, expr: tree.Binary, left: Any, right: Any) -> Any:
    """`left op right` for evaluated operands."""
    op = expr.op
    if left.__class__ is int and right.__class__ is int:  # as most are
        if op in COMPARISONS:
            return COMPARISONS[op](left, right)
        if op in ("+", "-", "*"):
            result = _ARITHMETIC[op](left, right)
            if result.bit_length() <= MOST_BITS:
                return result
    if isinstance(left, Wire) or isinstance(right, Wire):
        return _on_wires(cx, expr, left, right)
    if op in ("in", "not in"):
        return _contains(expr, left, right) == (op == "in")
    if op in ("==", "!="):
        return _equal(expr, left, right) == (op == "==")
    if op == "+" and isinstance(left, list) and isinstance(right, list):
        return bounded(cx, [*left, *right], expr.span)
    if op == "+" and isinstance(left, str) and isinstance(right, str):
        return bounded(cx, left + right, expr.span)
    if op == "*" and isinstance(left, list) and isinstance(right, int):
        return _repeated(cx, left, right, expr.span)
    if not (_number(left) and _number(right)):
        wrong = left if not _number(left) else right
        help = "compose modules with `->`" if isinstance(wrong, (Instance, OpTemplate)) else None
        where = expr.left.span if wrong is left else expr.right.span
        fail(
            "ARC0201",
            f"`{op}` takes numbers or wires, not {describe(wrong)}",
            where,
            f"this is {describe(wrong)}",
            help=help,
        )
    if op in COMPARISONS:
        return _ordered(expr, left, right)
    return _arithmetic(cx, expr, left, right)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, Dim)) and not isinstance(value, bool)


def _arithmetic(cx: Activation, expr: tree.Binary, left: Any, right: Any) -> Any:
    op = expr.op
    symbolic = isinstance(left, Dim) or isinstance(right, Dim)
    if op in ("/", "//", "%") and right == 0:
        fail("ARC0303", "division by zero", expr.right.span, "this is 0")
    if op == "//":
        return _exact(cx, expr, left, right)
    if symbolic and (op in ("/", "**") or isinstance(left, float) or isinstance(right, float)):
        if op == "**" and isinstance(right, int) and 0 <= right <= 8:
            power: Any = 1
            for _ in range(right):
                power = bounded(cx, power * left, expr.span)
            return power
        fail(
            "ARC0327",
            f"`{op}` on a symbolic size gives no whole number",
            expr.span,
            help="`floor(a / b)` and `a // b` divide sizes",
        )
    try:
        if op == "/":
            return left / right
        if op == "**" and isinstance(left, int) and isinstance(right, int) and abs(right) > 4096:
            raise OverflowError
        result = _ARITHMETIC[op](left, right)
        if result.__class__ is not int:
            bounded(cx, result, expr.span)
    except (OverflowError, ZeroDivisionError, ValueError):
        fail("ARC0219", f"`{left} {op} {right}` is not a number that fits", expr.span)
    if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > MOST_BITS):
        fail("ARC0219", f"`{op}` gives no real number of reasonable size here", expr.span)
    return result


def _exact(cx: Activation, expr: tree.Binary, left: Any, right: Any) -> Any:
    """`//` must divide; `floor(a / b)` is the form that may round."""
    quotient = left // right
    rest = left - quotient * right
    if rest == 0:
        return quotient
    if isinstance(rest, (int, float)):
        fail(
            "ARC0286",
            f"{left} is not divisible by {right}",
            expr.span,
            "an integer division that does not divide",
            help=f"write `floor({expr.left.span.text} / {expr.right.span.text})` if rounding down is meant",
        )
    from archlang.ir.graph import Constraint

    builder = cx.graph_builder(expr.span)
    reason = f"`{expr.span.text}` must divide"
    builder.need([Constraint(left, quotient * right, "==", reason, expr.span, rule="language")], expr.span)
    return quotient


def _equal(expr: tree.Binary, left: Any, right: Any) -> bool:
    if isinstance(left, Dim) or isinstance(right, Dim):
        if left is None or right is None:
            return False
        difference = left - right if _number(left) and _number(right) else None
        if difference == 0:
            return True
        if not isinstance(difference, int):
            fail("ARC0305", f"whether {left} equals {right} is not known when the network is built", expr.span)
        return False
    if isinstance(left, Phase) or isinstance(right, Phase):
        fail("ARC0263", "`training` stands alone in a condition", expr.span, help="`if training { ... } else { ... }`")
    if has_wire(left) or has_wire(right):
        return left is right
    if isinstance(left, Instance) or isinstance(right, Instance):
        return left is right
    return bool(left == right)


def _ordered(expr: tree.Binary, left: Any, right: Any) -> bool:
    difference = left - right
    if isinstance(difference, Dim):
        fail(
            "ARC0305",
            f"whether {left} {expr.op} {right} is not known when the network is built",
            expr.span,
            help="what a network is made of can depend on numbers only: write them into the input's type, or make them "
            "parameters",
        )
    return COMPARISONS[expr.op](difference, 0)


def _contains(expr: tree.Binary, item: Any, items: Any) -> bool:
    if isinstance(items, str) and isinstance(item, str):
        return item in items
    if isinstance(items, (list, tuple, range)):
        return any(item is i or (not has_wire(i) and item == i) for i in items)
    fail("ARC0201", f"`in` takes a list, not {describe(items)}", expr.right.span)


def _repeated(cx: Activation, items: list[Any], times: int, span: Span) -> list[Any]:
    from archlang.elaborate.builtins import check_length

    check_length(cx, length(items) * max(times, 0), span)
    if any(isinstance(i, Instance) and i.owner is None for i in items):
        fail(
            "ARC0413",
            "repeating a list would repeat one and the same module",
            span,
            help="write `[layer() for _ in 0..n]` for modules of their own",
        )
    bounded(cx, repeated := items * times, span)
    return repeated


# -- wires -------------------------------------------------------------------------------------------------------------
def _apply_op(
    cx: Activation,
    name: str,
    wires: Sequence[Wire],
    params: dict[str, Any],
    span: Span,
    operands: tuple[Span, ...] = (),
    op_span: Span | None = None,
) -> Any:
    args = Args((), {k: Arg(v, span) for k, v in params.items()})
    inst = op_instance(cx, registry()[name], args, span)
    inst.wire_spans, inst.op_span = operands, op_span
    return apply(cx, inst, Streams(tuple(wires)), span)


def _on_wires(cx: Activation, expr: tree.Binary, left: Any, right: Any) -> Any:
    if left is None or right is None:
        if expr.op in ("==", "!="):
            return (left is right) == (expr.op == "==")
        none = expr.left if left is None else expr.right
        fail(
            "ARC0201",
            f"`{expr.op}` takes wires, not `none`",
            none.span,
            "this is `none` here",
            help=f"ask first: `if {none.span.text} != none {{ ... }}`",
        )
    name = _OPS.get(expr.op)
    if name is None:
        fail("ARC0201", f"`{expr.op}` does not work on wires", expr.span)
    if isinstance(left, Wire) and isinstance(right, Wire):
        return _apply_op(cx, name, (left, right), {}, expr.span, (expr.left.span, expr.right.span), expr.op_span)
    wire, scalar = (left, right) if isinstance(left, Wire) else (right, left)
    if isinstance(scalar, bool) or not isinstance(scalar, (int, float, Dim)):
        where = expr.right.span if scalar is right else expr.left.span
        fail(
            "ARC0201",
            f"`{expr.op}` takes a wire or a number here, not {describe(scalar)}",
            where,
            help="a module is applied with `->` or by calling it"
            if isinstance(scalar, (Instance, OpTemplate))
            else None,
        )
    params: dict[str, Any] = {"other": scalar}
    if wire is right:
        params["reverse"] = True
    return _apply_op(cx, name, (wire,), params, expr.span)


def wire_attribute(wire: Wire, expr: tree.Attribute) -> Any:
    """`x.channels`, `x.features`, `x.shape`, `x.spatial`, `x.rank`, `x.dtype`."""
    shape: tuple[Size, ...] = wire.type.shape
    name = expr.name
    if name == "channels":
        if len(shape) < 3:
            fail(
                "ARC0328",
                f"`channels` is dimension 1 of [B, C, ...]; this wire is {wire.type}",
                expr.span,
                help="`features` is the last dimension",
            )
        return shape[1]
    if name == "features" and shape:
        return shape[-1]
    if name == "shape":
        return list(shape)
    if name == "spatial":
        return list(shape[2:])
    if name == "rank":
        return len(shape)
    if name == "dtype":
        return wire.type.dtype
    from archlang.report.diagnostic import Fix
    from archlang.report.suggest import nearest

    close = nearest(name, ("channels", "features", "shape", "spatial", "rank", "dtype"))
    fail(
        "ARC0265",
        f"a wire has no `{name}`",
        expr.name_span,
        help=f"did you mean `{close}`?" if close else "it has channels, features, shape, spatial, rank and dtype",
        fix=Fix(expr.name_span, close) if close else None,
    )


def index_wire(cx: Activation, wire: Wire, expr: tree.Index) -> Any:
    """`x[..., 0, 1:]` as the op `index`."""

    def bound(e: tree.Expr | None) -> Any:
        if e is None:
            return None
        value = evaluate(cx, e)
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            fail(
                "ARC0269",
                f"an index is an int, not {describe(value)}",
                e.span,
                help="`gather` and `index_select` pick by a wire of indices",
            )
        return value

    items: list[Any] = []
    for item in expr.items:
        if isinstance(item, tree.Slice):
            items.append((bound(item.lower), bound(item.upper), bound(item.step)))
        elif isinstance(item, tree.Ellipsis):
            items.append("...")
        elif isinstance(item, tree.NoneLit):
            items.append(None)
        else:
            items.append(bound(item))
    return _apply_index(cx, wire, tuple(items), expr.span)


def _apply_index(cx: Activation, wire: Wire, items: tuple[Any, ...], span: Span) -> Any:
    op, args = registry()["index"], {"items": items}
    inst = OpInstance(span=span, op=op, args=args, key=op_key(op, args))
    return apply(cx, inst, Streams((wire,)), span)


def index_list(cx: Activation, items: Any, expr: tree.Index) -> Any:
    """`xs[i]`, `xs[1:]` on lists, tuples and strings."""
    if len(expr.items) != 1:
        fail("ARC0269", "a list has one index", expr.span)
    item = expr.items[0]
    if isinstance(item, tree.Slice):
        low, high, step = (None if e is None else evaluate(cx, e) for e in (item.lower, item.upper, item.step))
        for value in (low, high, step):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                fail("ARC0269", f"a slice runs between ints, not {describe(value)}", item.span)
        if step == 0:
            fail("ARC0269", "the step of a slice cannot be 0", item.span)
        return items[low:high:step]
    index = evaluate(cx, item)
    if isinstance(index, bool) or not isinstance(index, int):
        fail("ARC0269", f"an index is an int, not {describe(index)}", item.span)
    if not -len(items) <= index < len(items):
        fail("ARC0270", f"index {index} is outside of {len(items)} elements", item.span, "out of range")
    return items[index]
