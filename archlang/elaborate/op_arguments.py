"""Arguments of ops: bound to the parameters that an op declares, and checked against their kinds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NoReturn

from archlang.elaborate.arguments import DTYPES, Arg, Args, arguments_text
from archlang.elaborate.copying import op_key, plain_keys
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import OpInstance, describe, expand
from archlang.ops.base import REQUIRED, Op, Param
from archlang.ops.signature import parameter_text
from archlang.report.diagnostic import Fix, Span
from archlang.report.suggest import nearest
from archlang.shapes.dim import Dim

__all__ = ["op_instance"]


def op_instance(cx: Activation, op: Op, args: Args, span: Span) -> OpInstance:
    """A fresh instance of an op. Arguments are checked once for each choice of them."""
    named, spans = args.named, {}
    given: Any = op.name
    if args.positional or named:
        params = op_parameters(op)
        spans = {name: arg.span for name, arg in zip(params, args.positional, strict=False)}
        spans.update((name, arg.span) for name, arg in named.items() if name in params)
        given = (op.name, *named, *plain_keys([arg.value for arg in (*args.positional, *named.values())]))
    known = cx.session.arguments.get(given)
    if known is None:
        values = _op_arguments(op, args, span)
        known = cx.session.arguments[given] = (values, op_key(op, values))
    return OpInstance(span=span, op=op, args=known[0], arg_spans=spans, key=known[1])


def _op_arguments(op: Op, args: Args, span: Span) -> dict[str, Any]:
    """Every argument, in order, those given first; checked against the parameters that the op declares."""
    values: dict[str, Any] = {}
    spans: dict[str, Span] = {}
    params = op_parameters(op)
    if len(args.positional) > len(params):
        _too_many(op, args)
    collects = next(p for p in op.params if p.kind == "axes") if len(op.params) > len(params) else None
    axes: list[tuple[str, Any]] = []
    for name, arg in (*zip(params, args.positional, strict=False), *args.named.items()):
        if name not in params:
            if collects is None:
                _unknown_parameter(op, name, arg)
            axes.append((name, arg.value))
            continue
        if name in values:
            fail("ARC0204", f"`{op.name}` gets `{name}` twice", arg.span, related=[(spans[name], "first here")])
        values[name] = _checked(op, params[name], arg.value, arg.span)
        spans[name] = arg.span
    for name, param in params.items():
        if name not in values:
            if param.default is REQUIRED:
                fail("ARC0205", f"`{op.name}` needs `{name}`", span, "missing in this call", help=_parameters(op))
            values[name] = param.default
    if collects is not None:
        values[collects.name] = tuple(axes)
    return values


def _too_many(op: Op, args: Args) -> NoReturn:
    params = op_parameters(op)
    if args.positional[0].value == [] and any(p.variadic for p in op.inputs):
        fail("ARC0210", f"`{op.name}` gets no wires", args.positional[0].span, "this list is empty")
    fail(
        "ARC0202",
        f"`{op.name}` takes {arguments_text(len(params))}, not {len(args.positional)}",
        args.positional[len(params)].span,
        "one too many",
        help=f"its parameters are {', '.join(params)}" if params else None,
    )


def _unknown_parameter(op: Op, name: str, arg: Arg) -> NoReturn:
    close = nearest(name, op_parameters(op))
    span = arg.name_span or arg.span
    fail(
        "ARC0203",
        f"`{op.name}` has no parameter `{name}`",
        span,
        "unknown name",
        help=f"did you mean `{close}`?" if close else _parameters(op),
        fix=Fix(span, close) if close else None,
    )


def _parameters(op: Op) -> str:
    return f"its parameters are {', '.join(map(parameter_text, op.params))}"


@cache
def op_parameters(op: Op) -> Mapping[str, Param]:
    """The parameters of an op that have names, in order."""
    return {p.name: p for p in op.params if p.kind != "axes"}


def _checked(op: Op, param: Param, value: Any, span: Span) -> Any:
    """The argument, checked against the kind that the op declares; lists become tuples."""
    name, kind = param.name, param.kind
    if kind in _AS_THEY_ARE.get(value.__class__, ()) and not param.choices:
        return value
    if kind[-1] == "?":
        kind = kind[:-1]
        if value is None:
            return None
    checked = _of_kind(kind, value)
    if checked is _WRONG and kind == "dtype" and isinstance(value, str):
        close = nearest(value, DTYPES)
        help = f'did you mean "{close}"?' if close else 'such as "float32", "int64", "bool"'
        fail("ARC0243", f'"{value}" is not an element type', span, help=help)
    if checked is _WRONG:
        wanted = _KINDS.get(kind, f"`{kind}`")
        fail(
            "ARC0201",
            f"`{name}` of `{op.name}` takes {wanted}, not {describe(value)}",
            span,
            f"this is {describe(value)}",
        )
    if param.choices and checked not in param.choices:
        listed = ", ".join(f'"{c}"' for c in param.choices)
        close = nearest(str(checked), param.choices)
        fail(
            "ARC0208",
            f'`{name}` of `{op.name}` cannot be "{checked}"',
            span,
            help=f'did you mean "{close}"?' if close else f"it is one of {listed}",
        )
    return checked


_WRONG = object()  # what a check gives for a value that does not fit; None is a value

_KINDS = {
    "int": "an int",
    "float": "a number",
    "bool": "a bool",
    "str": "a string",
    "dtype": 'a dtype such as "int64"',
    "size": "a size",
    "ints": "an int or a list of ints",
    "sizes": "a size or a list of sizes",
    "floats": "a number or a list of numbers",
    "init": "an initialiser",
}


_ACCEPTED: dict[str, tuple[Any, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "size": (int, Dim)}
_ELEMENTS = {"ints": "int", "sizes": "size", "floats": "float"}
_AS_THEY_ARE = {  # most arguments
    bool: ("bool",),
    int: ("int", "ints", "float", "floats", "size", "sizes", "any"),
    float: ("float", "floats", "any"),
}


def _of_kind(kind: str, value: Any) -> Any:
    """The value in the form that op entries expect, or _WRONG where it does not fit."""
    if kind == "init":
        from archlang.ops.init import as_init

        return as_init(value) or _WRONG
    element = _ELEMENTS.get(kind)
    if element is not None:
        if isinstance(value, (list, tuple)):
            items = tuple(_of_kind(element, v) for v in expand(value))
            return _WRONG if any(v is _WRONG for v in items) else items
        return _of_kind(element, value)
    if kind == "any":
        return _plain(value)
    if isinstance(value, bool):
        return value if kind == "bool" else _WRONG
    if kind == "dtype":
        return DTYPES.get(value, _WRONG) if isinstance(value, str) else _WRONG
    if isinstance(value, _ACCEPTED.get(kind, ())):
        return value
    if kind == "float" and isinstance(value, Dim):
        return value
    return _WRONG


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        items = tuple(_plain(v) for v in expand(value))
        return _WRONG if any(v is _WRONG for v in items) else items
    return value if value is None or isinstance(value, (bool, int, float, str, Dim)) else _WRONG
