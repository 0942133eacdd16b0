"""The inverse of a graph, derived from its proof: the steps backwards, each with what it reads recomputed before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from archlang.ir.graph import Graph, Node, Output, Port, Step, Value
from archlang.ops.base import registry
from archlang.records import replace
from archlang.reversible.branch import Branch
from archlang.reversible.factors import bounds, rounds
from archlang.reversible.prove import prove

__all__ = ["Backwards", "invert", "may_vanish", "side_outputs"]

_KNOWN: WeakKeyDictionary[Graph, Graph] = WeakKeyDictionary()


def invert(graph: Graph) -> Graph:
    """The graph that takes the results (and the context) and gives the streams.

    It has the same children under the same paths, and the same symbols: a call of it gives the sizes of the forward
    direction. Raises ArchError where the graph has no proof.
    """
    if graph not in _KNOWN:
        _KNOWN[graph] = _inverse(graph)
    return _KNOWN[graph]


def _inverse(graph: Graph) -> Graph:
    proof = prove(graph)
    inverse = Graph(
        f"{graph.name}_inverse", graph.block, graph.span, children=graph.children, weights=graph.weights,
        borrowed=graph.borrowed, aliases=graph.aliases, symbols=graph.symbols, constraints=graph.constraints,
        params=graph.params, doc=graph.doc, reversible=graph.reversible,
    )  # fmt: skip
    walk = Backwards(graph.nodes, graph)
    for number, output in enumerate(graph.outputs[: proof.outputs]):
        values = tuple(walk.start(value) for value in output.values)
        name = output.name or (output.values[0].name if len(output.values) == 1 else "") or f"y{number}"
        inverse.inputs.append(Port(name, values, output.kind))
    for port in graph.inputs:
        if port.context:
            inverse.inputs.append(Port(port.name, tuple(walk.start(v) for v in port.values), port.kind, True))
    walk.undo(proof.steps)
    for port in graph.inputs:
        if not port.context:
            inverse.outputs.append(Output(tuple(walk.value(v) for v in port.values), "", port.kind))
    inverse.nodes = walk.nodes
    return inverse


class Backwards:
    """Undoes steps; collects the nodes that do it. Values of the forward direction are known by their counterparts."""

    def __init__(self, forward: Sequence[Node], graph: Graph) -> None:
        self.graph = graph
        self.forward = forward
        self.makers = {id(v): node for node in forward for v in node.outputs}
        self.known: dict[int, Value] = {}
        self.nodes: list[Node] = []

    def start(self, value: Value, counterpart: Value | None = None) -> Value:
        """Declares what is there before the first step: a result, or context."""
        self.known[id(value)] = counterpart or Value(value.type, value.name)
        return self.known[id(value)]

    def undo(self, steps: Sequence[Step]) -> None:
        """Runs the steps backwards, the last first."""
        for step in reversed(steps):
            if step.node is not None:
                self.step(step, step.node)

    def value(self, value: Value) -> Value:
        """The counterpart of a forward value; recomputed from the streams at hand where it is no stream."""
        pending = [value]
        while pending:
            v = pending[-1]
            if id(v) in self.known:
                pending.pop()
                continue
            node = self.makers[id(v)]
            missing = [i for i in node.inputs if id(i) not in self.known]
            if missing:
                pending += missing
                continue
            outputs = tuple(self.start(o) for o in node.outputs)
            self.nodes.append(replace(node, inputs=tuple(self.known[id(i)] for i in node.inputs), outputs=outputs))
        return self.known[id(value)]

    def step(self, step: Step, node: Node) -> None:
        made = [self.value(v) for v in step.made]
        if step.kind == "contraction":
            self.contraction(step, made[0])
            return
        rest = [self.value(v) for v in node.inputs if not any(v is c for c in step.consumed)]
        if step.kind == "update":
            self.update(step, node, made[0], rest)
            return
        outputs = tuple(self.start(v) for v in step.consumed)
        found = None
        if node.op not in ("call", "extern"):
            types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
            found = registry()[node.op].bijection(types, node.attrs)
        if found is not None and found.inverse is not None and not node.inverted:
            op, attrs = found.inverse
            self.nodes.append(Node(op, tuple(made), outputs, node.span, attrs, phase=node.phase))
            return
        if node.inverted:
            outputs += side_outputs(node)
        rest = rest[node.log_det :]  # what the log-determinant is added to
        flipped = replace(node, inputs=(*made, *rest), outputs=outputs, inverted=not node.inverted, log_det=False)
        self.nodes.append(flipped)

    def contraction(self, step: Step, made: Value) -> None:
        """`y = s + f(s)`: the s with s = y - f(s), which a node finds that calls f as a graph of its own."""
        branch = Branch(self.graph, self.forward, step)
        inputs = (made, *(self.value(v) for v in branch.reads))
        outputs = (self.start(branch.stream),)
        node = Node("fixed_point", inputs, outputs, step.span, branch.attrs, callee=branch.graph, sizes=branch.sizes)
        self.nodes.append(node)

    def update(self, step: Step, node: Node, made: Value, rest: Sequence[Value]) -> None:
        """`y = s + e` gives s = y - e; with several operands, one after the other."""
        (consumed,) = step.consumed
        undo = registry()[node.op].undo(node.attrs, next(i for i, v in enumerate(node.inputs) if v is consumed))
        assert undo is not None
        result = made
        if undo.divides:
            makers = {id(v): maker for maker in self.graph.nodes for v in maker.outputs} | self.makers
            others = [v for v in node.inputs if v is not consumed]
            rest = [
                self.looked_at(v, step) if may_vanish(o, node, self.graph, makers) else v
                for o, v in zip(others, rest, strict=True)
            ]
        for other in rest or (None,):
            inputs = (result,) if other is None else (other, result) if undo.swapped else (result, other)
            result = Value(consumed.type, consumed.name)
            self.nodes.append(Node(undo.op, inputs, (result,), step.span, undo.attrs, phase=node.phase))
        self.start(consumed, result)

    def looked_at(self, factor: Value, step: Step) -> Value:
        """The factor, after a look at run time."""
        result = Value(factor.type, factor.name)
        self.nodes.append(Node("require_nonzero", (factor,), (result,), step.span))
        return result


def may_vanish(factor: Value, node: Node, graph: Graph, makers: Mapping[int, Node]) -> bool:
    """Whether a stream's factor can round to 0 (or, dividing, become infinite): the inverse looks at it as it runs."""
    return node.op in ("mul", "div") and rounds(
        bounds(factor, makers, graph), factor.type.dtype, reciprocal=node.op == "div"
    )


def side_outputs(node: Node) -> tuple[Value, ...]:
    """Outputs of a callee that are no streams, for a call that runs forward again."""
    callee = node.callee
    if callee is None or callee.proof is None:
        return ()
    types = [v.type for output in callee.outputs[callee.proof.outputs :] for v in output.values]
    return tuple(Value(t.at(node.sizes)) for t in types)
