"""`logdet(m)`: a module that gives what `m` gives, and the log-determinant of it, per sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.arguments import Arg
from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import fail
from archlang.elaborate.graph_calls import flat
from archlang.elaborate.inverse import hand_over
from archlang.elaborate.session import Activation
from archlang.elaborate.streams import streams_of
from archlang.elaborate.values import Inverse, LogDet, Streams, Wire, describe, has_wire
from archlang.report.diagnostic import ArchError, Span
from archlang.reversible import Measure, Prover

__all__ = ["apply_log_det", "log_det"]


def log_det(cx: Activation, args: Sequence[Arg], span: Span) -> Any:
    """The value of `logdet(module)`."""
    from archlang.elaborate.instances import to_module

    value = args[0].value
    if has_wire(value):
        help = "apply it: `y, d = x -> logdet(m)`"
        fail("ARC0630", f"`logdet` takes a module, not {describe(value)}", span, help=help)
    return LogDet(span=span, module=to_module(cx, value, args[0].span, "`logdet`"))


def apply_log_det(cx: Activation, builder: Builder, inst: Inverse, streams: Streams, span: Span) -> Any:
    """Applies the module, and puts beside its steps what measures them."""
    from archlang.elaborate.apply import apply

    hand_over(inst)
    mark = len(builder.graph.nodes)
    given = [w for item in streams.items for w in flat(item)]
    result = apply(cx, inst.module, streams, span)
    nodes = builder.graph.nodes[mark:]
    items = streams_of(result).items
    results = [w.value for item in items for w in flat(item)]
    starts = [(f"stream {i}", w.value) for i, w in enumerate(given)]
    prover = Prover(builder.graph, nodes, starts, span)
    try:
        prover.run((), results, span)
    except ArchError as error:
        reason = error.diagnostics[0]
        fail("ARC0630", f"no log-determinant: {reason.message}", span, help=reason.help)
    measure = Measure(builder.graph, [w.value for w in given], span)
    builder.graph.nodes[mark:] = measure.run(nodes, prover.steps)
    total = Wire(measure.total(builder.graph.nodes), builder, span, builder.phase)
    return (*items, total)
