"""Applying an op to wires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import fail
from archlang.elaborate.graph_calls import (
    warn_anonymous,
)
from archlang.elaborate.mending import Side, sides_fix
from archlang.elaborate.origins import made_at
from archlang.elaborate.session import Activation, Applied
from archlang.elaborate.values import (
    OpInstance,
    Streams,
    Wire,
    describe,
    expand,
)
from archlang.ir.graph import WeightDecl
from archlang.ops.base import Context, OpError
from archlang.report.diagnostic import ArchError, Diagnostic, Label, Span
from archlang.shapes.dim import never_text

__all__ = ["apply_op", "wires_text"]


def apply_op(cx: Activation, builder: Builder, inst: OpInstance, streams: Streams, span: Span) -> Any:
    wires = _op_wires(inst, streams, span)
    if len(wires) > 1:
        cx.session.tick(span, len(wires))
    key = (inst.key, *[w.value.type for w in wires])
    known = cx.session.applied.get(key)
    if known is None:
        known = cx.session.applied[key] = _applied(cx, inst, wires, span)
    attrs, outputs, weights, constraints = known
    builder.need(constraints, span)
    if weights:
        _check_precision(inst, wires, weights, span)
    path = None
    if weights or inst.label is not None or inst.path is not None:
        if inst.path is None:
            anonymous = inst.label is None
            path = builder.claim(inst, inst.default_name)
            if anonymous and any(w.persistent for w in weights):
                warn_anonymous(cx, inst, path)
        path = inst.path
        if weights:
            builder.fix_op(path or "", inst.op.name, attrs, weights, inst.named_at, inst.borrowed, span)
    results = builder.node(inst.op.name, wires, outputs, span, attrs, path=path if weights else None)
    if weights:
        for wire in results:
            cx.session.makers[wire.value] = inst
    return results[0] if len(results) == 1 else results


def _applied(cx: Activation, inst: OpInstance, wires: Sequence[Wire], span: Span) -> Applied:
    """What the op's entry says of these arguments and input types."""
    types = [w.type for w in wires]
    need = Context()
    try:
        attrs = inst.op.resolve(types, inst.args, need)
        outputs = inst.op.infer(types, attrs, need)
        return attrs, outputs, inst.op.weights(attrs), need.constraints
    except OpError as error:
        raise _op_error(cx, inst, wires, error, span) from None


def _check_precision(inst: OpInstance, wires: Sequence[Wire], weights: Sequence[WeightDecl], span: Span) -> None:
    """Weights have the module's own dtype: a wire of another fixed one would fail when the network runs."""
    for wire in wires:
        if wire.type.dtype in ("float16", "bfloat16", "float64") and any(
            w.dtype == "float" and w.kind == "parameter" for w in weights
        ):
            fail(
                "ARC0332",
                f"the weights of `{inst.op.name}` have the module's dtype, and this wire is {wire.type.dtype} always",
                span,
                "the two do not mix",
                related=[(wire.span, f"has type {wire.type}")],
                help='declare the input without an element type, or convert: `cast("float")`',
            )


def _op_wires(inst: OpInstance, streams: Streams, span: Span) -> list[Wire]:
    """The wires for the op's inputs, in order; lists spread into variadic inputs only."""
    op, items = inst.op, list(streams.items)
    if len(op.inputs) == len(items) == 1 and items[0].__class__ is Wire and not streams.context:  # as most are
        return items
    if streams.context:
        fail("ARC0213", f"`{op.name}` takes no context", span, help="context after `;` goes to blocks that declare it")
    wires: list[Wire] = []
    for number, port in enumerate(op.inputs):
        if port.variadic:
            last = len(op.inputs) - number - 1
            take, items = (items[: len(items) - last], items[len(items) - last :]) if last else (items, [])
            for item in take:
                wires += [_wire(inst, w, span) for w in (expand(item) if isinstance(item, list) else [item])]
            if not wires:
                fail("ARC0210", f"`{op.name}` gets no wires", span, "the list is empty")
        elif items:
            item = items.pop(0)
            if item is None and port.optional:
                continue
            wires.append(_wire(inst, item, span))
        elif not port.optional:
            fail(
                "ARC0210",
                f"`{op.name}` needs {wires_text(len(op.inputs))}: `{port.name}` is missing",
                span,
                "applied here",
            )
    if items:
        fail(
            "ARC0211", f"`{op.name}` takes {wires_text(len(op.inputs))}, not {len(streams.items)}", span, "applied here"
        )
    return wires


def wires_text(count: int) -> str:
    return "no wires" if count == 0 else "one wire" if count == 1 else f"{count} wires"


def _wire(inst: OpInstance, value: Any, span: Span) -> Wire:
    if isinstance(value, Wire):
        return value
    fail("ARC0212", f"`{inst.op.name}` takes a wire here, not {describe(value)}", span)


def _op_error(cx: Activation, inst: OpInstance, wires: Sequence[Wire], error: OpError, span: Span) -> ArchError:
    """Adds to an op's complaint the spans of the argument and wires at fault, and where their sizes were made."""
    where = inst.arg_spans.get(error.param or "", inst.op_span or span)
    operands = [inst.wire_spans[i] if i < len(inst.wire_spans) else w.span for i, w in enumerate(wires)]
    related = [Label(operands[i], f"has type {wires[i].type}") for i in error.inputs if i < len(wires)]
    made = [made_at(wires[i], dim, cx.session.makers) for i, dim in zip(error.inputs, error.dims, strict=False)]
    for one in made:
        if one is not None and one.label.span not in (where, *(label.span for label in related)):
            related.append(one.label)
    notes = () if error.equation is None else (never_text(*error.equation),)
    fix = None
    if error.equation is not None and len(error.dims) == 2:
        sides = [Side(wires[i], dim, operands[i], m) for i, dim, m in zip(error.inputs, error.dims, made, strict=True)]
        fix = sides_fix(sides, inst.wire_spans)
    help = fix[0] if fix is not None else error.help
    return ArchError(
        Diagnostic(error.code, error.message, where, "", tuple(related), help, notes, fix=fix[1] if fix else None)
    )
