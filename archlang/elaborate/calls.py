"""Calls: one rule for everything that can be called: wires apply, otherwise instantiate."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.apply import apply
from archlang.elaborate.arguments import Arg, Args
from archlang.elaborate.bounds import charge
from archlang.elaborate.builtins import call_builtin
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.instances import call_function, instantiate
from archlang.elaborate.op_arguments import op_instance
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockInstance,
    BlockTemplate,
    Builtin,
    ExternTemplate,
    Fn,
    Instance,
    LabelText,
    OpInstance,
    OpTemplate,
    Record,
    Run,
    Streams,
    Wire,
    describe,
    expand,
    has_wire,
    settled,
)
from archlang.ir.graph import Init
from archlang.ops.base import Op, OpError, registry
from archlang.ops.init import make
from archlang.report.diagnostic import Span
from archlang.syntax import tree

__all__ = ["call_value", "evaluate_args", "evaluate_call", "labelled"]

_NO_ARGS = Args((), {})


def evaluate_call(
    cx: Activation, call: tree.Call, label: LabelText | None = None, flowing: Streams | None = None
) -> Any:
    """A call expression; `flowing` are the wires left of `->`, where it is a step of a flow."""
    func = evaluate(cx, call.func)
    if func.__class__ is Builtin and func.name in ("floor", "ceil"):
        from archlang.elaborate.expressions import evaluate_lazily

        special = evaluate_lazily(cx, func.name, call)
        if special is not None:
            return special
    args = evaluate_args(cx, call)
    return call_value(cx, func, args, call.span, label, flowing)


_SEVERAL = (list, tuple, range, Record)


def evaluate_args(cx: Activation, call: tree.Call) -> Args:
    if not call.args:
        return _NO_ARGS
    positional: list[Arg] = []
    named: dict[str, Arg] = {}
    context: list[Arg] = []
    wires = False
    for arg in call.args:
        value = evaluate(cx, arg.value)
        items: tuple[Span, ...] = ()
        if value.__class__ is Wire:
            wires = True
        elif value.__class__ in _SEVERAL:
            wires = wires or has_wire(value)
            charge(cx, value, arg.span)
            if not arg.star and not arg.context:
                value, items = settled(value), _items(arg.value)
        if arg.star:
            value = list(value) if isinstance(value, range) else value
            if not isinstance(value, (list, tuple)):
                fail("ARC0209", f"`*` takes a list, not {describe(value)}", arg.span)
            positional += [Arg(v, arg.span) for v in expand(value)]
        elif arg.context:
            context.append(Arg(value, arg.span))
        elif arg.name is not None:
            if arg.name in named:
                fail(
                    "ARC0204", f"`{arg.name}` is given twice", arg.span, related=[(named[arg.name].span, "first here")]
                )
            named[arg.name] = Arg(value, arg.value.span, arg.name_span, items)
        else:
            positional.append(Arg(value, arg.span, None, items))
    return Args(positional, named, context, wires)


def _items(expr: tree.Expr) -> tuple[Span, ...]:
    """Where each element of a list stands that is written out."""
    if isinstance(expr, tree.ListDisplay) and not any(isinstance(i, (tree.Star, tree.Guarded)) for i in expr.items):
        return tuple(item.span for item in expr.items)
    return ()


def call_value(
    cx: Activation, func: Any, args: Args, span: Span, label: LabelText | None = None, flowing: Streams | None = None
) -> Any:
    """Applies a called value to evaluated arguments. Without wires, blocks and ops give an instance."""
    if isinstance(func, Fn):
        return call_function(cx, func, args, span)
    wires = args.has_wires
    if isinstance(func, OpTemplate):
        return _call_op(cx, func.op, args, span, label, flowing, wires)
    if isinstance(func, BlockTemplate):
        return _call_block(cx, func, args, span, label, flowing, wires)
    if isinstance(func, Builtin):
        if wires and func.name in registry() and func.name not in ("len", "zip", "enumerate", "reversed"):
            return _call_op(cx, registry()[func.name], args, span, label, flowing, wires)
        return call_builtin(cx, func.name, args, span)
    if isinstance(func, (Instance, Run)):
        return _call_module(cx, func, args, span, flowing)
    if isinstance(func, Init):
        return _call_init(cx, func, args, span)
    if isinstance(func, ExternTemplate):
        plain = Args([a for a in args.positional if not has_wire(a.value)], args.named)
        inst = instantiate(cx, func, plain, span)
        labelled(inst, label)
        given = [a.value for a in args.positional if has_wire(a.value)]
        return apply(cx, inst, Streams(tuple(given)), span) if given else inst
    fail("ARC0214", f"{describe(func)} cannot be called", span, help="blocks, ops, modules and functions can be called")


def labelled(value: Any, label: LabelText | None) -> Any:
    """Attaches a label to a fresh module."""
    if label is not None and isinstance(value, Instance):
        value.label = label
    return value


# -- wires among the arguments -----------------------------------------------------------------------------------------
def _call_op(
    cx: Activation, op: Op, args: Args, span: Span, label: LabelText | None, flowing: Streams | None, wires: bool
) -> Any:
    if not wires and flowing is None and all(p.optional for p in op.inputs):
        return apply(cx, labelled(op_instance(cx, op, args, span), label), Streams(()), span)
    if not wires:
        empty = next((a for a in args.positional if a.value == []), None) if op.inputs[0].variadic else None
        if empty is not None:
            fail("ARC0210", f"`{op.name}` gets no wires", empty.span, "the list is empty")
        return labelled(op_instance(cx, op, args, span), label)
    inputs = [p.name for p in op.inputs]
    streams: list[Any] = [] if flowing is None else [*flowing.items]
    positional: list[Arg] = []
    named = {k: a for k, a in args.named.items() if k not in inputs}
    place = len(streams)
    for arg in args.positional:
        number = op.inputs[place].number if place < len(op.inputs) else None
        if has_wire(arg.value):
            streams.append(arg.value)
            place += 1
        elif number is not None and number not in named:
            named[number] = arg
            place += 1
        else:
            positional.append(arg)
    plain = Args(positional, named)
    by_name = {k: a.value for k, a in args.named.items() if k in inputs}
    if by_name:
        rest = iter(streams)
        ordered = [by_name[name] if name in by_name else next(rest, None) for name in inputs]
        streams = [*ordered, *rest]
        while streams and streams[-1] is None:
            streams.pop()
    inst = labelled(op_instance(cx, op, plain, span), label)
    return apply(cx, inst, Streams(tuple(streams), tuple(a.value for a in args.context)), span)


def _call_block(
    cx: Activation,
    block: BlockTemplate,
    args: Args,
    span: Span,
    label: LabelText | None,
    flowing: Streams | None,
    wires: bool,
) -> Any:
    inputs = [p for p in block.tree.inputs or () if not p.context]
    none_needed = block.tree.inputs is not None and not block.tree.inputs
    if not wires and not none_needed:
        return labelled(instantiate(cx, block, args, span), label)
    names = {p.name for p in block.tree.inputs or ()}
    streams: list[Any] = []
    positional: list[Arg] = []
    before = len(flowing.items) if flowing is not None else 0
    for arg in args.positional:
        place = before + len(streams)
        left_out = arg.value is None and place < len(inputs) and getattr(inputs[place].type, "optional", False)
        if left_out or has_wire(arg.value):  # `b(x, none)`: an input that is left out
            streams.append(arg.value)
        else:
            positional.append(arg)
    plain = Args(positional, {k: a for k, a in args.named.items() if k not in names})
    by_name = {k: a.value for k, a in args.named.items() if k in names}
    if flowing is not None:
        streams = [*flowing.items, *streams]
    if by_name:
        rest = iter(streams)
        streams = [by_name[p.name] if p.name in by_name else next(rest, None) for p in inputs] + list(rest)
    context = [a.value for a in args.context] or list(flowing.context if flowing else ())
    _no_wire_for_module(block, plain, args, len(streams) - len(inputs))
    inst = labelled(instantiate(cx, block, plain, span), label)
    return apply(cx, inst, Streams(tuple(streams), tuple(context)), span)


def _no_wire_for_module(block: BlockTemplate, plain: Args, args: Args, surplus: int) -> None:
    """Refuses `x -> residual(relu(x))`: a wire too many, and a module missing."""
    given = {p.name for p in block.tree.params[: len(plain.positional)]} | set(plain.named)
    missing = next((p for p in block.tree.params if p.name not in given and p.default is None), None)
    wire = next((a for a in args.positional if has_wire(a.value)), None)
    if surplus <= 0 or missing is None or wire is None or getattr(missing.type, "name", "") not in ("module", "block"):
        return
    fail(
        "ARC0215",
        f"`{missing.name}` of `{block.name}` takes a module, and this is a wire",
        wire.span,
        "this is a wire",
        related=[(missing.span, "declared here")],
        help="pass the layer itself, as in `residual(conv(64, 3))`; it is applied inside",
    )


def _call_module(cx: Activation, module: Instance | Run, args: Args, span: Span, flowing: Streams | None) -> Any:
    """`layer(x)`, `level(below, above; ctx)`: a module's arguments are its inputs."""
    streams = [a.value for a in args.positional]
    if args.named:
        names = _input_names(module)
        for name, arg in args.named.items():
            if name not in names:
                fail(
                    "ARC0203",
                    f"the module has no input `{name}`",
                    arg.name_span or arg.span,
                    help=f"its inputs are {', '.join(names)}; parameters are given when it is made",
                )
            index = names.index(name)
            streams += [None] * (index + 1 - len(streams))
            streams[index] = arg.value
    for arg in args.positional:
        if not has_wire(arg.value) and arg.value is not None:
            fail(
                "ARC0212",
                f"a module is applied to wires, and this is {describe(arg.value)}",
                arg.span,
                help="parameters are given where the module is made",
            )
    if flowing is not None:
        streams = [*flowing.items, *streams]
    if not streams:
        fail(
            "ARC0210",
            "a module is called without wires",
            span,
            help="`layer(x)` applies it; `layer` alone is the module",
        )
    return apply(cx, module, Streams(tuple(streams), tuple(a.value for a in args.context)), span)


def _input_names(module: Instance | Run) -> list[str]:
    if isinstance(module, BlockInstance):
        return [p.name for p in module.block.tree.inputs or ()]
    if isinstance(module, OpInstance):
        return [p.name for p in module.op.inputs]
    return []


# -- initialisers ------------------------------------------------------------------------------------------------------
def _call_init(cx: Activation, init: Init, args: Args, span: Span) -> Any:
    """`normal(std=0.02)`; `zeros([2, 3])` with a shape is the constant tensor."""
    if init.name in ("zeros", "ones") and (args.positional or args.named):
        value = Arg(0.0 if init.name == "zeros" else 1.0, span)
        named = {"dtype": Arg("float", span), **args.named}
        given = [args.positional[0], value, *args.positional[1:]] if args.positional else []
        full = Args(given, named, (), args.has_wires)
        return call_value(cx, OpTemplate(registry()["full"]), full, span)
    try:
        return make(init.name, [a.value for a in args.positional], {k: a.value for k, a in args.named.items()})
    except OpError as error:
        where = args.named[error.param].span if error.param and error.param in args.named else span
        fail(error.code, error.message, where, help=error.help)
