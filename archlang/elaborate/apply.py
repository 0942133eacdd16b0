"""Applying modules to wires: one entry for ops, blocks, compositions, runs and extern blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archlang.elaborate.arrows import check_arrow
from archlang.elaborate.block_calls import apply_block
from archlang.elaborate.builder import Builder
from archlang.elaborate.compositions import apply_composition, apply_run
from archlang.elaborate.errors import fail
from archlang.elaborate.extern_calls import apply_extern
from archlang.elaborate.inverse import apply_inverse
from archlang.elaborate.log_dets import apply_log_det
from archlang.elaborate.op_calls import apply_op
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockInstance,
    Composition,
    ExternInstance,
    Instance,
    Inverse,
    LogDet,
    OpInstance,
    Run,
    Streams,
)
from archlang.report.diagnostic import Span

__all__ = ["apply"]


def apply(cx: Activation, module: Instance | Run, streams: Streams, span: Span) -> Any:
    """Runs wires through a module; gives one value, or a tuple for several outputs."""
    if isinstance(module, Run):
        return apply_run(cx, module, streams, span)
    builder = cx.graph_builder(span)
    cx.session.tick(span)
    if module.owner is not None and module.owner is not builder:
        fail(
            "ARC0410",
            f"this module belongs to another block (as `{module.path}`)",
            span,
            "applied here",
            related=[(module.span, "made here")],
            help="pass it as a parameter of type `module`",
        )
    module.used = True
    if module.arrow is None:
        return _APPLY[module.__class__](cx, builder, module, streams, span)
    mark = len(builder.graph.nodes)
    result = _APPLY[module.__class__](cx, builder, module, streams, span)
    check_arrow(cx, module.arrow, builder.graph.nodes[mark:], streams.items, result, span)
    return result


_APPLY: dict[type, Callable[[Activation, Builder, Any, Streams, Span], Any]] = {
    OpInstance: apply_op,
    BlockInstance: apply_block,
    Composition: apply_composition,
    Inverse: apply_inverse,
    LogDet: apply_log_det,
    ExternInstance: apply_extern,
}
