"""Where a wire's size was made: what a mismatch points at besides the operands."""

from __future__ import annotations

from archlang.elaborate.builder import Builder
from archlang.elaborate.values import Wire
from archlang.ir.graph import Node, Value
from archlang.records import dataclass
from archlang.report.diagnostic import Label, Span
from archlang.shapes.dim import Size, size_str

__all__ = ["Made", "made_at"]

_WIDTHS = ("out_channels", "out_features")


@dataclass(frozen=True, slots=True)
class Made:
    """The place, with what to say of it; `literal` is the number that was written for the size, where that was done
    for a layer of the very block that the wire is in."""

    label: Label
    literal: Span | None = None


def made_at(wire: Wire, dim: int) -> Made | None:
    """The layer that gave `wire` its size along `dim`, or the input that declares it; None where that is `wire` itself.

    Follows the wire back through everything that hands the size on (norms, activations, sums), and out of a block
    into its caller.
    """
    builder, value, span = wire.builder, wire.value, wire.span
    size = wire.type.shape[dim]
    here = size
    while True:
        producer = _producer(builder, value)
        if producer is None:
            outer = builder.given.get(id(value))
            if outer is not None and _known(outer):
                builder, value, span, here = outer.builder, outer.value, outer.span, outer.type.shape[dim]
                continue
            declared = builder.declared.get(id(value), span)
            return Made(Label(declared, f"{_in_terms(size, here)} comes from this input")) if declared else None
        span = producer.span or span
        earlier = None if _sets(producer, here) else _carrier(producer, value, dim, here)
        if earlier is None:
            return _made(builder, value, span, size, here, inside=builder is wire.builder)
        value = earlier


def _made(builder: Builder, value: Value, span: Span, size: Size, here: Size, *, inside: bool) -> Made:
    maker = builder.makers.get(id(value))
    label = Label(maker.span if maker is not None else span, f"{_in_terms(size, here)} is made here")
    if maker is None or not inside:
        return Made(label)
    written = next((maker.arg_spans[n] for n in _WIDTHS if n in maker.arg_spans and maker.args[n] == here), None)
    return Made(label, written if written is not None and written.text == str(here) else None)


def _in_terms(size: Size, here: Size) -> str:
    """The size as the failing place calls it, and as it is called where it was made."""
    return size_str(size) if size == here else f"{size_str(size)} (there {size_str(here)})"


def _producer(builder: Builder, value: Value) -> Node | None:
    return next((node for node in builder.graph.nodes if any(out is value for out in node.outputs)), None)


def _known(wire: Wire) -> bool:
    """Whether the wire's graph says where it comes from (that around a whole design does not)."""
    of, key = wire.builder, id(wire.value)
    return key in of.declared or key in of.given or _producer(of, wire.value) is not None


def _sets(node: Node, size: Size) -> bool:
    """Whether the node's own arguments name the size (`conv(64, 3)` on 64 channels makes its 64 anew)."""
    return any(node.attrs.get(name) == size for name in _WIDTHS)


def _carrier(node: Node, value: Value, dim: int, size: Size) -> Value | None:
    rank = value.type.rank
    return next((v for v in node.inputs if v.type.rank == rank and v.type.shape[dim] == size), None)
