"""Calls: one rule for everything that can be called: wires apply, otherwise instantiate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archlang.elaborate.apply import apply
from archlang.elaborate.arguments import Arg, Args, arguments_text, bind, coerce, fits, op_argument, op_parameters
from archlang.elaborate.bounds import charge
from archlang.elaborate.builtins import call_builtin
from archlang.elaborate.copying import op_key, plain_keys
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.scope import Binding, Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockInstance,
    BlockTemplate,
    Builtin,
    ExternInstance,
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
from archlang.ops.base import REQUIRED, Op, OpError, registry
from archlang.ops.init import make
from archlang.report.diagnostic import Span
from archlang.report.suggest import nearest
from archlang.syntax import tree

__all__ = [
    "call_function",
    "call_value",
    "evaluate_args",
    "evaluate_call",
    "instantiate",
    "labelled",
    "op_instance",
    "to_module",
]

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


# -- functions ---------------------------------------------------------------------------------------------------------
def call_function(cx: Activation, fn: Fn, args: Args, span: Span) -> Any:
    """Runs a function of the elaboration language in the caller's graph."""
    from archlang.elaborate.statements import run_function

    bound = bind(cx, fn.name, fn.params, args, span)
    scope = Scope(fn.scope, frame=True)
    callee = Activation(cx.session, cx.module, scope, cx.builder, cx.block)
    cx.session.enter(fn.name, span)
    try:
        for param in fn.params:
            value, where = _argument(callee, param, bound, span)
            if not fits(value, param.type):
                what = f"`{param.name}` of `{fn.name}`"
                value = coerce(callee, value, param.type, where, what, bound.get(param.name))
            scope.names[param.name] = Binding(value, param.name_span, True, "parameter")
        if isinstance(fn.body, tuple):
            return run_function(callee, fn, span)
        return evaluate(callee, fn.body)
    finally:
        cx.session.leave()


def _argument(callee: Activation, param: tree.Param, bound: Mapping[str, Arg], span: Span) -> tuple[Any, Span]:
    """The argument given, or the default evaluated where the parameter stands (earlier parameters are visible)."""
    if param.name in bound:
        return bound[param.name].value, bound[param.name].span
    if param.default is None:
        return None, span
    return evaluate(callee, param.default), param.default.span


# -- instances ---------------------------------------------------------------------------------------------------------
def to_module(cx: Activation, value: Any, span: Span, what: str = "this") -> Any:
    """A module where one is expected: templates give a fresh instance, modules are themselves."""
    if isinstance(value, (Instance, Run)):
        return value
    if isinstance(value, (OpTemplate, BlockTemplate, ExternTemplate)):
        return instantiate(cx, value, _NO_ARGS, span)
    if isinstance(value, Builtin) and value.name in registry():
        return instantiate(cx, OpTemplate(registry()[value.name]), _NO_ARGS, span)
    if isinstance(value, Builtin) and value.name == "chain":
        return call_builtin(cx, "chain", _NO_ARGS, span)
    if isinstance(value, Fn):
        return to_module(cx, call_function(cx, value, _NO_ARGS, span), span, what)
    if isinstance(value, Wire):
        fail(
            "ARC0215",
            "a wire cannot stand where a module is expected",
            span,
            "this is a wire",
            help="wires flow from the left: `wire -> module`",
        )
    fail("ARC0201", f"{what} takes a module, not {describe(value)}", span, f"this is {describe(value)}")


def instantiate(cx: Activation, template: Any, args: Args, span: Span) -> Instance:
    """A fresh instance of an op, block or extern block. Arguments are parameters only."""
    if isinstance(template, OpTemplate):
        return op_instance(cx, template.op, args, span)
    assert isinstance(template, (BlockTemplate, ExternTemplate))
    values = block_arguments(cx, template, args, span)
    if isinstance(template, ExternTemplate):
        return ExternInstance(span=span, extern=template, args=values)
    if template.tree.alias is not None:
        return _alias_instance(cx, template, values, span)
    return BlockInstance(span=span, block=template, args=values)


def block_arguments(cx: Activation, template: BlockTemplate | ExternTemplate, args: Args, span: Span) -> dict[str, Any]:
    """Every parameter's value, in order of declaration, checked against its type."""
    params = template.tree.params
    bound = bind(cx, template.name, params, args, span)
    scope = Scope(template.module.scope, frame=True)
    callee = Activation(cx.session, template.module, scope)
    values: dict[str, Any] = {}
    for param in params:
        value, where = _argument(callee, param, bound, span)
        if not fits(value, param.type):
            what = f"`{param.name}` of `{template.name}`"
            value = coerce(callee, value, param.type, where, what, bound.get(param.name))
        value = settled(value)
        if isinstance(value, Wire):
            fail(
                "ARC0216",
                f"`{param.name}` of `{template.name}` is a parameter, not an input",
                where,
                "this is a wire",
                related=[(param.span, "declared here")],
            )
        values[param.name] = value
        scope.names[param.name] = Binding(value, param.name_span, True, "parameter")
    return values


def _alias_instance(cx: Activation, template: BlockTemplate, values: dict[str, Any], span: Span) -> Instance:
    """`block large(...) = net([3, 4, 6, 3], ...)`: what stands right of `=`, with the parameters bound."""
    scope = Scope(template.module.scope, frame=True)
    for param in template.tree.params:
        scope.bind(param.name, values[param.name], param.name_span, fixed=True, kind="parameter")
    callee = Activation(cx.session, template.module, scope)
    cx.session.enter(template.name, span)
    try:
        assert template.tree.alias is not None
        value = evaluate(callee, template.tree.alias)
        module = to_module(callee, value, template.tree.alias.span, f"`{template.name}`")
    finally:
        cx.session.leave()
    assert isinstance(module, Instance)
    return module


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
        extra = args.positional[len(params)]
        if args.positional[0].value == [] and any(p.variadic for p in op.inputs):
            fail("ARC0210", f"`{op.name}` gets no wires", args.positional[0].span, "this list is empty")
        fail(
            "ARC0202",
            f"`{op.name}` takes {arguments_text(len(params))}, not {len(args.positional)}",
            extra.span,
            "one too many",
            help=f"its parameters are {', '.join(params)}" if params else None,
        )
    collects = next(p for p in op.params if p.kind == "axes") if len(op.params) > len(params) else None
    axes: list[tuple[str, Any]] = []
    for name, arg in (*zip(params, args.positional, strict=False), *args.named.items()):
        if name not in params:
            if collects is not None:
                axes.append((name, arg.value))
                continue
            _unknown_parameter(op, name, list(params), arg)
        if name in values:
            fail("ARC0204", f"`{op.name}` gets `{name}` twice", arg.span, related=[(spans[name], "first here")])
        values[name] = op_argument(op, name, arg.value, arg.span)
        spans[name] = arg.span
    for name, param in params.items():
        if name not in values:
            if param.default is REQUIRED:
                fail(
                    "ARC0205",
                    f"`{op.name}` needs `{name}`",
                    span,
                    "missing in this call",
                    help=f"its parameters are {_signature(op)}",
                )
            values[name] = param.default
    if collects is not None:
        values[collects.name] = tuple(axes)
    return values


def _signature(op: Op) -> str:
    parts = [p.name if p.default is REQUIRED else f"{p.name}={_literal(p.default)}" for p in op.params]
    return ", ".join(parts)


def _literal(value: Any) -> str:
    """A default as a spec writes it."""
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "none"}[value]
    return repr(value)


def _unknown_parameter(op: Op, name: str, names: list[str], arg: Arg) -> None:
    from archlang.report.diagnostic import Fix

    close = nearest(name, names)
    span = arg.name_span or arg.span
    fail(
        "ARC0203",
        f"`{op.name}` has no parameter `{name}`",
        span,
        "unknown name",
        help=f"did you mean `{close}`?" if close else f"its parameters are {_signature(op)}",
        fix=Fix(span, close) if close else None,
    )


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
