"""Applying modules to wires: ops, blocks, compositions. A block's graph is elaborated once per distinct use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.copying import map_modules, structure_key
from archlang.elaborate.errors import Poisoned, fail, warning
from archlang.elaborate.finish import finish
from archlang.elaborate.patterns import Localiser, match
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    BlockInstance,
    Composition,
    ExternInstance,
    Instance,
    OpInstance,
    Record,
    Run,
    Streams,
    Wire,
    describe,
    expand,
)
from archlang.ir.graph import Constraint, Graph, Output, Port, TensorType, Value
from archlang.ops.base import Context, OpError
from archlang.report.diagnostic import ArchError, Diagnostic, Label, Span
from archlang.shapes.dim import size_str, substitute
from archlang.syntax import tree

__all__ = ["apply", "streams_of"]


def streams_of(value: Any) -> Streams:
    """What a value on the left of `->` feeds: a tuple is several streams, a list is one."""
    if isinstance(value, Streams):
        return value
    if isinstance(value, tuple):
        return Streams(tuple(value))
    return Streams((value,))


def apply(cx: Activation, module: Instance | Run, streams: Streams, span: Span) -> Any:
    """Runs wires through a module; gives one value, or a tuple for several outputs."""
    if isinstance(module, Run):
        return _apply_run(cx, module, streams, span)
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
    if isinstance(module, OpInstance):
        return _apply_op(cx, builder, module, streams, span)
    if isinstance(module, BlockInstance):
        return _apply_block(cx, builder, module, streams, span)
    if isinstance(module, Composition):
        return _apply_composition(cx, builder, module, streams, span)
    assert isinstance(module, ExternInstance)
    return _apply_extern(cx, builder, module, streams, span)


# -- ops ---------------------------------------------------------------------------------------------------------------
def _apply_op(cx: Activation, builder: Builder, inst: OpInstance, streams: Streams, span: Span) -> Any:
    wires = _op_wires(inst, streams, span)
    types = [w.type for w in wires]
    need = Context()
    try:
        attrs = inst.op.resolve(types, inst.args, need)
        outputs = inst.op.infer(types, attrs, need)
        weights = inst.op.weights(attrs)
    except OpError as error:
        raise _op_error(inst, wires, error, span) from None
    builder.need(need.constraints, span)
    path = None
    if weights or inst.label is not None or inst.path is not None:
        if inst.path is None:
            anonymous = inst.label is None
            path = builder.claim(inst, inst.default_name)
            if anonymous and weights:
                _warn_anonymous(cx, inst, path)
        path = inst.path
        if weights:
            builder.fix_op(path or "", inst.op.name, attrs, weights, inst.span, inst.borrowed)
    results = builder.node(inst.op.name, wires, outputs, span, attrs, path=path if weights else None)
    return results[0] if len(results) == 1 else results


def _warn_anonymous(cx: Activation, inst: Instance, path: str) -> None:
    cx.session.note(
        warning(
            "ARC0401",
            f"this layer has weights and no label: they are saved as `{path}.*`",
            inst.span,
            "unnamed",
            help=f"label it: `name: {inst.span.text.splitlines()[0]}`",
        )
    )


def _op_wires(inst: OpInstance, streams: Streams, span: Span) -> list[Wire]:
    """The wires for the op's inputs, in order; lists spread into variadic inputs only."""
    op, items = inst.op, list(streams.items)
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
                "ARC0210", f"`{op.name}` needs {_wires(len(op.inputs))}: `{port.name}` is missing", span, "applied here"
            )
    if items:
        fail("ARC0211", f"`{op.name}` takes {_wires(len(op.inputs))}, not {len(streams.items)}", span, "applied here")
    return wires


def _wires(count: int) -> str:
    return "no wires" if count == 0 else "one wire" if count == 1 else f"{count} wires"


def _wire(inst: OpInstance, value: Any, span: Span) -> Wire:
    if isinstance(value, Wire):
        return value
    fail("ARC0212", f"`{inst.op.name}` takes a wire here, not {describe(value)}", span)


def _op_error(inst: OpInstance, wires: Sequence[Wire], error: OpError, span: Span) -> ArchError:
    """Adds to an op's complaint the spans of the argument and wires at fault."""
    where = inst.arg_spans.get(error.param or "", span)
    related = [Label(wires[i].span, f"has type {wires[i].type}") for i in error.inputs if i < len(wires)]
    return ArchError(Diagnostic(error.code, error.message, where, "", tuple(related), error.help))


# -- blocks ------------------------------------------------------------------------------------------------------------
def _apply_block(cx: Activation, builder: Builder, inst: BlockInstance, streams: Streams, span: Span) -> Any:
    block = inst.block.tree
    items = _match_inputs(block, streams, span)
    if inst.label is not None and inst.label.path == "":
        return _inline(cx, builder, inst, items, span)
    wires = [w for item in items for w in _flat(item)]
    local = Localiser([p.name for p in block.params])
    declared = [p.type for p, item in zip(block.inputs or (), items, strict=True) for _ in _flat(item)]
    types = [local.local(w.type, d) for w, d in zip(wires, declared, strict=True)]
    form = tuple(len(i) if isinstance(i, list) else -1 if i is None else -2 for i in items)
    ids: dict[int, int] = {}
    args_key = tuple((k, structure_key(v, ids)) for k, v in inst.args.items())
    key = (id(block), args_key, form, tuple(types))
    graph = _memoised(cx, key, lambda: _block_graph(cx, inst, form, types, span))
    name = inst.default_name
    return _call_graph(cx, builder, inst, graph, wires, local, name, span)


def _match_inputs(block: tree.Block, streams: Streams, span: Span) -> list[Any]:
    """One item per declared input: a wire, a list of wires, or None."""
    plain = [p for p in block.inputs or () if not p.context]
    context = [p for p in block.inputs or () if p.context]
    items = _fill(block, plain, streams.items, span, "input")
    filled = _fill(block, context, streams.context, span, "context input")
    by_name = dict(zip([p.name for p in (*plain, *context)], [*items, *filled], strict=True))
    return [by_name[p.name] for p in block.inputs or ()]


def _fill(block: tree.Block, params: Sequence[tree.Param], items: Sequence[Any], span: Span, word: str) -> list[Any]:
    star = next((i for i, p in enumerate(params) if p.star), None)
    given = list(items)
    if star is not None:
        after = len(params) - star - 1
        rest = given[star : len(given) - after]
        given = [*given[:star], [w for r in rest for w in _flat(r)], *given[len(given) - after :]]
    if len(given) > len(params):
        takes = f"{len(params)} {word}{'s' if len(params) != 1 else ''}"
        wants_list = len(params) == 1 and getattr(params[0].type, "name", "") == "tensors"
        fail(
            "ARC0211",
            f"`{block.name}` takes {takes}, and {len(given)} flow in",
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


def _flat(item: Any) -> list[Wire]:
    if item is None:
        return []
    return list(item) if isinstance(item, (list, tuple)) else [item]


def _memoised(cx: Activation, key: Any, make: Any) -> Graph:
    memo = cx.session.memo
    if key not in memo:
        memo[key] = None  # stays so if elaboration fails: it was reported then
        memo[key] = make()
    graph = memo[key]
    if graph is None:
        raise Poisoned
    return graph


def _block_graph(
    cx: Activation, inst: BlockInstance, form: tuple[int, ...], types: Sequence[TensorType], span: Span
) -> Graph:
    """Elaborates a block's body for these arguments and input types."""
    from archlang.elaborate.statements import run_body

    session, block = cx.session, inst.block.tree
    before = session.error_count
    graph = Graph(session.unique(block.name), block.name, block.name_span, doc=block.doc, reversible=block.reversible)
    graph.params = {k: v for k, v in inst.args.items() if isinstance(v, (bool, int, float, str))}
    inner = Builder(graph, phase=None)
    scope = Scope(inst.block.module.scope, frame=True)
    callee = Activation(session, inst.block.module, scope, inner, block.name, block.reversible)
    session.enter(block.name, span)
    try:
        _bind_arguments(callee, inst, inner)
        _bind_inputs(callee, block, form, types)
        run_body(callee, block)
        if session.error_count == before:
            finish(session, inner)
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


def take_modules(inner: Builder, value: Any, stem: str, span: Span, seen: dict[int, Any]) -> Any:
    """Copies an argument for a callee, claiming the modules in it under `stem`, `stem.i` or their labels."""

    def leaf(name: str) -> Any:
        def replace(module: Instance | Run) -> Instance | Run | None:
            if isinstance(module, Run) or module.owner is None:
                return None
            slot = name
            number = 1
            while slot in inner.slots:
                number += 1
                slot = f"{name}_{number}"
            inner.slots[slot] = module
            return _borrow(module, inner, slot)

        return replace

    if isinstance(value, list):
        taken, position = [], 0
        for item in value:
            path = f"{stem}.{position}" if stem else str(position)
            taken.append(_take(inner, item, path, stem, span, seen, leaf(path.replace(".", "_"))))
            position += item.count if isinstance(item, Run) else 1
        return taken
    return _take(inner, value, stem, "", span, seen, leaf(stem or "module"))


def _take(inner: Builder, item: Any, path: str, stem: str, span: Span, seen: dict[int, Any], leaf: Any) -> Any:
    known = id(item) in seen
    copy = map_modules(item, seen, leaf)
    if known or not isinstance(copy, (Instance, Run)) or copy.owner is not None:
        return copy
    if isinstance(copy, Instance) and copy.label is not None:
        from archlang.elaborate.builder import check_label

        check_label(copy.label.path, copy.label.span)
        path = f"{stem}.{copy.label.path}" if stem else copy.label.path
    inner.claim_at(copy, path, copy.span if isinstance(copy, Instance) else span)
    return copy


def _borrow(module: Instance, inner: Builder, slot: str) -> Instance:
    from archlang.elaborate.copying import copy_instance

    copy = copy_instance(module, {})
    copy.owner, copy.path, copy.borrowed, copy.label = inner, slot, True, None
    return copy


def _bind_inputs(callee: Activation, block: tree.Block, form: Sequence[int], types: Sequence[TensorType]) -> None:
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
        value: Any = None if size == -1 else wires[0] if size == -2 else wires
        if size != -1:
            kind = "tensor" if size == -2 else "tensors"
            builder.graph.inputs.append(Port(param.name, values, kind, param.context))
        bound.append((param, wires, value))
    builder.graph.symbols = tuple(sorted({s for t in types for s in _symbols(t)}))
    for param, wires, value in bound:
        for wire in wires:
            match(callee, param.type, wire.type, param.span, f"`{param.name}`")
        callee.scope.bind(param.name, value, param.name_span)


def _symbols(type: TensorType) -> set[str]:
    from archlang.shapes.dim import symbols

    return {name for size in type.shape for name in symbols(size)}


def _inline(cx: Activation, builder: Builder, inst: BlockInstance, items: Sequence[Any], span: Span) -> Any:
    """A transparent call (`_: dense(...)`): the body runs in the caller's graph and adds no path segment."""
    from archlang.elaborate.statements import run_inline

    block = inst.block.tree
    scope = Scope(inst.block.module.scope, frame=True)
    callee = Activation(cx.session, inst.block.module, scope, builder, block.name, block.reversible)
    cx.session.enter(block.name, span)
    try:
        for param in block.params:
            value = inst.args[param.name]
            stem = "" if param.transparent else param.name
            _claim_inline(builder, value, stem, param.span)
            scope.bind(param.name, value, param.name_span, fixed=True, kind="parameter")
        for param, item in zip(block.inputs or (), items, strict=True):
            for wire in _flat(item):
                match(callee, param.type, wire.type, span, f"`{param.name}`")
            scope.bind(param.name, item, param.name_span)
        return run_inline(callee, block, span)
    finally:
        cx.session.leave()


def _claim_inline(builder: Builder, value: Any, stem: str, span: Span) -> None:
    items, position = (value if isinstance(value, list) else [value]), 0
    for item in items:
        if isinstance(item, (Instance, Run)) and item.owner is None:
            base = stem if not isinstance(value, list) else f"{stem}.{position}" if stem else str(position)
            label = item.label if isinstance(item, Instance) else None
            builder.claim_at(item, label.path if label else base or "module", label.span if label else span)
        position += item.count if isinstance(item, Run) else 1


# -- calls of graphs ---------------------------------------------------------------------------------------------------
def _call_graph(
    cx: Activation,
    builder: Builder,
    inst: Instance,
    graph: Graph,
    wires: Sequence[Wire],
    local: Localiser,
    name: str,
    span: Span,
    *,
    count: int = 1,
) -> Any:
    if inst.path is None:
        anonymous = inst.label is None
        path = builder.claim(inst, name)
        if anonymous and (graph.weights or graph.children):
            _warn_anonymous(cx, inst, path)
    assert inst.path is not None
    builder.fix_graph(inst.path, graph, count, inst.span, inst.borrowed)
    modules = bind_borrowed(cx, builder, inst, graph, span)
    _lift_constraints(builder, graph, local, span)
    types = [substituted(v.type, local) for out in graph.outputs for v in out.values]
    results = list(
        builder.node(
            "call",
            wires,
            types,
            span,
            {},
            path=inst.path,
            callee=graph,
            count=count,
            sizes=local.sizes,
            modules=modules,
        )
    )
    return _structured(builder, inst, graph.outputs, results, cx.session.emitted.get(id(graph), 0))


def substituted(type: TensorType, local: Localiser) -> TensorType:
    """A callee's type in the caller's terms."""
    if not local.sizes:
        return type
    return TensorType(tuple(substitute(s, local.sizes) for s in type.shape), type.dtype)


def _structured(builder: Builder, inst: Instance, outputs: Sequence[Output], results: list[Wire], emitted: int) -> Any:
    """Regroups flat output wires into what the callee returned; its side outputs (`emit`) become the caller's."""
    values: list[Any] = []
    names: list[str] = []
    plain = outputs[: len(outputs) - emitted]
    for out in outputs[len(outputs) - emitted :]:
        wire = results.pop(len(results) - emitted)
        wire.phase = "train" if out.training else wire.phase
        builder.emits.append((f"{inst.path}_{out.name}", wire))
        emitted -= 1
    for out in plain:
        wires, results = results[: len(out.values)], results[len(out.values) :]
        for wire in wires:
            if out.training:
                wire.phase = "train"
        values.append(list(wires) if out.kind == "tensors" else wires[0])
        names.append(out.name)
    if len(values) == 1:
        return values[0]
    return Record.of(values, names)


def bind_borrowed(cx: Activation, builder: Builder, inst: Instance, graph: Graph, span: Span) -> dict[str, str]:
    """For each module that the callee borrows: the caller's path of it, fixing its sizes as the callee used it."""
    slots = cx.session.slots.get(id(graph), ())
    if not slots:
        return {}
    modules: dict[str, str] = {}
    for slot, module in zip(slots, borrowed_modules(inst), strict=True):
        child = graph.borrowed.get(slot)
        if child is None:
            continue
        assert module.path is not None
        module.used = True
        modules[slot] = module.path
        if child.op is not None:
            builder.fix_op(module.path, child.op, child.attrs, child.weights, module.span, module.borrowed)
        elif child.graph is not None:
            builder.fix_graph(module.path, child.graph, child.count, module.span, module.borrowed)
    return modules


def borrowed_modules(inst: Instance) -> list[Instance]:
    """The owned modules inside an instance's arguments, in the order in which a callee takes them as slots."""
    found: list[Instance] = []
    seen: set[int] = set()

    def visit(value: Any) -> None:
        if isinstance(value, Run):
            visit(value.proto)
        elif isinstance(value, Instance):
            if id(value) in seen:
                return
            seen.add(id(value))
            if value.owner is not None and value is not inst:
                found.append(value)
            elif isinstance(value, Composition):
                for part in value.parts:
                    visit(part)
            elif isinstance(value, (BlockInstance, ExternInstance)):
                for arg in value.args.values():
                    visit(arg)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)

    visit(inst if inst.owner is None else _parts(inst))
    return found


def _parts(inst: Instance) -> list[Any]:
    if isinstance(inst, Composition):
        return list(inst.parts)
    return list(inst.args.values()) if isinstance(inst, (BlockInstance, ExternInstance)) else []


def _lift_constraints(builder: Builder, graph: Graph, local: Localiser, span: Span) -> None:
    """Restates a callee's needs in the caller's sizes; what can never hold is an error at the op that needs it."""
    lifted = []
    for c in graph.constraints:
        left, right = substitute(c.left, local.sizes), substitute(c.right, local.sizes)
        difference = left - right
        if isinstance(difference, int):
            if difference == 0 or (c.relation == ">=" and difference > 0):
                continue
            message = (
                f"{c.reason}: {size_str(left)} {'is not' if c.relation == '==' else 'is less than'} {size_str(right)}"
            )
            fail(
                "ARC0301" if c.relation == "==" else "ARC0302",
                message,
                c.span or span,
                "this is what needs it",
                related=[(span, "in this call")],
            )
        lifted.append(Constraint(left, right, c.relation, c.reason, c.span))
    builder.need(lifted, span)


# -- compositions ------------------------------------------------------------------------------------------------------
def _apply_composition(cx: Activation, builder: Builder, comp: Composition, streams: Streams, span: Span) -> Any:
    transparent = comp.label is not None and comp.label.path == ""
    if transparent or (comp.owner is None and comp.label is None and not comp.chained):
        return _flow_through(cx, builder, comp, streams, span, claim=transparent)
    if comp.owner is None:
        builder.claim(comp, comp.default_name)
    items = [*streams.items, *streams.context]
    wires = [w for item in items for w in _flat(item)]
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
    graph = _memoised(cx, key, lambda: _composition_graph(cx, comp, form, plain, types, span))
    return _call_graph(cx, builder, comp, graph, wires, local, comp.default_name, span)


def _flow_through(
    cx: Activation, builder: Builder, comp: Composition, streams: Streams, span: Span, *, claim: bool
) -> Any:
    """Runs the parts one after the other in the graph at hand."""
    if claim:
        _claim_inline(builder, comp.parts, "", comp.span)
    value: Any = Streams(streams.items, streams.context)
    for part in comp.parts:
        where = part.proto.span if isinstance(part, Run) else part.span
        context = streams.context if takes_context(part) else ()
        value = apply(cx, part, Streams(streams_of(value).items, context), where)
    return value


def takes_context(part: Instance | Run) -> bool:
    """Whether a part of a chain wants the chain's context handed on."""
    if isinstance(part, Run):
        return takes_context(part.proto)
    if isinstance(part, BlockInstance):
        return any(p.context for p in part.block.tree.inputs or ())
    if isinstance(part, Composition):
        return any(takes_context(p) for p in part.parts)
    return False


def _composition_graph(
    cx: Activation, comp: Composition, form: Sequence[int], plain: int, types: Sequence[TensorType], span: Span
) -> Graph:
    session = cx.session
    before = session.error_count
    graph = Graph(session.unique(comp.default_name), comp.default_name, comp.span)
    inner = Builder(graph)
    inputs = _composition_inputs(inner, comp, form, plain, types)
    streams = Streams(tuple(inputs[:plain]), tuple(inputs[plain:]))
    callee = Activation(session, cx.module, Scope(cx.module.scope, frame=True), inner, comp.default_name)
    try:
        view: dict[int, Any] = {}
        copy = Composition(span=comp.span, parts=take_modules(inner, list(comp.parts), "", comp.span, view))
        result = _flow_through(callee, inner, copy, streams, span, claim=False)
        add_outputs(inner, result, span)
        graph.sequential = plain == 1 and len(inputs) == 1 and not graph.borrowed and not has_list(result)
        if session.error_count == before:
            finish(session, inner)
    except ArchError as error:
        session.report(error)
    if session.error_count > before:
        raise Poisoned
    return graph


def has_list(result: Any) -> bool:
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
    inner.graph.symbols = tuple(sorted({s for t in types for s in _symbols(t)}))
    return inputs


def add_outputs(builder: Builder, result: Any, span: Span) -> None:
    """Returns what a composition's last part gave."""
    items = result if isinstance(result, tuple) else (result,)
    names = result.names if isinstance(result, Record) else [""] * len(items)
    for item, name in zip(items, names, strict=True):
        if isinstance(item, list):
            builder.graph.outputs.append(Output(tuple(w.value for w in item), name, "tensors"))
        else:
            builder.graph.outputs.append(Output((item.value,), name, training=item.phase == "train"))


def _apply_run(cx: Activation, run: Run, streams: Streams, span: Span) -> Any:
    """Applies equal modules one after the other: as one node, as soon as the types come out as they went in."""
    value: Any = streams
    if run.made or run.owner is None or not isinstance(run.proto, BlockInstance | Composition):
        for one in run.instances():
            value = apply(cx, one, Streams(streams_of(value).items, streams.context), span)
        return value
    builder = cx.graph_builder(span)
    run.used = True
    for index in range(run.count):
        before = _types(value)
        mark = len(builder.graph.nodes)
        value = apply(cx, run.instance(index), Streams(streams_of(value).items, streams.context), span)
        node = builder.graph.nodes[-1]
        simple = len(builder.graph.nodes) == mark + 1 and node.op == "call" and not node.modules and not builder.emits
        if simple and before == _types(value) and len(before) == len(node.outputs):
            node.count = run.count - index
            builder.graph.children[node.path or ""].count = node.count
            return value
    return value


def _types(value: Any) -> list[TensorType]:
    return [w.type for item in streams_of(value).items for w in _flat(item)]


# -- extern ------------------------------------------------------------------------------------------------------------
def _apply_extern(cx: Activation, builder: Builder, inst: ExternInstance, streams: Streams, span: Span) -> Any:
    """A user's own torch code: its output types are what the declaration says."""
    from archlang.elaborate.patterns import result_type

    declared = inst.extern.tree
    if len(streams.items) != len(declared.inputs):
        fail(
            "ARC0211",
            f"`{declared.name}` takes {_wires(len(declared.inputs))}, not {len(streams.items)}",
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
    attrs = {"target": target, "args": tuple(inst.args.items()), "pure": declared.pure}
    if inst.path is None:
        builder.claim(inst, inst.default_name)
    builder.fix_op(inst.path or "", "extern", attrs, (), inst.span, inst.borrowed)
    results = builder.node("extern", list(streams.items), types, span, attrs, path=inst.path)
    return results[0] if len(results) == 1 else results
