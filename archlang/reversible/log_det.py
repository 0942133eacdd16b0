"""Log-determinants: the graph that computes log|det J| of a bijection, per sample, beside its results.

Each step of the proof adds its own: a factor of a stream the logarithm of its size, an op what its entry says, a call
what the callee's graph gives; what keeps the volume adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod
from typing import NoReturn
from weakref import WeakKeyDictionary

from archlang.ir.graph import Attr, Graph, Node, Output, Port, Step, TensorType, Value
from archlang.ops.base import Context, Op, registry
from archlang.records import replace
from archlang.report.diagnostic import ArchError, Diagnostic, Span
from archlang.reversible.branch import Branch
from archlang.reversible.invert import side_outputs
from archlang.reversible.prove import prove
from archlang.shapes.dim import Size

__all__ = ["Measure", "adds_log_det", "with_log_det"]

_WHOLE: WeakKeyDictionary[Graph, Graph] = WeakKeyDictionary()
_ADDING: WeakKeyDictionary[Graph, Graph] = WeakKeyDictionary()


def with_log_det(graph: Graph) -> Graph:
    """The graph with a further, last output: log|det J| of its streams' map, [B]; `log_det` where others have names.

    It has the same children under the same paths. Raises ArchError where the graph has no proof, or no determinant.
    """
    if graph not in _WHOLE:
        measure = Measure(graph, graph.streams, graph.span)
        nodes = measure.run(graph.nodes, prove(graph).steps)
        names = {output.name for output in graph.outputs}
        called = "log_det" if names != {""} else ""
        while called in names - {""}:
            called += "_"
        outputs = [*graph.outputs, Output((measure.total(nodes),), called)]
        _WHOLE[graph] = replace(graph, name=f"{graph.name}_log_det", nodes=nodes, outputs=outputs, proof=None)
    return _WHOLE[graph]


def adds_log_det(graph: Graph) -> Graph:
    """The graph with a further stream, the last, to which it adds its log|det J|: what a call with `log_det` runs.

    It is reversible as the graph is. Raises as `with_log_det` does.
    """
    if graph not in _ADDING:
        proof = prove(graph)
        measure = Measure(graph, graph.streams, graph.span)
        before = Value(TensorType((measure.size,)), "log_det")
        measure.sum = before
        nodes = measure.run(graph.nodes, proof.steps)
        streams = [port for port in graph.inputs if not port.context]
        context = [port for port in graph.inputs if port.context]
        k = proof.outputs
        plain = [replace(output, name="") for output in graph.outputs]  # for a caller that takes them by their places
        before_it, after_it = plain[:k], plain[k:]
        _ADDING[graph] = replace(
            graph, name=f"{graph.name}_adds_log_det", inputs=[*streams, Port("log_det", (before,)), *context],
            nodes=nodes, outputs=[*before_it, Output((measure.total(nodes),)), *after_it],
            proof=replace(proof, steps=tuple(measure.steps), outputs=k + 1),
        )  # fmt: skip
    return _ADDING[graph]


class Measure:
    """Walks over nodes and adds what sums up their volume, to `sum` if there is one; `steps` are those of the whole."""

    def __init__(self, graph: Graph, streams: Sequence[Value], span: Span | None) -> None:
        self.graph = graph
        self.streams = streams
        self.span = span
        self.sum: Value | None = None
        self.steps: list[Step] = []

    def run(self, nodes: Sequence[Node], steps: Sequence[Step]) -> list[Node]:
        """The nodes, and beside each step's those that add its term."""
        by_node = {id(step.node): step for step in steps if step.node is not None}
        found: list[Node] = []
        for step in steps:
            if step.kind == "new":
                self.refuse("`new` starts a stream: the map is injective", step.span)
        self.nodes = nodes
        for node in nodes:
            step_here = by_node.get(id(node))
            if step_here is None:
                found.append(node)
            else:
                self.step(found, node, step_here)
        return found

    def total(self, nodes: list[Node]) -> Value:
        """The sum so far; where there is none, nodes make it: 0."""
        if self.sum is None:
            self.sum = self.zero(nodes, self.streams[0])
        return self.sum

    def zero(self, nodes: list[Node], like: Value) -> Value:
        return self.make(nodes, "full", (like,), shape=(self.size,), value=0.0)

    @property
    def size(self) -> Size:
        """The number of samples."""
        shape = self.streams[0].type.shape if self.streams else ()
        if not shape:
            self.refuse("the stream has no dimension of samples", self.span)
        return shape[0]

    # -- steps -----------------------------------------------------------------------------------------------------
    def step(self, nodes: list[Node], node: Node, step: Step) -> None:
        for value in (*step.consumed, *step.made):
            if not value.type.shape or value.type.shape[0] != self.size:
                what = f"`{node.callee.block}`" if node.callee is not None else f"`{node.op}`"
                self.refuse(f"{what} changes the first dimension, which counts the samples", step.span)
        if node.op == "call":
            self.call(nodes, node, step)
        elif step.kind == "contraction":
            self.contraction(nodes, step)
            self.keep(nodes, node, step)
        elif step.kind == "update":
            self.keep(nodes, node, step)
            self.update(nodes, node, step)
        else:
            self.op(nodes, node, step)

    def keep(self, nodes: list[Node], node: Node, step: Step) -> None:
        nodes.append(node)
        self.steps.append(step)

    def contraction(self, nodes: list[Node], step: Step) -> None:
        """log det(I + J) of the branch: exact in evaluation, estimated without bias in training."""
        branch = Branch(self.graph, self.nodes, step)
        term = Value(TensorType((self.size,)), "log_det" if self.sum is None else "")
        inputs = (branch.stream, *branch.reads)
        nodes.append(Node("residual_log_det", inputs, (term,), step.span, {}, callee=branch.graph, sizes=branch.sizes))
        self.add(nodes, term)

    def update(self, nodes: list[Node], node: Node, step: Step) -> None:
        """`s * k` and `s / k`: log|k| over the stream's shape. Sums keep the volume."""
        if node.op not in ("mul", "div"):
            return
        (consumed,) = step.consumed
        factors = [v for v in node.inputs if v is not consumed]
        if not factors:
            self.number(nodes, step.made[0], float(node.attrs["other"]), node.op)
        for factor in factors:
            term = self.make(nodes, "log", (self.make(nodes, "abs", (factor,)),))
            if factor.type.shape != consumed.type.shape:
                term = self.make(nodes, "expand", (term,), sizes=consumed.type.shape)
            if consumed.type.rank > 1:
                term = self.make(nodes, "reduce_sum", (term,), dim=tuple(range(1, consumed.type.rank)))
            self.add(nodes, term, node.op == "div")

    def number(self, nodes: list[Node], stream: Value, factor: float, op: str) -> None:
        value = log(abs(factor)) if op == "mul" else -log(abs(factor))
        each = self.make(nodes, "full", (stream,), shape=(self.size,), value=value)
        self.add(nodes, self.make(nodes, "mul", (each,), other=prod(stream.type.shape[1:], start=1)))

    def op(self, nodes: list[Node], node: Node, step: Step) -> None:
        if node.op == "extern":
            self.refuse(f"that of `{node.attrs['target']}` is not known", step.span or node.span)
        op = registry()[node.op]
        types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
        found = op.bijection(types, node.attrs)
        if found is not None and found.volume:
            self.keep(nodes, node, step)
            return
        if found is None or found.grade == "injective" or type(op).log_det_run is Op.log_det_run:
            self.refuse(f"`{node.op}` has no log-determinant", step.span or node.span)
        for one in _singly(node):
            term = Value(TensorType((self.size,)), "log_det" if self.sum is None else "")
            inputs = one.outputs if one.inverted else one.inputs
            measure = replace(one, inputs=inputs, outputs=(term,), inverted=False, log_det=True)
            mine = replace(step, node=one, consumed=one.inputs, made=one.outputs)
            if one.inverted:
                self.keep(nodes, one, mine)
            nodes.append(measure)  # at what goes in, which is a stream still
            self.add(nodes, term, one.inverted)
            if not one.inverted:
                self.keep(nodes, one, mine)

    def call(self, nodes: list[Node], node: Node, step: Step) -> None:
        assert node.callee is not None
        adds_log_det(node.callee)  # refused here, if at all
        context = sum(len(port.values) for port in node.callee.inputs if port.context)
        k = len(node.inputs) - context
        after = Value(TensorType((self.size,)), "log_det")
        if not node.inverted:
            before, m = self.total(nodes), len(step.made)
            inputs = (*node.inputs[:k], before, *node.inputs[k:])
            outputs = (*node.outputs[:m], after, *node.outputs[m:])
            one = replace(node, inputs=inputs, outputs=outputs, log_det=True)
            self.keep(nodes, one, replace(step, node=one, consumed=inputs[: k + 1], made=outputs[: m + 1]))
            self.sum = after
            return
        self.keep(nodes, node, step)  # and at what the inverse gives, once more forward
        streams = node.outputs[: len(node.callee.streams)]
        zero = self.zero(nodes, streams[0])
        inputs = (*streams, zero, *node.inputs[k:])
        again = (*(Value(v.type) for v in node.inputs[:k]), after, *side_outputs(node))
        nodes.append(replace(node, inputs=inputs, outputs=again, inverted=False, log_det=True))
        self.add(nodes, after, negative=True)

    # -- pieces ----------------------------------------------------------------------------------------------------
    def add(self, nodes: list[Node], term: Value, negative: bool = False) -> None:
        """Adds a term to the sum, or takes it off."""
        if self.sum is None:
            self.sum = self.make(nodes, "neg", (term,), "log_det") if negative else term
            return
        before = self.sum
        self.sum = self.make(nodes, "sub" if negative else "add", (before, term), "log_det")
        self.steps.append(Step("update", nodes[-1], (before,), (self.sum,), nodes[-1].span))

    def make(self, nodes: list[Node], name: str, inputs: Sequence[Value], called: str = "", **given: Attr) -> Value:
        """Adds a node of this op and these arguments."""
        op, types = registry()[name], [v.type for v in inputs]
        attrs = op.resolve(types, {p.name: given.get(p.name, p.default) for p in op.params}, Context())
        (kind,) = op.infer(types, attrs, Context())
        result = Value(kind, called)
        nodes.append(Node(name, tuple(inputs), (result,), self.span, attrs))
        return result

    def refuse(self, message: str, span: Span | None) -> NoReturn:
        help = "only bijections of every sample by itself have one"
        raise ArchError(Diagnostic("ARC0630", f"no log-determinant: {message}", span or self.span, "", (), help))


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
