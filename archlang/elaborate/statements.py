"""Executing statements. A statement that fails is reported and its names are poisoned; the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archlang.elaborate.builtins import text_of
from archlang.elaborate.comprehension import iterate
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.expressions import condition, evaluate
from archlang.elaborate.graph_calls import add_outputs
from archlang.elaborate.moves import fresh, record
from archlang.elaborate.operators import binary
from archlang.elaborate.patterns import check_result
from archlang.elaborate.phases import run_both
from archlang.elaborate.session import Activation
from archlang.elaborate.targets import assign_target, target_names
from archlang.elaborate.values import (
    POISON,
    Fn,
    Phase,
    Record,
    Wire,
    describe,
)
from archlang.elaborate.weights import declare_weight
from archlang.ir.graph import Output
from archlang.report.diagnostic import ArchError, Span
from archlang.syntax import tree

__all__ = ["Returned", "execute", "run_body", "run_function", "run_inline"]


class Returned:
    """What a `return` gives. Statements hand it up: an exception would keep every frame below it alive."""

    __slots__ = ("items", "span", "values")

    def __init__(self, items: tuple[tree.ReturnItem, ...], values: list[Any], span: Span) -> None:
        self.items = items
        self.values = values
        self.span = span


# -- bodies ------------------------------------------------------------------------------------------------------------
def run_body(cx: Activation, block: tree.Block) -> None:
    """Runs a block's body in its own graph and makes the graph's outputs."""
    builder = cx.builder
    assert builder is not None
    before = cx.session.error_count
    returned = execute(cx, block.body)
    if cx.session.error_count > before:
        raise Poisoned
    if returned is None:
        streams = _streams(cx, block)
        add_outputs(builder, tuple(streams) if len(streams) > 1 else streams[0], block.name_span)
    else:
        _add_returned(cx, returned)
    check_result(cx, block, returned.span if returned is not None else block.name_span)


def _streams(cx: Activation, block: tree.Block) -> list[Any]:
    """What a reversible block returns: its declared streams, in order, then the new ones."""
    if not block.reversible:
        fail(
            "ARC0274",
            f"`{block.name}` returns nothing",
            block.name_span,
            "no `return` is reached for these arguments" if _has_return(block.body) else "no `return` in its body",
            help="end it with `return x`",
        )
    names = [p.name for p in block.inputs or () if not p.context] + cx.new_streams
    return [cx.read(n, cx.scope.names[n].value) for n in names]


def _has_return(body: Sequence[tree.Stmt]) -> bool:
    return any(
        isinstance(stmt, tree.Return)
        or (isinstance(stmt, tree.If) and (_has_return(stmt.then) or _has_return(stmt.otherwise)))
        or (isinstance(stmt, tree.For) and _has_return(stmt.body))
        for stmt in body
    )


def _add_returned(cx: Activation, returned: Returned) -> None:
    builder = cx.builder
    assert builder is not None
    for item, value in zip(returned.items, returned.values, strict=True):
        name = item.name or ""
        values = [*value] if isinstance(value, (tuple, Record)) and item.name is None else [value]
        names = value.names if isinstance(value, Record) and item.name is None else [name] * len(values)
        for one, called in zip(values, names, strict=True):
            if isinstance(one, list) and all(isinstance(w, Wire) for w in one):
                builder.graph.outputs.append(Output(tuple(w.value for w in one), called, "tensors", item.training))
                continue
            if not isinstance(one, Wire):
                fail(
                    "ARC0275",
                    f"a block returns wires, not {describe(one)}",
                    item.span,
                    help="an elaboration value is returned by a `fn`",
                )
            if one.phase is not None and not item.training:
                fail(
                    "ARC0260",
                    "this wire exists in one phase only",
                    item.span,
                    "returned in both",
                    related=[(one.span, "made here")],
                    help="return it as `training name=...`",
                )
            builder.graph.outputs.append(Output((one.value,), called, training=item.training))


def run_inline(cx: Activation, block: tree.Block, span: Span) -> Any:
    """Runs a transparent block's body in the caller's graph; gives what it returns."""
    before = cx.session.error_count
    returned = execute(cx, block.body)
    if cx.session.error_count > before:
        raise Poisoned
    if returned is None:
        streams = _streams(cx, block)
        return streams[0] if len(streams) == 1 else tuple(streams)
    if len(returned.values) == 1 and returned.items[0].name is None:
        return returned.values[0]
    return Record.of(returned.values, [i.name or "" for i in returned.items])


def run_function(cx: Activation, fn: Fn, span: Span) -> Any:
    """Runs the body of a `fn name(...) { ... }`."""
    assert isinstance(fn.body, tuple)
    before = cx.session.error_count
    returned = execute(cx, fn.body)
    if cx.session.error_count > before:
        raise Poisoned
    if returned is None:
        fail("ARC0274", f"`{fn.name}` returns nothing for these arguments", span, related=[(fn.span, "declared here")])
    if len(returned.values) == 1:
        return returned.values[0]
    return tuple(returned.values)


# -- statements --------------------------------------------------------------------------------------------------------
def execute(cx: Activation, body: Sequence[tree.Stmt]) -> Returned | None:
    """Runs statements in order up to a `return`, each reporting its own mistakes."""
    for stmt in body:
        cx.session.tick(stmt.span)
        try:
            returned = _EXECUTE[type(stmt)](cx, stmt)
            if returned is not None:
                return returned
        except ArchError as error:
            if cx.session.abstract:
                raise
            cx.session.report(error)
            _poison(cx, stmt)
        except Poisoned:
            _poison(cx, stmt)
    return None


def _poison(cx: Activation, stmt: tree.Stmt) -> None:
    """Names that a failed statement would have bound are known, and say nothing more."""
    if isinstance(stmt, tree.Return):
        raise Poisoned
    for name in _bound_names(stmt):
        holder = cx.scope.holder(name) or cx.scope
        holder.bind(name, POISON, stmt.span)


def _bound_names(stmt: tree.Stmt) -> list[str]:
    if isinstance(stmt, (tree.Let, tree.Assign)):
        return target_names(stmt.target)
    if isinstance(stmt, (tree.Weight, tree.New, tree.Function)):
        return [stmt.name]
    if isinstance(stmt, tree.If):
        return [n for s in (*stmt.then, *stmt.otherwise) for n in _bound_names(s)]
    if isinstance(stmt, tree.For):
        return [n for s in stmt.body for n in _bound_names(s)]
    return []


def _let(cx: Activation, stmt: tree.Let) -> None:
    value = evaluate(cx, stmt.value)
    assign_target(cx, stmt.target, value, fixed=True)


def _assign(cx: Activation, stmt: tree.Assign) -> None:
    if cx.moves is None:
        _rebind(cx, stmt)
        return
    names = target_names(stmt.target)
    record(cx, "update" if stmt.op else "assign", stmt.span, names, lambda: _rebind(cx, stmt))


def _rebind(cx: Activation, stmt: tree.Assign) -> None:
    if not stmt.op:
        value = evaluate(cx, stmt.value)
    else:
        old = evaluate(cx, stmt.target)
        right = evaluate(cx, stmt.value)
        if stmt.op == "+" and isinstance(old, list) and not isinstance(right, list):
            fail(
                "ARC0276",
                f"`+=` appends a list to a list, and this is {describe(right)}",
                stmt.value.span,
                help=f"write `{stmt.target.span.text} += [{stmt.value.span.text}]`",
            )
        expr = tree.Binary(stmt.span, stmt.op, stmt.target, stmt.value, stmt.span)
        value = binary(cx, expr, old, right)
    assign_target(cx, stmt.target, value)


def _if(cx: Activation, stmt: tree.If) -> Returned | None:
    chosen = condition(cx, stmt.condition)
    if isinstance(chosen, Phase):
        return run_both(cx, chosen, stmt)
    # The arm that is taken shares its block's names: what it binds is there afterwards.
    return execute(cx, stmt.then if chosen else stmt.otherwise)


def _for(cx: Activation, stmt: tree.For) -> Returned | None:
    from archlang.elaborate.builtins import check_length

    items = iterate(cx, evaluate(cx, stmt.iterable), stmt.iterable)
    check_length(cx, len(items), stmt.iterable.span)
    builder = cx.builder
    before = cx.session.error_count
    for number, item in enumerate(items):
        if builder is not None:
            builder.iterations.append(number)
        try:
            for name in target_names(stmt.target):
                if name in cx.scope.names and not cx.scope.frame:
                    del cx.scope.names[name]
            inner = cx.nested()
            assign_target(inner, stmt.target, item, fixed=True)
            returned = execute(inner, stmt.body)
        finally:
            if builder is not None:
                builder.iterations.pop()
        if returned is not None:
            return returned
        if cx.session.error_count > before:  # the other iterations would say the same
            raise Poisoned
    return None


def _return(cx: Activation, stmt: tree.Return) -> Returned:
    if cx.builder is not None and cx.builder.phase is not None and cx.block and not _in_function(cx):
        fail(
            "ARC0281",
            "a block cannot return from inside an arm of `training`",
            stmt.span,
            help="return after it: `return x, training aux=a`",
        )
    if not stmt.items:
        fail("ARC0274", "this `return` gives nothing", stmt.span, help="write `return x`")
    values = [evaluate(cx, item.value) for item in stmt.items]
    return Returned(stmt.items, values, stmt.span)


def _in_function(cx: Activation) -> bool:
    return bool(cx.session.stack) and cx.session.stack[-1][0] != cx.block


def _weight(cx: Activation, stmt: tree.Weight) -> None:
    wire = declare_weight(cx, stmt)
    cx.scope.bind(stmt.name, wire, stmt.name_span)


def _new(cx: Activation, stmt: tree.New) -> None:
    if cx.moves is None:
        fail(
            "ARC0601",
            "`new` creates a stream, in a reversible block only",
            stmt.span,
            help=f"write `{stmt.name} = ...`",
        )
    value = evaluate(cx, stmt.value)
    wires = value if isinstance(value, list) and value else [value]
    if not all(isinstance(wire, Wire) for wire in wires):
        fail("ARC0601", f"a stream is a wire or a list of wires, not {describe(value)}", stmt.value.span)
    own = fresh(cx, stmt.name, wires, stmt.span)
    value = own if isinstance(value, list) else own[0]
    cx.new_streams.append(stmt.name)
    frame = cx.scope
    while not frame.frame and frame.parent is not None:
        frame = frame.parent
    record(cx, "new", stmt.span, [stmt.name], lambda: frame.bind(stmt.name, value, stmt.name_span))


def _emit(cx: Activation, stmt: tree.Emit) -> None:
    value = evaluate(cx, stmt.value)
    if not isinstance(value, Wire):
        fail("ARC0282", f"`emit` sends out a wire, not {describe(value)}", stmt.value.span)
    builder = cx.graph_builder(stmt.span)
    name = stmt.name + "".join(f"_{i}" for i in builder.iterations)
    builder.emits.append((name, value))


def _assert(cx: Activation, stmt: tree.Assert) -> None:
    holds = condition(cx, stmt.condition)
    if holds is True:
        return
    if isinstance(holds, Phase):
        fail("ARC0263", "`assert` is decided when the network is built", stmt.span)
    message = text_of(evaluate(cx, stmt.message), stmt.message.span) if stmt.message is not None else None
    fail("ARC0283", message or f"`{stmt.condition.span.text}` does not hold", stmt.condition.span, "asserted here")


def _expression(cx: Activation, stmt: tree.ExprStmt) -> None:
    value = evaluate(cx, stmt.value)
    fail(
        "ARC0284",
        f"the result of this expression, {describe(value)}, is not used",
        stmt.span,
        help="bind it with `name = ...`, return it, or remove it",
    )


def _function(cx: Activation, stmt: tree.Function) -> None:
    cx.scope.bind(
        stmt.name, Fn(stmt.name, stmt.params, stmt.body, cx.scope, stmt.name_span), stmt.name_span, fixed=True
    )


_EXECUTE: dict[type, Callable[[Activation, Any], Returned | None]] = {
    tree.Let: _let,
    tree.Assign: _assign,
    tree.New: _new,
    tree.Weight: _weight,
    tree.If: _if,
    tree.For: _for,
    tree.Return: _return,
    tree.Emit: _emit,
    tree.Assert: _assert,
    tree.ExprStmt: _expression,
    tree.Function: _function,
}
