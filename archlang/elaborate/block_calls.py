"""Applying a block to wires: its graph is elaborated once per distinct structure of arguments and input types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.builder import Builder, check_methods
from archlang.elaborate.copying import structure_key
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.finish import finish
from archlang.elaborate.graph_calls import (
    call_graph,
    flat,
    memoised,
    type_symbols,
)
from archlang.elaborate.ownership import claim_inline, take_modules
from archlang.elaborate.patterns import Localiser, match
from archlang.elaborate.promises import promise
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockInstance,
    Streams,
    Wire,
    describe,
)
from archlang.ir.graph import Graph, Node, Port, TensorType, Value
from archlang.report.diagnostic import ArchError, Span
from archlang.reversible import Move, Prover, prove
from archlang.syntax import tree

__all__ = ["apply_block"]


def apply_block(cx: Activation, builder: Builder, inst: BlockInstance, streams: Streams, span: Span) -> Any:
    block = inst.block.tree
    items = _match_inputs(block, streams, span)
    if inst.dissolved:
        return _inline(cx, builder, inst, items, span)
    wires = [w for item in items for w in flat(item)]
    local = Localiser([p.name for p in block.params])
    declared = [p.type for p, item in zip(block.inputs or (), items, strict=True) for _ in flat(item)]
    types = [local.local(w.type, d) for w, d in zip(wires, declared, strict=True)]
    form = tuple(len(i) if isinstance(i, list) else -1 if i is None else -2 for i in items)
    ids: dict[int, int] = {}
    args_key = tuple((k, structure_key(v, ids)) for k, v in inst.args.items())
    key = (id(block), args_key, form, tuple(types))
    graph = memoised(cx, key, lambda: _block_graph(cx, inst, form, types, wires, span))
    name = inst.default_name
    return call_graph(cx, builder, inst, graph, wires, local, name, span)


def _match_inputs(block: tree.Block, streams: Streams, span: Span) -> list[Any]:
    """One item per declared input: a wire, a list of wires, or None."""
    plain = [p for p in block.inputs or () if not p.context]
    items = _fill(block, plain, streams.items, span, "input")
    if len(plain) == len(block.inputs or ()) and not streams.context:
        return items
    context = [p for p in block.inputs or () if p.context]
    filled = _fill(block, context, streams.context, span, "context input")
    by_name = dict(zip([p.name for p in (*plain, *context)], [*items, *filled], strict=True))
    return [by_name[p.name] for p in block.inputs or ()]


def _fill(block: tree.Block, params: Sequence[tree.Param], items: Sequence[Any], span: Span, word: str) -> list[Any]:
    star = next((i for i, p in enumerate(params) if p.star), None)
    given = list(items)
    if star is not None:
        after = len(params) - star - 1
        rest = given[star : len(given) - after]
        given = [*given[:star], [w for r in rest for w in flat(r)], *given[len(given) - after :]]
    if len(given) > len(params):
        takes = f"{len(params) or 'no'} {word}{'s' if len(params) != 1 else ''}"
        wants_list = len(params) == 1 and getattr(params[0].type, "name", "") == "tensors"
        fail(
            "ARC0211",
            f"`{block.name}` takes {takes}, and {len(given)} {'flows' if len(given) == 1 else 'flow'} in",
            span,
            "applied here",
            related=[(block.name_span, "declared here")],
            help="put the wires into a list: `[a, b]`" if wants_list else None,
        )
    for i, param in enumerate(params):
        if i >= len(given):
            if getattr(param.type, "optional", False) or isinstance(param.default, tree.NoneLit):
                given.append(None)
            else:
                fail(
                    "ARC0210",
                    f"`{block.name}` needs the {word} `{param.name}`",
                    span,
                    "applied here",
                    related=[(param.span, "declared here")],
                )
        given[i] = _checked_input(block, param, given[i], span)
    return given


def _checked_input(block: tree.Block, param: tree.Param, item: Any, span: Span) -> Any:
    kind = getattr(param.type, "name", None)
    if item is None:
        if getattr(param.type, "optional", False) or isinstance(param.default, tree.NoneLit):
            return None
        fail(
            "ARC0212",
            f"`{param.name}` of `{block.name}` cannot be `none`",
            span,
            related=[(param.span, "declared here")],
            help="declare it as `tensor?`",
        )
    if kind == "tensors" or param.star:
        if isinstance(item, (list, tuple)) and all(isinstance(w, Wire) for w in item):
            return list(item)
        fail(
            "ARC0212",
            f"`{param.name}` of `{block.name}` takes a list of wires, not {describe(item)}",
            span,
            related=[(param.span, "declared here")],
        )
    if isinstance(item, list) and param.type is None and item and all(isinstance(w, Wire) for w in item):
        return item
    if not isinstance(item, Wire):
        fail(
            "ARC0212",
            f"`{param.name}` of `{block.name}` takes a wire, not {describe(item)}",
            span,
            related=[(param.span, "declared here")],
        )
    return item


def _block_graph(
    cx: Activation,
    inst: BlockInstance,
    form: tuple[int, ...],
    types: Sequence[TensorType],
    given: Sequence[Wire],
    span: Span,
) -> Graph:
    """Elaborates a block's body for these arguments and input types."""
    from archlang.elaborate.statements import run_body

    session, block = cx.session, inst.block.tree
    before = session.error_count
    graph = Graph(session.unique(block.name), block.name, block.name_span, doc=block.doc, reversible=block.reversible)
    graph.params = {k: v for k, v in inst.args.items() if isinstance(v, (bool, int, float, str))}
    inner = Builder(graph, phase=None)
    scope = Scope(inst.block.module.scope, frame=True)
    moves: list[Move] | None = [] if block.reversible else None
    callee = Activation(session, inst.block.module, scope, inner, block.name, moves=moves)
    session.enter(block.name, span)
    try:
        _bind_arguments(callee, inst, inner)
        _bind_inputs(callee, block, form, types, given, span)
        promise(callee, block, span)
        run_body(callee, block)
        if session.error_count == before:
            finish(session, inner)
            if moves is not None:
                check_methods(graph)
                prove(graph, moves, session.note)
    except ArchError as error:
        session.report(error)
    finally:
        session.leave()
    if session.error_count > before:
        raise Poisoned
    return graph


def _bind_arguments(callee: Activation, inst: BlockInstance, inner: Builder) -> None:
    """Gives the callee its own view of module arguments: inline ones become its children, others borrowed slots."""
    seen: dict[int, Any] = {}
    for param in inst.block.tree.params:
        stem = "" if param.transparent else param.name
        value = take_modules(inner, inst.args[param.name], stem, param.span, seen)
        callee.scope.bind(param.name, value, param.name_span, fixed=True, kind="parameter")


def _bind_inputs(
    callee: Activation,
    block: tree.Block,
    form: Sequence[int],
    types: Sequence[TensorType],
    given: Sequence[Wire],
    call: Span,
) -> None:
    """Makes the ports, matches their declared types, and binds the names."""
    builder = callee.builder
    assert builder is not None
    rest = list(types)
    bound: list[tuple[tree.Param, list[Wire], Any]] = []
    for param, size in zip(block.inputs or (), form, strict=True):
        count = 1 if size == -2 else max(size, 0)
        names = [param.name] if size == -2 else [f"{param.name}{i}" for i in range(count)]
        values = tuple(Value(rest.pop(0), name) for name in names)
        wires = [Wire(v, builder, param.span) for v in values]
        builder.declared.update((id(v), param.span) for v in values)
        value: Any = None if size == -1 else wires[0] if size == -2 else wires
        if size != -1:
            kind = "tensor" if size == -2 else "tensors"
            builder.graph.inputs.append(Port(param.name, values, kind, param.context, param.span))
        bound.append((param, wires, value))
    builder.given = {id(w.value): g for w, g in zip((w for _, ws, _ in bound for w in ws), given, strict=True)}
    builder.graph.symbols = tuple(sorted({s for t in types for s in type_symbols(t)}))
    for param, wires, value in bound:
        for wire in wires:
            match(callee, param.type, wire.type, call, f"`{param.name}` of `{block.name}`")
        callee.scope.bind(param.name, value, param.name_span)


def _inline(cx: Activation, builder: Builder, inst: BlockInstance, items: Sequence[Any], span: Span) -> Any:
    """A transparent call (`_: dense(...)`): the body runs in the caller's graph and adds no path segment."""
    from archlang.elaborate.statements import run_inline

    block = inst.block.tree
    scope = Scope(inst.block.module.scope, frame=True)
    moves: list[Move] | None = [] if block.reversible else None
    callee = Activation(cx.session, inst.block.module, scope, builder, block.name, moves=moves)
    cx.session.enter(block.name, span)
    try:
        for param in block.params:
            value = inst.args[param.name]
            stem = "" if param.transparent else param.name
            claim_inline(builder, value, stem, param.span)
            scope.bind(param.name, value, param.name_span, fixed=True, kind="parameter")
        for param, item in zip(block.inputs or (), items, strict=True):
            for wire in flat(item):
                match(callee, param.type, wire.type, span, f"`{param.name}` of `{block.name}`")
            scope.bind(param.name, item, param.name_span)
        promise(callee, block, span, inline=True)
        mark = len(builder.graph.nodes)
        result = run_inline(callee, block, span)
        if moves is not None:
            _check_inline(cx, block, builder.graph.nodes[mark:], moves, items, result, span)
        return result
    finally:
        cx.session.leave()


def _check_inline(
    cx: Activation,
    block: tree.Block,
    nodes: list[Node],
    moves: list[Move],
    items: Sequence[Any],
    result: Any,
    span: Span,
) -> None:
    """A transparent reversible block must be one by itself; in a reversible caller its statements are the caller's."""
    assert cx.builder is not None
    streams = [
        (f"{p.name}[{i}]" if isinstance(item, list) else p.name, w.value)
        for p, item in zip(block.inputs or (), items, strict=True)
        if not p.context
        for i, w in enumerate(flat(item))
    ]
    results = [w.value for item in (result if isinstance(result, tuple) else (result,)) for w in flat(item)]
    Prover(cx.builder.graph, nodes, streams, span).run(moves, results, span)
    if cx.moves is not None:
        cx.moves += moves
