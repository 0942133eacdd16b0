"""`~m`: the inverse of a module, with the module's own weights.

The module is first applied forward, to stand-ins for its inputs, so that it gets its sizes and its place among the
children as any module does; then the nodes of that application are taken back, and their inverse is put in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import fail
from archlang.elaborate.graph_calls import flat
from archlang.elaborate.session import Activation
from archlang.elaborate.streams import streams_of
from archlang.elaborate.values import (
    BlockInstance,
    Composition,
    Instance,
    Inverse,
    LogDet,
    OpInstance,
    Run,
    Streams,
    Wire,
    describe,
    has_wire,
)
from archlang.ir.graph import Constraint, Node, TensorType, Value
from archlang.ops.base import OpError
from archlang.records import replace
from archlang.report.diagnostic import ArchError, Span
from archlang.reversible import Backwards, Prover, total

__all__ = ["apply_inverse", "hand_over", "inverse"]

Types = list[Any]  # one item per stream: a TensorType, or a list of them for `tensors`


def inverse(cx: Activation, value: Any, span: Span) -> Any:
    """The value of `~value`."""
    from archlang.elaborate.instances import to_module

    if has_wire(value):
        fail(
            "ARC0602",
            f"`~` takes a module, not {describe(value)}",
            span,
            help="`~` binds less tightly than a call: write `(a, b) -> ~m`, or `(~m)(a, b)`",
        )
    module = to_module(cx, value, span, "`~`")
    if isinstance(module, LogDet):
        fail("ARC0602", "`logdet(m)` gives more than it takes", span, help="the inverse is `~m`: `logdet(~m)`")
    return module.module if isinstance(module, Inverse) and module.owner is None else Inverse(span=span, module=module)


def apply_inverse(cx: Activation, builder: Builder, inst: Inverse, streams: Streams, span: Span) -> Any:
    from archlang.elaborate.apply import apply

    module = inst.module
    hand_over(inst)
    given = [w for item in streams.items for w in flat(item)]
    ins = _domain(builder, module, [_types(item) for item in streams.items])
    stand_ins = [_stand_in(builder, t, span) for t in ins]
    mark, emits = len(builder.graph.nodes), len(builder.emits)
    try:
        result = apply(cx, module, Streams(tuple(stand_ins), streams.context), span)
    except ArchError as error:
        first = error.diagnostics[0]
        if first.span is not None and first.code not in ("ARC0404", "ARC0410"):
            _unknown(module, span, first.message)
        raise
    nodes = builder.graph.nodes[mark:]
    del builder.graph.nodes[mark:], builder.emits[emits:]
    wires = [w for item in streams_of(result).items for w in flat(item)]
    _agree(builder, module, wires, given, span)
    starts = [(f"stream {i}", w.value) for i, w in enumerate(w for item in stand_ins for w in flat(item))]
    back = _undo(builder, nodes, starts, [w.value for w in wires], given, span)
    for node in back.nodes:
        builder.graph.nodes.append(replace(node, span=span))
    values = [
        [Wire(back.value(w.value), builder, span, builder.phase) for w in flat(item)]
        if isinstance(item, list)
        else Wire(back.value(item.value), builder, span, builder.phase)
        for item in stand_ins
    ]
    return values[0] if len(values) == 1 else tuple(values)


def hand_over(inst: Inverse) -> None:
    """A module that exists only as `~m` takes the label and the place of its inverse."""
    module = inst.module
    if module.owner is not None or inst.owner is None or isinstance(module, Run):
        if isinstance(module, Instance) and module.owner is None and module.label is None:
            module.label = inst.label
        return
    module.owner, module.path, module.label = inst.owner, inst.path, inst.label


def _undo(
    builder: Builder,
    nodes: Sequence[Node],
    starts: Sequence[tuple[str, Value]],
    results: Sequence[Value],
    given: Sequence[Wire],
    span: Span,
) -> Backwards:
    prover = Prover(builder.graph, nodes, starts, span)
    try:
        prover.run((), results, span)
    except ArchError as error:
        reason = error.diagnostics[0]
        related = [(label.span, label.text) for label in reason.related]
        fail("ARC0602", f"this module has no inverse: {reason.message}", span, related=related, help=reason.help)
    proof = prover.proof(len(results))
    if builder.phase != "eval":
        _draws_nothing(proof.effects, nodes, span)
    if proof.grade == "injective":
        fail(
            "ARC0611",
            "`~` needs a bijection, and this module is injective: it gives more than it takes",
            span,
            help="what it gave itself can be undone, a changed value has no preimage in general",
        )
    back = Backwards(nodes, builder.graph)
    for value, wire in zip(results, given, strict=True):
        back.start(value, wire.value)
    for node in nodes:  # what is read from around the module: context, weights of the caller
        for value in node.inputs:
            if id(value) not in back.makers and all(value is not s for _, s in starts):
                back.start(value, value)
    back.undo(prover.steps)
    return back


def _draws_nothing(own: Sequence[str], nodes: Sequence[Node], span: Span) -> None:
    """`~m` has no way to draw again what an application of `m` drew in training."""
    inside = [text for node in nodes if node.callee is not None for text in total(node.callee)[1]]
    for text in (*own, *inside):
        if text.startswith("random"):
            fail(
                "ARC0613",
                f"the inverse of this module draws its own random numbers in training ({text})",
                span,
                help="invert in evaluation only (`if training { ... } else { y = y -> ~m }`), or leave the noise out",
            )


# -- types -------------------------------------------------------------------------------------------------------------
def _types(item: Any) -> Any:
    return [w.type for w in item] if isinstance(item, list) else item.type


def _stand_in(builder: Builder, types: Any, span: Span) -> Any:
    if isinstance(types, list):
        return [Wire(Value(t), builder, span) for t in types]
    return Wire(Value(types), builder, span)


def _domain(builder: Builder, module: Instance | Run, outs: Types) -> Types:
    """Types of the streams that the module makes into these: as it was applied before, else by its structure."""
    if isinstance(module, Run):
        return outs
    before = _applied(builder, module, outs)
    if before is not None:
        return before
    if isinstance(module, Composition):
        for part in reversed(module.parts):
            outs = _domain(builder, part, outs)
        return outs
    if isinstance(module, OpInstance) and all(isinstance(t, TensorType) for t in outs):
        try:
            return list(module.op.domain(outs, module.args))
        except (OpError, KeyError, IndexError, ValueError):
            return outs
    return outs


def _applied(builder: Builder, module: Instance, outs: Types) -> Types | None:
    """The stream types of an earlier application of the module that gave these types, else such as may be the same."""
    flat_outs = [t for item in outs for t in (item if isinstance(item, list) else [item])]
    nodes = [
        (node, [v.type for v in node.outputs[: len(flat_outs)]])
        for node in builder.graph.nodes
        if node.path is not None and node.path == module.path and not node.inverted and node.count == 1
    ]
    same = [node for node, types in nodes if types == flat_outs]
    alike = [node for node, types in nodes if len(types) == len(flat_outs) and all(map(_alike, types, flat_outs))]
    return _stream_types((same or alike)[0]) if same or alike else None


def _alike(a: TensorType, b: TensorType) -> bool:
    """Whether two types may be the same: their sizes differ in nothing that is known."""
    if a.dtype != b.dtype or a.rank != b.rank:
        return False
    return all(x == y or not isinstance(x - y, int) for x, y in zip(a.shape, b.shape, strict=True))


def _stream_types(node: Node) -> Types:
    types = [v.type for v in node.inputs]
    if node.callee is None:
        return types
    found: Types = []
    for port in node.callee.inputs:
        taken, types = types[: len(port.values)], types[len(port.values) :]
        if not port.context:
            found.append(taken if port.kind == "tensors" else taken[0])
    return found


def _agree(builder: Builder, module: Instance | Run, gives: Sequence[Wire], given: Sequence[Wire], span: Span) -> None:
    """What flows into `~m` must have the types that `m` gives."""
    if len(gives) != len(given):
        _unknown(module, span, f"the module gives {len(gives)}, and {len(given)} flow in")
    for a, b in zip(gives, given, strict=True):
        if a.type.dtype != b.type.dtype or a.type.rank != b.type.rank:
            _unknown(module, span, f"the module gives {a.type}, and {b.type} flows in")
        for x, y in zip(a.type.shape, b.type.shape, strict=True):
            if isinstance(x - y, int) and x != y:
                _unknown(module, span, f"the module gives {a.type}, and {b.type} flows in")
            if x != y:
                reason = "`~` takes what the module gives"
                builder.need([Constraint(x, y, "==", reason, span, rule="language")], span)


def _unknown(module: Instance | Run, span: Span, why: str) -> None:
    name = module.default_name if isinstance(module, (BlockInstance, OpInstance)) else "module"
    fail(
        "ARC0602",
        f"what `~{name}` gives here is not known: {why}",
        span,
        help="apply the module forward first (`y = x -> m`): from then on its types are known",
    )
