"""Applying an extern block: a user's own torch code, with the result types that its declaration states."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import fail
from archlang.elaborate.extern_facts import facts
from archlang.elaborate.op_calls import wires_text
from archlang.elaborate.patterns import match
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    ExternInstance,
    Streams,
    Wire,
    describe,
)
from archlang.report.diagnostic import Span

__all__ = ["apply_extern"]


def apply_extern(cx: Activation, builder: Builder, inst: ExternInstance, streams: Streams, span: Span) -> Any:
    """A user's own torch code: its output types are what the declaration says."""
    from archlang.elaborate.patterns import result_type

    declared = inst.extern.tree
    if len(streams.items) != len(declared.inputs):
        fail(
            "ARC0211",
            f"`{declared.name}` takes {wires_text(len(declared.inputs))}, not {len(streams.items)}",
            span,
            related=[(declared.name_span, "declared here")],
        )
    scope = Scope(inst.extern.module.scope, frame=True)
    callee = Activation(cx.session, inst.extern.module, scope, builder, declared.name)
    for param in declared.params:
        scope.bind(param.name, inst.args[param.name], param.name_span, fixed=True)
    for param, item in zip(declared.inputs, streams.items, strict=True):
        if not isinstance(item, Wire):
            fail("ARC0212", f"`{param.name}` of `{declared.name}` takes a wire, not {describe(item)}", span)
        match(callee, param.type, item.type, span, f"`{param.name}`")
    types = result_type(callee, declared.result)
    target = "".join(p for p in declared.target.parts if isinstance(p, str))
    known = facts(callee, declared)
    attrs: dict[str, Any] = {"target": target, "args": tuple(inst.args.items()), "pure": declared.pure}
    if inst.path is None:
        builder.claim(inst, inst.default_name)
    lasting: dict[str, Any] = {
        name: known[name] for name in ("inverse", "params") if name in known
    }  # whatever sizes a call has
    builder.fix_op(inst.path or "", "extern", {**attrs, **lasting}, (), inst.named_at, inst.borrowed, span)
    results = builder.node("extern", list(streams.items), types, span, {**attrs, **known}, path=inst.path)
    return results[0] if len(results) == 1 else results
