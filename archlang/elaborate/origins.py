"""Where a wire's size was made: what a mismatch points at besides the operands."""

from __future__ import annotations

from archlang.elaborate.values import Wire
from archlang.ir.graph import Node, Value
from archlang.report.diagnostic import Label, Span
from archlang.shapes.dim import Size, size_str

__all__ = ["made_at"]


def made_at(wire: Wire, dim: int) -> Label | None:
    """The layer that gave `wire` its size along `dim`, or the input that declares it; None where that is `wire` itself.

    Follows the wire back through everything that hands the size on (norms, activations, sums).
    """
    builder = wire.builder
    producers = {id(out): node for node in builder.graph.nodes for out in node.outputs}
    value, size = wire.value, wire.type.shape[dim]
    span: Span | None = wire.span
    while (node := producers.get(id(value))) is not None:
        span = node.span
        earlier = None if _sets(node, size) else _carrier(node, value, dim, size)
        if earlier is None:
            break
        value = earlier
    else:
        span = builder.declared.get(id(value), span)
        return Label(span, f"{size_str(size)} comes from this input") if span is not None else None
    return Label(span, f"{size_str(size)} is made here") if span is not None else None


def _sets(node: Node, size: Size) -> bool:
    """Whether the node's own arguments name the size (`conv(64, 3)` on 64 channels makes its 64 anew)."""
    return any(node.attrs.get(name) == size for name in ("out_channels", "out_features"))


def _carrier(node: Node, value: Value, dim: int, size: Size) -> Value | None:
    rank = value.type.rank
    return next((v for v in node.inputs if v.type.rank == rank and v.type.shape[dim] == size), None)
