"""Binding arguments to parameters, and checking and coercing them to the declared types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockTemplate,
    Builtin,
    ExternTemplate,
    Fn,
    Instance,
    OpTemplate,
    Run,
    Wire,
    describe,
    expand,
)
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.report.diagnostic import Fix, Span
from archlang.report.suggest import nearest
from archlang.shapes.dim import Dim
from archlang.syntax import tree

__all__ = [
    "Arg",
    "Args",
    "arguments_text",
    "as_template",
    "bind",
    "coerce",
    "type_text",
]

DTYPES = {
    "f64": "float64",
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
    "bool": "bool",
    "float": "float",
    "int64": "int64",
    "int32": "int32",
    "int16": "int16",
    "int8": "int8",
    "uint8": "uint8",
    "float64": "float64",
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
}


@dataclass(eq=False, slots=True)  # not frozen: there are many, and they are made in half the time
class Arg:
    """An evaluated argument."""

    value: Any
    span: Span
    name_span: Span | None = None
    items: tuple[Span, ...] = ()  # the elements, where a list is written out


@dataclass(eq=False, slots=True)
class Args:
    """The evaluated arguments of a call."""

    positional: Sequence[Arg]
    named: Mapping[str, Arg]
    context: Sequence[Arg] = ()
    has_wires: bool = False  # also in lists


def bind(cx: Activation, what: str, params: Sequence[tree.Param], args: Args, span: Span) -> dict[str, Arg]:
    """Assigns arguments to parameters by place and name; unknown, missing and doubled ones are errors."""
    plain = [p for p in params if not p.star]
    if not args.named and len(args.positional) == len(plain) == len(params):
        return {p.name: arg for p, arg in zip(plain, args.positional, strict=True)}
    bound: dict[str, Arg] = {}
    rest = next((p for p in params if p.star), None) if len(plain) < len(params) else None
    if len(args.positional) > len(plain) and rest is None:
        extra = args.positional[len(plain)]
        takes = arguments_text(len(plain))
        fail(
            "ARC0202",
            f"`{what}` takes {takes}, not {len(args.positional)}",
            extra.span,
            "one too many",
            related=[(p.span, "its parameters") for p in params[:1]],
        )
    for param, arg in zip(plain, args.positional, strict=False):
        bound[param.name] = arg
    if rest is not None:
        extra_args = args.positional[len(plain) :]
        bound[rest.name] = Arg([a.value for a in extra_args], extra_args[0].span if extra_args else span)
    names = {p.name for p in plain}
    for name, arg in args.named.items():
        if name not in names:
            _unknown_name(what, name, names, arg)
        if name in bound:
            fail(
                "ARC0204", f"`{what}` gets `{name}` twice", arg.span, "again here", related=[(bound[name].span, "here")]
            )
        bound[name] = arg
    missing = [p.name for p in plain if p.name not in bound and p.default is None and not _optional(p.type)]
    if missing:
        listed = ", ".join(f"`{m}`" for m in missing)
        first = next(p for p in plain if p.name == missing[0])
        fail(
            "ARC0205", f"`{what}` needs {listed}", span, "missing in this call", related=[(first.span, "declared here")]
        )
    return bound


def _unknown_name(what: str, name: str, names: set[str], arg: Arg) -> None:
    span = arg.name_span or arg.span
    close = nearest(name, names)
    listed = ", ".join(f"`{n}`" for n in sorted(names)) or "no named parameters"
    if close:
        fail(
            "ARC0203",
            f"`{what}` has no parameter `{name}`",
            span,
            "unknown name",
            help=f"did you mean `{close}`?",
            fix=Fix(span, close) if arg.name_span else None,
        )
    fail("ARC0203", f"`{what}` has no parameter `{name}`", span, "unknown name", help=f"it has {listed}")


def arguments_text(count: int) -> str:
    """`no arguments`, `1 argument`, `3 arguments`."""
    return f"{count or 'no'} argument{'s' if count != 1 else ''}"


def _optional(type: tree.Type | None) -> bool:
    return bool(getattr(type, "optional", False))


# -- declared types of blocks and functions ----------------------------------------------------------------------------
def type_text(type: tree.Type) -> str:
    """A type as written."""
    return type.span.text


_PARAMETER_KINDS: dict[str, tuple[Any, ...]] = {
    "int": (int, Dim),
    "float": (float,),
    "bool": (bool,),
    "str": (str,),
    "fn": (Fn, Builtin),
    "dtype": (str,),
}
_PLAIN = {(int, "int"), (Dim, "int"), (float, "float"), (bool, "bool"), (str, "str")}  # most arguments: as they are


def fits(value: Any, type: tree.Type | None) -> bool:
    """Whether a value plainly is of a type, as most are."""
    return type is None or (value.__class__, getattr(type, "name", None)) in _PLAIN


def coerce(cx: Activation, value: Any, type: tree.Type | None, span: Span, what: str, arg: Arg | None = None) -> Any:
    """The value as the declared type, or a diagnostic. Templates become instances where a module is expected."""
    if fits(value, type):
        return value
    assert type is not None
    if value is None and _optional(type):
        return None
    if isinstance(type, tree.ListType):
        return _coerce_list(cx, value, type, span, what, arg)
    if isinstance(type, tree.TupleType):
        if isinstance(value, tuple) and len(value) == len(type.items):
            return tuple(coerce(cx, v, t, span, what) for v, t in zip(value, type.items, strict=True))
        _refuse(value, type, span, what)
    if isinstance(type, tree.ArrowType):
        return _module(cx, value, type, span, what)
    if isinstance(type, tree.NamedType):
        return _coerce_named(cx, value, type, span, what)
    _refuse(value, type, span, what)


def _coerce_list(cx: Activation, value: Any, type: tree.ListType, span: Span, what: str, arg: Arg | None) -> list[Any]:
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, list):
        _refuse(value, type, span, what)
    modules = (
        isinstance(type.element, (tree.NamedType, tree.ArrowType))
        and getattr(type.element, "name", "module") == "module"
    )
    if modules:
        places = arg.items if arg is not None and len(arg.items) == len(value) else (span,) * len(value)
        return [
            coerce(cx, v, type.element, place, f"element {i} of {what}")
            for i, (v, place) in enumerate(zip(value, places, strict=True))
        ]
    values = expand(value)
    places = arg.items if arg is not None and len(arg.items) == len(values) else (span,) * len(values)
    return [
        coerce(cx, v, type.element, place, f"element {i} of {what}")
        for i, (v, place) in enumerate(zip(values, places, strict=True))
    ]


def _coerce_named(cx: Activation, value: Any, type: tree.NamedType, span: Span, what: str) -> Any:
    name = type.name
    if name == "module":
        return _module(cx, value, type, span, what)
    if name == "block":
        template = as_template(value)
        if template is not None:
            return template
        if isinstance(value, Instance):
            fail(
                "ARC0206",
                f"{what} takes a block, from which it makes instances of its own; this is one instance",
                span,
                help="write `fn() => " + span.text + "`",
                fix=Fix(span, f"fn() => {span.text}"),
            )
        _refuse(value, type, span, what)
    if name == "init":
        from archlang.ops.init import as_init

        found = as_init(value)
        if found is not None:
            return found
        _refuse(value, type, span, what)
    if name == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if name == "any":
        return value
    if name in _PARAMETER_KINDS:
        if isinstance(value, _PARAMETER_KINDS[name]) and not (name == "int" and isinstance(value, bool)):
            return value
        _refuse(value, type, span, what)
    fail(
        "ARC0207",
        f"`{name}` is not a type of parameters",
        type.span,
        help="parameters are int, float, bool, str, module, block, fn, init, dtype or lists of them; "
        "wires belong into the second parentheses",
    )


def _module(cx: Activation, value: Any, type: tree.Type, span: Span, what: str) -> Any:
    from archlang.elaborate.instances import to_module

    if isinstance(value, Wire):
        fail(
            "ARC0201",
            f"{what} takes a module, not a wire",
            span,
            "this is already a wire",
            help="pass the layer itself",
        )
    module = to_module(cx, value, span, what)
    if isinstance(type, tree.ArrowType) and type.arrow in ("<->", ">->"):
        held = module.proto if isinstance(module, Run) else module
        held.arrow = held.arrow or type
    return module


def as_template(value: Any) -> Any:
    """The value as something that makes instances, or None."""
    if isinstance(value, (BlockTemplate, OpTemplate, ExternTemplate, Fn)):
        return value
    if isinstance(value, Builtin):
        return OpTemplate(registry()[value.name]) if value.name in registry() else value
    return None


def _refuse(value: Any, type: tree.Type, span: Span, what: str) -> Any:
    fail(
        "ARC0201",
        f"{what} takes {_article(type_text(type))}, not {describe(value)}",
        span,
        f"this is {describe(value)}",
        related=[(type.span, "declared here")],
    )


def _article(text: str) -> str:
    return f"an `{text}`" if text[0] in "aeiou" else f"a `{text}`"
