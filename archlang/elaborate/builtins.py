"""The functions of the elaboration language: pure and total, on numbers, strings and lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from archlang.elaborate.arguments import Arg, Args, arguments_text
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import Composition, Run, describe, expand, length, settled
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, ceil_div

__all__ = ["BUILTINS", "call_builtin", "check_length"]


def check_length(cx: Activation, count: int, span: Span) -> None:
    """Lists and loops are bounded."""
    limit = cx.session.limits.loop
    if count > limit:
        fail(
            "ARC0501",
            f"this makes {count:,} elements; the limit is {limit:,}",
            span,
            "too many",
            help="use fewer, or raise the limit where the compiler is called",
        )


def _sequence(value: Any, name: str, span: Span) -> list[Any]:
    if isinstance(value, range):
        return list(value)
    if isinstance(value, (list, tuple)):
        return expand(value)
    fail("ARC0201", f"`{name}` takes a list, not {describe(value)}", span, f"this is {describe(value)}")


def _len(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    value = args[0].value
    if isinstance(value, (str, range)):
        return len(value)
    if isinstance(value, Composition):
        return length(value.parts)
    if isinstance(value, (list, tuple)):
        return length(value)
    fail("ARC0201", f"`len` takes a list or a string, not {describe(value)}", args[0].span)


def _enumerate(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    return list(enumerate(_sequence(args[0].value, "enumerate", args[0].span), *(a.value for a in args[1:2])))


def _zip(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    lists = [_sequence(a.value, "zip", a.span) for a in args]
    sizes = {len(items) for items in lists}
    if len(sizes) > 1:
        shown = ", ".join(str(len(items)) for items in lists)
        fail("ARC0217", f"`zip` needs lists of one length, not {shown}", span, help="cut the longer one: xs[:n]")
    return list(zip(*lists, strict=True))


def _reversed(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    value = args[0].value
    return value[::-1] if isinstance(value, range) else _sequence(value, "reversed", args[0].span)[::-1]


def _numbers(name: str, args: Sequence[Arg], span: Span) -> list[Any]:
    single = len(args) == 1 and isinstance(args[0].value, (list, tuple, range))
    items = _sequence(args[0].value, name, args[0].span) if single else [a.value for a in args]
    for item in items:
        if isinstance(item, bool) or not isinstance(item, (int, float, Dim)):
            fail("ARC0201", f"`{name}` takes numbers, not {describe(item)}", span)
    return items


def _fold(name: str, function: Callable[[list[Any]], Any], *, symbolic: bool = False) -> Any:
    def run(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
        items = _numbers(name, args, span)
        if not items and name not in ("sum", "prod"):
            fail("ARC0218", f"`{name}` of an empty list", span)
        if not symbolic and any(isinstance(i, Dim) for i in items):
            fail("ARC0327", f"`{name}` of a symbolic size is not known when the network is built", span)
        return function(items)

    return run


def _numeric(name: str, function: Callable[[float], Any]) -> Any:
    def run(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
        value = args[0].value
        if isinstance(value, Dim):
            fail("ARC0327", f"`{name}` of a symbolic size is not known when the network is built", args[0].span)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            fail("ARC0201", f"`{name}` takes a number, not {describe(value)}", args[0].span)
        try:
            return function(value)
        except (ValueError, OverflowError):
            fail("ARC0219", f"`{name}({value})` is not defined", span)

    return run


def _round(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    digits = args[1].value if len(args) > 1 else None
    if digits is not None and (isinstance(digits, bool) or not isinstance(digits, int) or abs(digits) > 300):
        fail("ARC0201", f"`round` takes a number of digits, not {describe(digits)}", args[1].span)
    return _numeric("round", lambda v: round(v, digits))(cx, args[:1], span)


def _int(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    value = args[0].value
    if isinstance(value, bool):
        return int(value)
    return _numeric("int", int)(cx, args, span)


def _str(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    return text_of(args[0].value, args[0].span)


def text_of(value: Any, span: Span) -> str:
    """What interpolation into a string or a label prints."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, str)):
        return str(value)
    fail("ARC0262", f"{describe(value)} cannot become text", span, help="only numbers and strings can")


def _log(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    if len(args) == 2:
        base = args[1].value
        return _numeric("log", lambda v: math.log(v, base))(cx, args[:1], span)
    return _numeric("log", math.log)(cx, args, span)


def _chain(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    """`chain(modules)`: one after the other; context that it gets is handed to every part that takes context."""
    from archlang.elaborate.instances import to_module

    items: list[Any] = []
    for arg in args:
        items += arg.value if isinstance(arg.value, (list, tuple)) else [arg.value]
    where = args[0].span if args else span
    parts = [item if isinstance(item, Run) else to_module(cx, item, where, "`chain`") for item in settled(items)]
    return Composition(span=span, parts=parts, chained=True)


def _log_det(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    """`logdet(module)`: the module with its log-determinant as a further result."""
    from archlang.elaborate.log_dets import log_det

    return log_det(cx, args, span)


def _sorted(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    items = _sequence(args[0].value, "sorted", args[0].span)
    if all(isinstance(i, str) for i in items):
        return sorted(items)
    return sorted(_numbers("sorted", args, span))


def _any(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    return any(_bools("any", args))


def _all(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    return all(_bools("all", args))


def _bools(name: str, args: Sequence[Arg]) -> list[bool]:
    items = _sequence(args[0].value, name, args[0].span)
    for item in items:
        if not isinstance(item, bool):
            fail("ARC0201", f"`{name}` takes bools, not {describe(item)}", args[0].span)
    return items


# name -> (function, least arguments, most arguments or None)
BUILTINS: dict[str, tuple[Callable[[Activation, Sequence[Arg], Span], Any], int, int | None]] = {
    "len": (_len, 1, 1),
    "enumerate": (_enumerate, 1, 2),
    "zip": (_zip, 1, None),
    "reversed": (_reversed, 1, 1),
    "sorted": (_sorted, 1, 1),
    "sum": (_fold("sum", lambda v: sum(v), symbolic=True), 1, None),
    "prod": (_fold("prod", lambda v: _product(v), symbolic=True), 1, None),
    "mean": (_fold("mean", lambda v: sum(v) / len(v)), 1, None),
    "max": (_fold("max", max), 1, None),
    "min": (_fold("min", min), 1, None),
    "any": (_any, 1, 1),
    "all": (_all, 1, 1),
    "round": (_round, 1, 2),
    "floor": (_numeric("floor", math.floor), 1, 1),
    "ceil": (_numeric("ceil", math.ceil), 1, 1),
    "abs": (_numeric("abs", abs), 1, 1),
    "sqrt": (_numeric("sqrt", math.sqrt), 1, 1),
    "exp": (_numeric("exp", math.exp), 1, 1),
    "log": (_log, 1, 2),
    "log2": (_numeric("log2", math.log2), 1, 1),
    "sin": (_numeric("sin", math.sin), 1, 1),
    "cos": (_numeric("cos", math.cos), 1, 1),
    "int": (_int, 1, 1),
    "float": (_numeric("float", float), 1, 1),
    "str": (_str, 1, 1),
    "chain": (_chain, 0, None),
    "logdet": (_log_det, 1, 1),
}


def _product(values: Sequence[Any]) -> Any:
    total: Any = 1
    for value in values:
        total = total * value
    return total


def floor_of_quotient(name: str, a: Any, b: Any) -> Any:
    """`floor(a / b)` and `ceil(a / b)` of ints and sizes, exactly."""
    return a // b if name == "floor" else ceil_div(a, b)


def call_builtin(cx: Activation, name: str, args: Args, span: Span) -> Any:
    function, least, most = BUILTINS[name]
    if args.named:
        first = next(iter(args.named))
        where = args.named[first].name_span or span
        if name == "chain" and first == "layers":
            args = Args([*args.positional, args.named[first]], {})
        else:
            fail("ARC0203", f"`{name}` has no parameter `{first}`", where, help="its arguments go by place")
    count = len(args.positional)
    if count < least or (most is not None and count > most):
        takes = (
            arguments_text(least)
            if least == most
            else f"{least} or more arguments"
            if most is None
            else f"{least} to {most} arguments"
        )
        fail("ARC0202", f"`{name}` takes {takes}, not {count}", span)
    return function(cx, args.positional, span)
