"""Evaluating expressions: elaboration values at once, wires by adding nodes to the graph at hand."""

from __future__ import annotations

from typing import Any

from archlang.elaborate import operators
from archlang.elaborate.apply import apply
from archlang.elaborate.arguments import Args
from archlang.elaborate.bounds import bounded, charge
from archlang.elaborate.builtins import check_length, floor_of_quotient, text_of
from archlang.elaborate.calls import call_value, evaluate_args, evaluate_call, labelled
from archlang.elaborate.comprehension import comprehension
from archlang.elaborate.dispatch import EVALUATE, evaluate
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.instances import to_module
from archlang.elaborate.names import lookup
from archlang.elaborate.session import Activation, NeedConcrete
from archlang.elaborate.streams import streams_of
from archlang.elaborate.values import (
    POISON,
    Composition,
    Fn,
    IndexRange,
    Instance,
    LabelText,
    Namespace,
    Phase,
    Record,
    Run,
    Streams,
    Wire,
    describe,
    expand,
    has_wire,
)
from archlang.report.diagnostic import Fix
from archlang.report.suggest import nearest
from archlang.shapes.dim import Dim
from archlang.syntax import tree

__all__ = ["condition", "evaluate", "evaluate_label", "evaluate_lazily"]


# -- literals and names ------------------------------------------------------------------------------------------------
def _number(cx: Activation, expr: tree.Number) -> Any:
    return expr.value


def _bool(cx: Activation, expr: tree.Bool) -> Any:
    return expr.value


def _none(cx: Activation, expr: tree.NoneLit) -> Any:
    return None


def _string(cx: Activation, expr: tree.String) -> str:
    parts = [p if isinstance(p, str) else text_of(evaluate(cx, p), p.span) for p in expr.parts]
    return str(bounded(cx, "".join(parts), expr.span))


def _name(cx: Activation, expr: tree.Name) -> Any:
    name, scope = expr.id, cx.scope
    while name not in scope.names:  # as `lookup` does, without its calls: half of all expressions are names
        if scope.parent is None:
            value = lookup(cx, expr)
            break
        scope = scope.parent
    else:
        value = scope.names[name].value
    if value is POISON:
        raise Poisoned(name)
    if value.__class__ is IndexRange:
        raise NeedConcrete
    return value


def _lambda(cx: Activation, expr: tree.Lambda) -> Fn:
    if cx.session.abstract:
        from archlang.elaborate.copying import free_names

        for name in free_names(expr.body):
            binding = cx.scope.find(name)
            if binding is not None and isinstance(binding.value, IndexRange):
                raise NeedConcrete
    return Fn("fn", expr.params, expr.body, cx.scope, expr.span)


# -- operators ---------------------------------------------------------------------------------------------------------
def _unary(cx: Activation, expr: tree.Unary) -> Any:
    value = evaluate(cx, expr.operand)
    return operators.unary(cx, expr, value)


def _binary(cx: Activation, expr: tree.Binary) -> Any:
    if expr.op in ("and", "or"):
        left = condition(cx, expr.left)
        if isinstance(left, Phase):
            fail(
                "ARC0263",
                "`training` cannot be combined with other conditions",
                expr.span,
                help="nest the two: `if training { if c { ... } }`",
            )
        return condition(cx, expr.right) if left == (expr.op == "and") else left
    if cx.session.abstract and expr.op in operators.COMPARISONS:
        left, right = _maybe_index(cx, expr.left), _maybe_index(cx, expr.right)
        if isinstance(left, IndexRange) or isinstance(right, IndexRange):
            return operators.compare_interval(expr.op, left, right)
        return operators.binary(cx, expr, left, right)
    return operators.binary(cx, expr, evaluate(cx, expr.left), evaluate(cx, expr.right))


def _maybe_index(cx: Activation, expr: tree.Expr) -> Any:
    if isinstance(expr, tree.Name):
        return cx.read(expr.id, lookup(cx, expr))
    return evaluate(cx, expr)


def _range(cx: Activation, expr: tree.Range) -> range:
    low, high = (_bound(cx, e) for e in (expr.lower, expr.upper))
    check_length(cx, high - low, expr.span)
    return range(low, high)


def _bound(cx: Activation, expr: tree.Expr) -> int:
    value = evaluate(cx, expr)
    if isinstance(value, Dim):
        fail(
            "ARC0305",
            f"a loop cannot run over a symbolic size ({value})",
            expr.span,
            help="loops are unrolled when the network is built; declare the size as a number",
        )
    if isinstance(value, bool) or not isinstance(value, int):
        fail("ARC0201", f"a range runs between ints, not {describe(value)}", expr.span)
    return value


def condition(cx: Activation, expr: tree.Expr) -> bool | Phase:
    """A condition: a bool of elaboration, or the phase `training`."""
    value = evaluate(cx, expr)
    if isinstance(value, (bool, Phase)):
        return value
    if isinstance(value, Wire):
        fail(
            "ARC0264",
            "a condition cannot depend on what flows through the network",
            expr.span,
            "this is a wire",
            help="conditions are decided when the network is built; `where(c, a, b)` chooses element by element",
        )
    if isinstance(value, Dim):
        fail("ARC0305", f"a condition cannot depend on a symbolic size ({value})", expr.span)
    help = "compare with `none`: `x != none`" if value is None else "compare it: `n > 0`, `len(xs) > 0`"
    fail("ARC0201", f"a condition is a bool, not {describe(value)}", expr.span, help=help)


def _conditional(cx: Activation, expr: tree.Conditional) -> Any:
    chosen = condition(cx, expr.condition)
    if isinstance(chosen, Phase):
        from archlang.elaborate.phases import either

        return either(cx, chosen, expr)
    return evaluate(cx, expr.then if chosen else expr.otherwise)


# -- displays ----------------------------------------------------------------------------------------------------------
def _elements(cx: Activation, items: tuple[tree.Expr, ...]) -> list[Any]:
    values: list[Any] = []
    for item in items:
        if isinstance(item, tree.Star):
            value = evaluate(cx, item.value)
            if isinstance(value, range):
                value = list(value)
            if not isinstance(value, (list, tuple)):
                fail("ARC0209", f"`*` takes a list, not {describe(value)}", item.span)
            values += value
        elif isinstance(item, tree.Guarded):
            if condition(cx, item.condition):
                values.append(evaluate(cx, item.value))
        else:
            values.append(evaluate(cx, item))
    bounded(cx, values, items[0].span)
    return values


def _list(cx: Activation, expr: tree.ListDisplay) -> list[Any]:
    return _elements(cx, expr.items) if expr.items else []


def _tuple(cx: Activation, expr: tree.TupleDisplay) -> Any:
    items = tuple(_elements(cx, expr.items)) if expr.items else ()
    if expr.context:
        return Streams(items, tuple(_elements(cx, expr.context)))
    return items


def _paren(cx: Activation, expr: tree.Paren) -> Any:
    return evaluate(cx, expr.value)


# -- labels and flows --------------------------------------------------------------------------------------------------
def evaluate_label(cx: Activation, expr: tree.Labelled) -> LabelText:
    if expr.label is None:
        return LabelText("", expr.label_span)
    path = _string(cx, expr.label)
    if not path:
        fail("ARC0406", "a label cannot be empty", expr.label_span, help="`_:` adds no path segment")
    return LabelText(path, expr.label_span)


def _labelled(cx: Activation, expr: tree.Labelled, flowing: Streams | None = None) -> Any:
    label = evaluate_label(cx, expr)
    inner = expr.value
    value = evaluate_call(cx, inner, label, flowing) if isinstance(inner, tree.Call) else evaluate(cx, inner)
    if has_wire(value):
        if not isinstance(inner, tree.Call):
            fail(
                "ARC0414",
                "a label names a module, and this is a wire",
                expr.label_span,
                "names nothing",
                help="label the layer that makes it: `x -> name: layer`, or bind the wire: `name = ...`",
            )
        return value
    module: Instance = to_module(cx, value, inner.span, "a label")
    if module.owner is not None:
        return _alias(cx, module, label)
    if module.label is None or not isinstance(inner, tree.Call):
        module.label = label
    return module


def _alias(cx: Activation, module: Instance, label: LabelText) -> Instance:
    """A second label on a shared module: torch lists both paths."""
    builder = cx.graph_builder(label.span)
    if module.owner is not builder or module.borrowed:
        fail(
            "ARC0412",
            "a module that belongs elsewhere cannot be renamed",
            label.span,
            related=[(module.span, "made here")],
        )
    if label.path and label.path != module.path and label.path not in builder.graph.aliases:
        builder.reserve(label.path, label.span)
        builder.graph.aliases[label.path] = module.path or ""
    return module


def _flow(cx: Activation, expr: tree.Flow) -> Any:
    value = evaluate(cx, expr.steps[0])
    if isinstance(value, Streams) or has_wire(value) or _is_none_stream(value):
        for step in expr.steps[1:]:
            value = _step(cx, value, step)
        return value
    parts: list[Instance | Run] = []
    for number, step in enumerate(expr.steps):
        part = value if number == 0 else evaluate(cx, step)
        if has_wire(part):
            fail(
                "ARC0215",
                "a wire stands inside a composition of modules",
                step.span,
                "this is a wire",
                help="wires come first: `wire -> module -> module`",
            )
        module = to_module(cx, part, step.span, "a step of a flow")
        flat = isinstance(module, Composition) and not module.chained and module.label is None and module.owner is None
        parts += module.parts if flat and isinstance(module, Composition) else [module]
        check_length(cx, len(parts), step.span)
    return Composition(span=expr.span, parts=parts)


def _is_none_stream(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and bool(value) and any(v is None for v in value))


def _step(cx: Activation, value: Any, step: tree.Expr) -> Any:
    """Feeds wires into one step."""
    streams = streams_of(value)
    inner, label = step, None
    if isinstance(inner, tree.Labelled):
        label = evaluate_label(cx, inner)
        inner = inner.value
    if isinstance(inner, tree.Call):
        func = evaluate(cx, inner.func)
        args = evaluate_args(cx, inner)
        if args.has_wires and any(has_wire(a.value) for a in (*args.positional, *args.named.values())):
            return call_value(cx, func, args, inner.span, label, streams)
        module = call_value(cx, func, args, inner.span, label)
    elif label is not None:
        module = _labelled(cx, step)  # type: ignore[arg-type]
    else:
        module = evaluate(cx, inner)
    if label is not None and isinstance(inner, tree.Call):
        module = to_module(cx, module, inner.span)
        if isinstance(module, Instance) and module.owner is not None:
            module = _alias(cx, module, label)
        else:
            labelled(module, label)
    return apply(cx, to_module(cx, module, step.span), streams, step.span)


# -- calls, attributes, indices ----------------------------------------------------------------------------------------
def evaluate_lazily(cx: Activation, name: str, call: tree.Call) -> Any:
    """`floor(a / b)`: an exact integer division, also of symbolic sizes. None where it is not of that form."""
    if len(call.args) != 1 or call.args[0].name is not None or call.args[0].star:
        return None
    inner = call.args[0].value
    if not (isinstance(inner, tree.Binary) and inner.op == "/"):
        return None
    left, right = evaluate(cx, inner.left), evaluate(cx, inner.right)
    sizes = (int, Dim)
    whole = isinstance(left, sizes) and isinstance(right, sizes)
    if whole and not isinstance(left, bool) and not isinstance(right, bool) and right != 0:
        return floor_of_quotient(name, left, right)
    from archlang.elaborate.arguments import Arg
    from archlang.elaborate.values import Builtin

    value = operators.binary(cx, inner, left, right)
    return call_value(cx, Builtin(name), Args([Arg(value, inner.span)], {}, (), has_wire(value)), call.span)


def _attribute(cx: Activation, expr: tree.Attribute) -> Any:
    value = evaluate(cx, expr.value)
    if isinstance(value, Namespace):
        found = value.module.scope.names.get(expr.name)
        if found is not None and expr.name not in value.module.private:
            return cx.read(expr.name, found.value)
        close = nearest(expr.name, value.module.public_names())
        fail(
            "ARC0102",
            f"`{expr.value.span.text}` has no `{expr.name}`",
            expr.name_span,
            "unknown name",
            help=f"did you mean `{close}`?" if close else None,
            fix=Fix(expr.name_span, close) if close else None,
        )
    if isinstance(value, Record) and expr.name in value.names:
        return value[value.names.index(expr.name)]
    if isinstance(value, Wire):
        return operators.wire_attribute(value, expr)
    fail(
        "ARC0265",
        f"{describe(value)} has no `{expr.name}`",
        expr.name_span,
        help="wires have channels, features, shape, spatial, rank and dtype",
    )


def _index(cx: Activation, expr: tree.Index) -> Any:
    value = evaluate(cx, expr.value)
    if isinstance(value, Wire):
        return operators.index_wire(cx, value, expr)
    charge(cx, value, expr.span)
    if isinstance(value, range):
        value = list(value)
    if isinstance(value, (list, tuple, str)):
        items = expand(value) if isinstance(value, (list, tuple)) else value
        return operators.index_list(cx, items, expr)
    fail("ARC0266", f"{describe(value)} cannot be indexed", expr.span, help="lists, strings and wires can")


def _misplaced(cx: Activation, expr: tree.Expr) -> Any:
    what = {tree.Ellipsis: "`...`", tree.Slice: "a slice", tree.Star: "`*`", tree.Guarded: "`e if c`"}[type(expr)]
    fail("ARC0267", f"{what} cannot stand here", expr.span)


EVALUATE |= {
    tree.Number: _number,
    tree.Bool: _bool,
    tree.NoneLit: _none,
    tree.String: _string,
    tree.Name: _name,
    tree.Lambda: _lambda,
    tree.Unary: _unary,
    tree.Binary: _binary,
    tree.Range: _range,
    tree.Conditional: _conditional,
    tree.ListDisplay: _list,
    tree.TupleDisplay: _tuple,
    tree.Paren: _paren,
    tree.Labelled: _labelled,
    tree.Flow: _flow,
    tree.Call: evaluate_call,
    tree.Attribute: _attribute,
    tree.Index: _index,
    tree.Comprehension: comprehension,
    tree.Ellipsis: _misplaced,
    tree.Slice: _misplaced,
    tree.Star: _misplaced,
    tree.Guarded: _misplaced,
}
