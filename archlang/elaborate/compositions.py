"""Applying `a -> b -> c`, `chain([...])`, and runs of equal modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.copying import structure_key
from archlang.elaborate.errors import Poisoned
from archlang.elaborate.finish import finish
from archlang.elaborate.graph_calls import (
    add_outputs,
    call_graph,
    flat,
    memoised,
    type_symbols,
)
from archlang.elaborate.ownership import claim_parts, take_modules
from archlang.elaborate.patterns import Localiser
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.streams import streams_of
from archlang.elaborate.values import (
    BlockInstance,
    Composition,
    Instance,
    Run,
    Streams,
    Wire,
)
from archlang.ir.graph import Graph, Port, TensorType, Value
from archlang.report.diagnostic import ArchError, Span

__all__ = ["apply_composition", "apply_run", "takes_context"]


def apply_composition(cx: Activation, builder: Builder, comp: Composition, streams: Streams, span: Span) -> Any:
    if comp.dissolved or (comp.owner is None and comp.label is None and not comp.chained):
        return _flow_through(cx, builder, comp, streams, span, claim=comp.dissolved)
    items = [*streams.items, *streams.context]
    wires = [w for item in items for w in flat(item)]
    local = Localiser()
    types = [local.local(w.type, None) for w in wires]
    form = tuple(len(i) if isinstance(i, (list, tuple)) else -1 if i is None else -2 for i in items)
    plain = len(streams.items)
    ids: dict[int, int] = {}
    key = (
        "composition",
        comp.chained,
        tuple(structure_key(p, ids) for p in comp.parts),
        form,
        plain,
        tuple(types),
    )
    graph = memoised(cx, key, lambda: _composition_graph(cx, comp, form, plain, types, wires, span))
    return call_graph(cx, builder, comp, graph, wires, local, comp.default_name, span)


def _flow_through(
    cx: Activation, builder: Builder, comp: Composition, streams: Streams, span: Span, *, claim: bool
) -> Any:
    """Runs the parts one after the other in the graph at hand."""
    if claim:
        claim_parts(builder, comp)
    value: Any = Streams(streams.items, streams.context)
    for part in comp.parts:
        where = part.proto.span if isinstance(part, Run) else part.span
        context = streams.context if takes_context(part) else ()
        value = _apply(cx, part, Streams(streams_of(value).items, context), where)
    if isinstance(value, Streams):  # `chain([])` hands on what flows in
        return value.items[0] if len(value.items) == 1 else value.items
    return value


def takes_context(part: Instance | Run) -> bool:
    """Whether a part of a chain wants the chain's context handed on."""
    pending, seen = [part], set()
    while pending:
        one = pending.pop()
        one = one.proto if isinstance(one, Run) else one
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BlockInstance) and any(p.context for p in one.block.tree.inputs or ()):
            return True
        if isinstance(one, Composition):
            pending += one.parts
    return False


def _composition_graph(
    cx: Activation,
    comp: Composition,
    form: Sequence[int],
    plain: int,
    types: Sequence[TensorType],
    given: Sequence[Wire],
    span: Span,
) -> Graph:
    session = cx.session
    before = session.error_count
    graph = Graph(session.unique(comp.default_name), comp.default_name, comp.span)
    inner = Builder(graph)
    inputs = _composition_inputs(inner, comp, form, plain, types)
    inner.given = {id(w.value): g for w, g in zip((w for i in inputs for w in flat(i)), given, strict=True)}
    streams = Streams(tuple(inputs[:plain]), tuple(inputs[plain:]))
    callee = Activation(session, cx.module, Scope(cx.module.scope, frame=True), inner, comp.default_name)
    try:
        view: dict[int, Any] = {}
        copy = Composition(span=comp.span, parts=take_modules(inner, list(comp.parts), "", comp.span, view))
        result = _flow_through(callee, inner, copy, streams, span, claim=False)
        add_outputs(inner, result, span)
        graph.sequential = plain == 1 and len(inputs) == 1 and not graph.borrowed and not _has_list(result)
        if session.error_count == before:
            finish(session, inner)
    except ArchError as error:
        session.report(error)
    if session.error_count > before:
        raise Poisoned
    return graph


def _has_list(result: Any) -> bool:
    return not isinstance(result, Wire)


def _composition_inputs(
    inner: Builder, comp: Composition, form: Sequence[int], plain: int, types: Sequence[TensorType]
) -> list[Any]:
    rest = list(types)
    inputs: list[Any] = []
    single = plain == 1
    for number, size in enumerate(form):
        name = ("x" if single else f"x{number}") if number < plain else f"context{number - plain}"
        count = 1 if size == -2 else max(size, 0)
        values = tuple(Value(rest.pop(0), name if size == -2 else f"{name}_{i}") for i in range(count))
        wires = [Wire(v, inner, comp.span) for v in values]
        if size == -1:
            inputs.append(None)
            continue
        inner.graph.inputs.append(Port(name, values, "tensor" if size == -2 else "tensors", number >= plain))
        inputs.append(wires[0] if size == -2 else wires)
    inner.graph.symbols = tuple(sorted({s for t in types for s in type_symbols(t)}))
    return inputs


def apply_run(cx: Activation, run: Run, streams: Streams, span: Span) -> Any:
    """Applies equal modules one after the other: as one node, as soon as the types come out as they went in."""
    value: Any = streams
    if run.made or run.owner is None or not isinstance(run.proto, BlockInstance | Composition):
        for one in run.instances():
            value = _apply(cx, one, Streams(streams_of(value).items, streams.context), span)
        return value
    builder = cx.graph_builder(span)
    run.used = True
    for index in range(run.count):
        before = _types(value)
        mark = len(builder.graph.nodes)
        value = _apply(cx, run.instance(index), Streams(streams_of(value).items, streams.context), span)
        node = builder.graph.nodes[-1]
        simple = len(builder.graph.nodes) == mark + 1 and node.op == "call" and not node.modules and not builder.emits
        if simple and before == _types(value) and len(before) == len(node.outputs):
            node.count = run.count - index
            builder.graph.children[node.path or ""].count = node.count
            return value
    return value


def _types(value: Any) -> list[TensorType]:
    return [w.type for item in streams_of(value).items for w in flat(item)]


def _apply(cx: Activation, part: Instance | Run, streams: Streams, span: Span) -> Any:
    from archlang.elaborate.apply import apply  # applying parts is mutually recursive with applying compositions

    return apply(cx, part, streams, span)
