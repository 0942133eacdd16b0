"""Where a wire's size was made: what a mismatch points at besides the operands."""

from __future__ import annotations

from collections.abc import Mapping

from archlang.elaborate.builder import Builder
from archlang.elaborate.values import OpInstance, Wire
from archlang.ir.graph import Graph, Node, Value
from archlang.records import dataclass
from archlang.report.diagnostic import Label, Span
from archlang.reversible import runs
from archlang.shapes.dim import Size, size_str

__all__ = ["Made", "Makers", "made_at"]

Makers = Mapping[Value, OpInstance]  # a layer's result -> the layer
_WIDTHS = ("out_channels", "out_features")


@dataclass(frozen=True, slots=True)
class Made:
    """The place, with what to say of it; `literal` is the number that was written for the size, where that was done
    for a layer of the very block that the wire is in."""

    label: Label
    literal: Span | None = None


def made_at(wire: Wire, dim: int, makers: Makers) -> Made | None:
    """The layer that gave `wire` its size along `dim`, or the input that declares it; None where that is `wire` itself.

    Follows the wire back through everything that hands the size on (norms, activations, sums), into compositions and
    blocks that it comes out of, and out of a block into its caller.
    """
    return _Walk(wire, dim, makers).run()


class _Walk:
    def __init__(self, wire: Wire, dim: int, makers: Makers) -> None:
        self.size = wire.type.shape[dim]
        self.dim = dim
        self.makers = makers
        self.builder: Builder = wire.builder
        self.graph: Graph = wire.builder.graph
        self.value, self.span = wire.value, wire.span
        self.calls: list[tuple[Graph, Node]] = []  # entered from these, outermost first
        self.own = True  # whether still in the block of the wire

    @property
    def here(self) -> Size:
        """The size as it is called at this place."""
        return self.value.type.shape[self.dim]

    def run(self) -> Made | None:
        while True:
            producer = _producer(self.graph, self.value)
            if producer is None:
                if not self._leave():
                    declared = self.builder.declared.get(id(self.value), self.span)
                    return Made(Label(declared, f"{self._terms()} comes from this input")) if declared else None
                continue
            self.span = producer.span or self.span
            earlier = None if _sets(producer, self.here) else _carrier(producer, self.value, self.dim, self.here)
            if earlier is not None:
                self.value = earlier
            elif not self._enter(producer):
                return self._made()

    def _enter(self, call: Node) -> bool:
        """Goes on inside of what a call runs."""
        callee = runs(call)
        if callee is None:
            return False
        outputs = callee.results
        self.calls.append((self.graph, call))
        self.value = outputs[next(i for i, v in enumerate(call.outputs) if v is self.value)]
        self.graph = callee
        self.own = self.own and callee.sequential
        return True

    def _leave(self) -> bool:
        """From a graph's input to what its caller gives; False where no caller is known."""
        if self.calls:
            inputs = self.graph.entries
            self.graph, call = self.calls.pop()
            self.value = call.inputs[next(i for i, v in enumerate(inputs) if v is self.value)]
            return True
        outer = self.builder.given.get(id(self.value))
        if outer is None or not _known(outer):
            return False
        self.builder, self.graph, self.value, self.span = outer.builder, outer.builder.graph, outer.value, outer.span
        self.own = False
        return True

    def _made(self) -> Made:
        maker = self.makers.get(self.value)
        label = Label(maker.span if maker is not None else self.span, f"{self._terms()} is made here")
        if maker is None or not self.own:
            return Made(label)
        spans = (maker.arg_spans[n] for n in _WIDTHS if n in maker.arg_spans and maker.args[n] == self.here)
        return Made(label, next((span for span in spans if span.text == str(self.here)), None))

    def _terms(self) -> str:
        """The size as the failing place calls it, and as it is called where it was made."""
        return size_str(self.size) + ("" if self.size == self.here else f" (there {size_str(self.here)})")


def _producer(graph: Graph, value: Value) -> Node | None:
    return next((node for node in graph.nodes if any(out is value for out in node.outputs)), None)


def _known(wire: Wire) -> bool:
    """Whether the wire's graph says where it comes from (that around a whole design does not)."""
    of, key = wire.builder, id(wire.value)
    return key in of.declared or key in of.given or _producer(of.graph, wire.value) is not None


def _sets(node: Node, size: Size) -> bool:
    """Whether the node's own arguments name the size (`conv(64, 3)` on 64 channels makes its 64 anew)."""
    return any(node.attrs.get(name) == size for name in _WIDTHS)


def _carrier(node: Node, value: Value, dim: int, size: Size) -> Value | None:
    rank = value.type.rank
    return next((v for v in node.inputs if v.type.rank == rank and v.type.shape[dim] == size), None)
