"""Fresh modules: instances of ops, blocks and extern blocks, and what functions give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archlang.elaborate.arguments import Arg, Args, bind, coerce, fits
from archlang.elaborate.builtins import call_builtin
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.op_arguments import op_instance
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
    OpTemplate,
    Run,
    Wire,
    describe,
    settled,
)
from archlang.ops.base import registry
from archlang.report.diagnostic import Span
from archlang.syntax import tree

__all__ = ["call_function", "instantiate", "to_module"]

_NO_ARGS = Args((), {})


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
    values = _block_arguments(cx, template, args, span)
    if isinstance(template, ExternTemplate):
        return ExternInstance(span=span, extern=template, args=values)
    if template.tree.alias is not None:
        return _alias_instance(cx, template, values, span)
    return BlockInstance(span=span, block=template, args=values)


def _block_arguments(
    cx: Activation, template: BlockTemplate | ExternTemplate, args: Args, span: Span
) -> dict[str, Any]:
    """Every parameter's value, in order of declaration, checked against its type."""
    params = template.tree.params
    bound = bind(cx, template.name, params, args, span)
    scope = Scope(template.module.scope, frame=True)
    callee = Activation(cx.session, template.module, scope)
    values: dict[str, Any] = {}
    for param in params:
        value, where = _argument(callee, param, bound, span, template.name)
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


def call_function(cx: Activation, fn: Fn, args: Args, span: Span) -> Any:
    """Runs a function of the elaboration language in the caller's graph."""
    from archlang.elaborate.statements import run_function

    bound = bind(cx, fn.name, fn.params, args, span)
    scope = Scope(fn.scope, frame=True)
    callee = Activation(cx.session, cx.module, scope, cx.builder, cx.block)
    cx.session.enter(fn.name, span)
    try:
        for param in fn.params:
            value, _ = _argument(callee, param, bound, span, fn.name)
            scope.names[param.name] = Binding(value, param.name_span, True, "parameter")
        if isinstance(fn.body, tuple):
            return run_function(callee, fn, span)
        return evaluate(callee, fn.body)
    finally:
        cx.session.leave()


def _argument(callee: Activation, param: tree.Param, bound: Mapping[str, Arg], span: Span, of: str) -> tuple[Any, Span]:
    """The argument given, or the default evaluated where the parameter stands (earlier parameters are visible); as the
    declared type. And where it is written. of: whose parameter it is."""
    value, where = None, span
    given = bound.get(param.name)
    if given is not None:
        value, where = given.value, given.span
    elif param.default is not None:
        value, where = evaluate(callee, param.default), param.default.span
    if not fits(value, param.type):
        value = coerce(callee, value, param.type, where, f"`{param.name}` of `{of}`", given)
    return value, where
