"""Log-determinants: the graph that computes log|det J| of a bijection, per sample, beside its results.

Each step of the proof adds its own: a factor of a stream the logarithm of its size, an op what its entry says, a call
what the callee's graph gives; what keeps the volume adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import NoReturn
from weakref import WeakKeyDictionary

from archlang.ir.graph import Attr, Graph, Node, Output, Step, TensorType, Value
from archlang.ops.base import Context, Op, registry
from archlang.records import replace
from archlang.report.diagnostic import ArchError, Diagnostic, Span
from archlang.reversible.branch import Branch
from archlang.reversible.prove import prove
from archlang.shapes.dim import Size, substitute

__all__ = ["Measure", "with_log_det"]

_KNOWN: WeakKeyDictionary[Graph, Graph] = WeakKeyDictionary()


def with_log_det(graph: Graph) -> Graph:
    """The graph with a further, last output: log|det J| of its streams' map, [B].

    It has the same children under the same paths. Raises ArchError where the graph has no proof, or no determinant.
    """
    if graph not in _KNOWN:
        proof = prove(graph)
        measure = Measure(graph, graph.streams, graph.span)
        nodes = measure.run(graph.nodes, proof.steps)
        total = measure.total()
        outputs = [*graph.outputs, Output((total,))]
        _KNOWN[graph] = replace(
            graph, name=f"{graph.name}_log_det", nodes=[*nodes, *measure.rest], outputs=outputs, proof=None
        )
    return _KNOWN[graph]


class Measure:
    """Walks over nodes and adds what measures their volume. `rest`: the nodes that sum it up, after all others."""

    def __init__(self, graph: Graph, streams: Sequence[Value], span: Span | None) -> None:
        self.graph = graph
        self.streams = streams
        self.span = span
        self.terms: list[Value] = []
        self.rest: list[Node] = []

    def run(self, nodes: Sequence[Node], steps: Sequence[Step]) -> list[Node]:
        """The nodes, each step's followed by those that compute its term."""
        by_node = {id(step.node): step for step in steps if step.node is not None}
        found: list[Node] = []
        for step in steps:
            if step.kind == "new":
                self.refuse("`new` starts a stream: the map is injective", step.span)
        self.nodes = nodes
        for node in nodes:
            step_here = by_node.get(id(node))
            found += [node] if step_here is None else self.step(node, step_here)
        return found

    def total(self) -> Value:
        """The sum of the terms; adds the nodes that make it."""
        if not self.terms:
            return self.make(self.rest, "full", self.streams[:1], shape=(self.size,), value=0.0)
        total = self.terms[0]
        for term in self.terms[1:]:
            total = self.make(self.rest, "add", (total, term))
        return total

    @property
    def size(self) -> Size:
        """The number of samples."""
        shape = self.streams[0].type.shape
        if not shape:
            self.refuse("the stream has no dimension of samples", self.span)
        return shape[0]

    # -- steps -----------------------------------------------------------------------------------------------------
    def step(self, node: Node, step: Step) -> list[Node]:
        for value in (*step.consumed, *step.made):
            if not value.type.shape or value.type.shape[0] != self.size:
                what = f"`{node.callee.block}`" if node.callee is not None else f"`{node.op}`"
                self.refuse(f"{what} changes the first dimension, which counts the samples", step.span)
        if node.op == "call":
            return self.call(node)
        if step.kind == "contraction":
            return [node, self.contraction(step)]
        if step.kind == "update":
            return [node, *self.update(node, step)]
        return self.op(node, step)

    def contraction(self, step: Step) -> Node:
        """log det(I + J) of the branch: exact in evaluation, estimated without bias in training."""
        branch = Branch(self.graph, self.nodes, step)
        term = Value(TensorType((self.size,)))
        self.terms.append(term)
        inputs = (branch.stream, *branch.reads)
        return Node("residual_log_det", inputs, (term,), step.span, {}, callee=branch.graph, sizes=branch.sizes)

    def update(self, node: Node, step: Step) -> list[Node]:
        """`s * k` and `s / k`: log|k| over the stream's shape. Sums keep the volume."""
        if node.op not in ("mul", "div"):
            return []
        (consumed,) = step.consumed
        nodes: list[Node] = []
        factors = [v for v in node.inputs if v is not consumed]
        if not factors:
            self.number(nodes, consumed, float(node.attrs["other"]), node.op)
        for factor in factors:
            term = self.make(nodes, "log", (self.make(nodes, "abs", (factor,)),))
            if factor.type.shape != consumed.type.shape:
                term = self.make(nodes, "expand", (term,), sizes=consumed.type.shape)
            if consumed.type.rank > 1:
                term = self.make(nodes, "reduce_sum", (term,), dim=tuple(range(1, consumed.type.rank)))
            self.add(nodes, term, node.op == "div")
        return nodes

    def number(self, nodes: list[Node], stream: Value, factor: float, op: str) -> None:
        value = log(abs(factor)) if op == "mul" else -log(abs(factor))
        each = self.make(nodes, "full", (stream,), shape=(self.size,), value=value)
        self.terms.append(self.make(nodes, "mul", (each,), other=prod(stream.type.shape[1:], start=1)))

    def op(self, node: Node, step: Step) -> list[Node]:
        op = registry()[node.op]
        types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
        found = op.bijection(types, node.attrs)
        if found is not None and found.volume:
            return [node]
        if found is None or found.grade == "injective" or type(op).log_det_run is Op.log_det_run:
            self.refuse(f"`{node.op}` has no log-determinant", step.span or node.span)
        nodes: list[Node] = []
        for one in _singly(node):
            term = Value(TensorType((self.size,)))
            inputs = one.outputs if one.inverted else one.inputs
            nodes += [one, replace(one, inputs=inputs, outputs=(term,), inverted=False, log_det=True)]
            self.add(nodes, term, one.inverted)
        return nodes

    def call(self, node: Node) -> list[Node]:
        nodes: list[Node] = []
        for one in _singly(node):
            assert one.callee is not None
            term = Value(TensorType((self.size,)))
            if one.inverted:  # at what the inverse gives, once more forward
                context = one.inputs[len(one.inputs) - _context(one.callee) :]
                again = tuple(Value(v.type) for v in one.inputs[: len(one.inputs) - len(context)])
                side = tuple(Value(t) for t in _side_types(one))
                nodes += [one, replace(one, inputs=(*one.outputs, *context), outputs=(*again, *side, term),
                                       inverted=False, log_det=True)]  # fmt: skip
            else:
                nodes.append(replace(one, outputs=(*one.outputs, term), log_det=True))
            with_log_det(one.callee)  # refused here, if at all
            self.add(nodes, term, one.inverted)
        return nodes

    # -- pieces ----------------------------------------------------------------------------------------------------
    def add(self, nodes: list[Node], term: Value, negative: bool) -> None:
        self.terms.append(self.make(nodes, "neg", (term,)) if negative else term)

    def make(self, nodes: list[Node], name: str, inputs: Sequence[Value], **given: Attr) -> Value:
        """Adds a node of this op and these arguments."""
        op, types = registry()[name], [v.type for v in inputs]
        attrs = op.resolve(types, {p.name: given.get(p.name, p.default) for p in op.params}, Context())
        (kind,) = op.infer(types, attrs, Context())
        result = Value(kind)
        nodes.append(Node(name, tuple(inputs), (result,), self.span, attrs))
        return result

    def refuse(self, message: str, span: Span | None) -> NoReturn:
        help = "only bijections of every sample by itself have one"
        raise ArchError(Diagnostic("ARC0630", f"no log-determinant: {message}", span or self.span, "", (), help))


def _context(callee: Graph) -> int:
    return sum(len(port.values) for port in callee.inputs if port.context)


def _side_types(node: Node) -> list[TensorType]:
    callee = node.callee
    assert callee is not None and callee.proof is not None
    types = [v.type for output in callee.outputs[callee.proof.outputs :] for v in output.values]
    return [TensorType(tuple(substitute(s, node.sizes) for s in t.shape), t.dtype) for t in types]


def _singly(node: Node) -> list[Node]:
    """A run of modules as one node each."""
    if node.count == 1:
        return [node]
    paths = list(node.paths)
    context = node.inputs[len(node.outputs) :]
    ins, found = node.inputs[: len(node.outputs)], []
    for i, path in enumerate(reversed(paths) if node.inverted else paths):
        last = i == len(paths) - 1
        outs = node.outputs if last else tuple(Value(v.type, v.name) for v in node.outputs)
        found.append(replace(node, path=path, count=1, inputs=(*ins, *context), outputs=outs))
        ins = outs
    return found
