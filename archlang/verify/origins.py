"""Where the two sizes of a constraint come from: the wires of the operation that imposes it, followed back."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.ir.graph import Constraint, Graph, Node, Program, Value
from archlang.report.diagnostic import Label
from archlang.shapes.dim import Size, size_str, substitute

__all__ = ["imposing", "origins"]

_OWN = ("out_channels", "out_features")


def origins(program: Program, constraint: Constraint) -> tuple[Label, ...]:
    """At most one label for each side: the layer that made the size, with the size in the root's terms."""
    found: list[Label] = []
    at = imposing(program, constraint)
    if at is None:
        return ()
    graph, node, local = at
    for here, shown in ((local.left, constraint.left), (local.right, constraint.right)):
        if isinstance(here, int):
            continue
        wire = next(((v, d) for v in node.inputs for d, size in enumerate(v.type.shape) if size == here), None)
        if wire is None:
            continue
        label = _made(program, graph, *wire, shown)
        if label is not None and label.span != constraint.span and label.span not in [f.span for f in found]:
            found.append(label)
    return tuple(found)


def _terms(program: Program) -> Iterator[tuple[Graph, dict[str, Size]]]:
    """Every graph at every choice of sizes, callers first, in the root's terms; each once."""
    seen: set[tuple[int, tuple[tuple[str, Size], ...]]] = set()
    stack: list[tuple[Graph, dict[str, Size]]] = [(program.root, dict(program.given))]
    while stack:
        graph, sizes = stack.pop(0)
        key = (id(graph), tuple(sorted(sizes.items())))
        if key in seen:
            continue
        seen.add(key)
        yield graph, sizes
        for node in graph.nodes:
            if node.callee is not None:
                stack.append((node.callee, {name: substitute(s, sizes) for name, s in node.sizes.items()}))


def imposing(program: Program, wanted: Constraint) -> tuple[Graph, Node, Constraint] | None:
    """The node with the constraint's span, in the graph and at the sizes from which it was lifted."""
    for graph, sizes in _terms(program):
        for c in graph.constraints:
            if c.span != wanted.span or c.relation != wanted.relation or c.reason != wanted.reason:
                continue
            if substitute(c.left, sizes) != wanted.left or substitute(c.right, sizes) != wanted.right:
                continue
            node = next((n for n in graph.nodes if n.span == c.span and n.callee is None), None)
            if node is not None:
                return graph, node, c
    return None


def _made(program: Program, graph: Graph, value: Value, dim: int, shown: Size) -> Label | None:
    """Back through what hands the size on, and out into callers where it is a block's input."""
    while True:
        producer = next((n for n in graph.nodes if any(out is value for out in n.outputs)), None)
        if producer is None:
            caller = _caller(program, graph, value)
            if caller is None:
                span = next((p.span for p in graph.inputs if any(v is value for v in p.values)), graph.span)
                return Label(span, f"{size_str(shown)} comes from this input") if span is not None else None
            graph, value = caller
            continue
        size = value.type.shape[dim]
        earlier = None if any(producer.attrs.get(name) == size for name in _OWN) else _carrier(producer, value, dim)
        if earlier is None:
            return Label(producer.span, f"{size_str(shown)} is made here") if producer.span is not None else None
        value = earlier


def _carrier(node: Node, value: Value, dim: int) -> Value | None:
    shape = value.type.shape
    return next((v for v in node.inputs if v.type.rank == len(shape) and v.type.shape[dim] == shape[dim]), None)


def _caller(program: Program, graph: Graph, value: Value) -> tuple[Graph, Value] | None:
    """The first caller, and what it gives for an input of the graph."""
    inputs = graph.entries
    index = next((i for i, v in enumerate(inputs) if v is value), None)
    for other in reversed(program.graphs):
        for node in other.nodes:
            if node.callee is graph and index is not None:
                return other, node.inputs[index]
    return None
