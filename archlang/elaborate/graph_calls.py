"""What calls of blocks and of compositions share: memoised graphs, the call node, constraints, results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import Poisoned, fail, warning
from archlang.elaborate.origins import made_at
from archlang.elaborate.ownership import borrowed_modules, weightless
from archlang.elaborate.patterns import Localiser
from archlang.elaborate.promises import as_need
from archlang.elaborate.session import Activation
from archlang.elaborate.values import (
    Instance,
    Record,
    Wire,
)
from archlang.ir.graph import Constraint, Graph, Output, TensorType
from archlang.report.diagnostic import Span
from archlang.shapes.dim import difference, never_text, non_negative, size_str, substitute

__all__ = [
    "add_outputs",
    "bind_borrowed",
    "call_graph",
    "flat",
    "memoised",
    "substituted",
    "type_symbols",
    "warn_anonymous",
]


def memoised(cx: Activation, key: Any, make: Any) -> Graph:
    memo = cx.session.memo
    if key not in memo:
        memo[key] = None  # stays so if elaboration fails: it was reported then
        memo[key] = make()
    graph = memo[key]
    if graph is None:
        raise Poisoned
    return graph


def call_graph(
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
        if anonymous and _has_weights(graph):
            warn_anonymous(cx, inst, path)
    assert inst.path is not None
    builder.fix_graph(inst.path, graph, count, inst.named_at, inst.borrowed, span)
    modules = bind_borrowed(cx, builder, inst, graph, span)
    _lift_constraints(cx, builder, graph, local, wires, span)
    types = [substituted(v.type, local) for v in graph.results]
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


def _has_weights(graph: Graph) -> bool:
    """Whether a graph, or one that it runs, owns tensors that are saved (those of an extern are not known)."""
    stack, seen = [graph], {id(graph)}
    while stack:
        here = stack.pop()
        tensors = [*here.weights.values(), *(w for child in here.children.values() for w in child.weights)]
        if any(w.persistent for w in tensors) or any(child.op == "extern" for child in here.children.values()):
            return True
        for child in here.children.values():
            if child.graph is not None and id(child.graph) not in seen:
                seen.add(id(child.graph))
                stack.append(child.graph)
    return False


def warn_anonymous(cx: Activation, inst: Instance, path: str) -> None:
    cx.session.note(
        warning(
            "ARC0401",
            f"this layer has weights and no label: they are saved as `{path}.*`",
            inst.span,
            "unnamed",
            help=f"label it: `name: {inst.span.text.splitlines()[0]}`",
        )
    )


def substituted(type: TensorType, local: Localiser) -> TensorType:
    """A callee's type in the caller's terms."""
    if not local.sizes:
        return type
    shape = [s if s.__class__ is int else substitute(s, local.sizes) for s in type.shape]
    return TensorType(tuple(shape), type.dtype)


def _structured(builder: Builder, inst: Instance, outputs: Sequence[Output], results: list[Wire], emitted: int) -> Any:
    """Regroups flat output wires into what the callee returned; its side outputs (`emit`) become the caller's."""
    if len(results) == 1 and not emitted and outputs[0].kind == "tensor" and not outputs[0].training:  # as most are
        return results[0]
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
            module.used |= weightless(module)  # the callee's graph keeps no place for it
            continue
        assert module.path is not None
        module.used = True
        modules[slot] = module.path
        if child.op is not None:
            builder.fix_op(module.path, child.op, child.attrs, child.weights, module.span, module.borrowed, span)
        elif child.graph is not None:
            builder.fix_graph(module.path, child.graph, child.count, module.span, module.borrowed, span)
    return modules


def _lift_constraints(
    cx: Activation, builder: Builder, graph: Graph, local: Localiser, wires: Sequence[Wire], span: Span
) -> None:
    """Restates a callee's needs in the caller's sizes; what can never hold is an error at the op that needs it."""
    lifted = []
    for c in graph.constraints:
        if c.rule == "promise":  # what the callee's declaration promises, its callers have to keep
            c = as_need(c, graph.block, span)
        if not c.cases and _holds(c, local):
            continue
        here = c.at(local.sizes)
        known = here.known
        if known:
            continue
        if known is False and c.phase is None:  # else the other phase may do
            _never(cx, graph, c, here, wires, span)
        lifted.append(here)
    builder.need(lifted, span)


def _holds(c: Constraint, local: Localiser) -> bool:
    """Whether a need without cases is met in the caller's sizes, by its form."""
    rest = difference(substitute(c.left, local.sizes), substitute(c.right, local.sizes))
    return rest == 0 or (c.relation == ">=" and non_negative(rest))


def _never(
    cx: Activation, graph: Graph, c: Constraint, here: Constraint, wires: Sequence[Wire], span: Span
) -> NoReturn:
    """Reports a callee's need `c` that is not met at any size where it is called, `here`."""
    equal = c.relation == "=="
    sides = f"{size_str(here.left)} {'is not' if equal else 'is less than'} {size_str(here.right)}"
    fail(
        "ARC0301" if equal else "ARC0302",
        f"{c.reason}: {f'{here} is never so' if c.cases else sides}",
        c.span or span,
        "this is what needs it",
        related=[(span, "in this call"), *_sides(cx, graph, c, wires, c.span or span)],
        notes=[never_text(here.left, here.right)] if equal and not c.cases else [],
    )


def _sides(cx: Activation, graph: Graph, c: Constraint, wires: Sequence[Wire], span: Span) -> list[tuple[Span, str]]:
    """Where the sizes that a callee compares were made, as far as they are sizes of its inputs."""
    found: list[tuple[Span, str]] = []
    values = graph.entries
    for side in (c.left, c.right):
        if isinstance(side, int):
            continue
        at = next(
            ((w, d) for v, w in zip(values, wires, strict=True) for d, s in enumerate(v.type.shape) if s == side), None
        )
        made = made_at(*at, cx.session.makers) if at is not None else None
        if made is not None and made.label.span not in (span, *(where for where, _ in found)):
            found.append((made.label.span, made.label.text))
    return found


def add_outputs(builder: Builder, result: Any, span: Span) -> None:
    """Returns what a composition's last part gave."""
    items = result if isinstance(result, tuple) else (result,)
    names = result.names if isinstance(result, Record) else [""] * len(items)
    for item, name in zip(items, names, strict=True):
        if isinstance(item, list):
            builder.graph.outputs.append(Output(tuple(w.value for w in item), name, "tensors"))
        else:
            builder.graph.outputs.append(Output((item.value,), name, training=item.phase == "train"))


def flat(item: Any) -> list[Wire]:
    if item is None:
        return []
    return list(item) if isinstance(item, (list, tuple)) else [item]


def type_symbols(type: TensorType) -> set[str]:
    from archlang.shapes.dim import symbols

    return {name for size in type.shape for name in symbols(size)}
