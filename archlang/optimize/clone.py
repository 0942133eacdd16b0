"""Copies of programs that may be changed: no node, value, child or graph is the original's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archlang.ir.graph import (
    Attr,
    Child,
    Graph,
    Init,
    Node,
    Output,
    Port,
    Program,
    Proof,
    Step,
    TensorType,
    Value,
)  # fmt: skip
from archlang.records import replace
from archlang.shapes.dim import Dim, Size, substitute

__all__ = ["at_sizes", "clone", "copy_graph", "copy_node", "type_at"]


def clone(program: Program) -> Program:
    """A program of fresh graphs."""
    made: dict[int, Graph] = {}
    for graph in program.graphs:
        made[id(graph)] = _graph(graph, made)
    return Program(made[id(program.root)], [made[id(g)] for g in program.graphs], program.given)


def copy_graph(graph: Graph) -> Graph:
    """A copy of one graph: its children run the same graphs as the original's."""
    callees = [c.graph for c in (*graph.children.values(), *graph.borrowed.values()) if c.graph is not None]
    callees += [node.callee for node in graph.nodes if node.callee is not None]
    return _graph(graph, {id(callee): callee for callee in callees})


def type_at(kind: TensorType, sizes: Mapping[str, Size]) -> TensorType:
    """The type with sizes put in for symbols."""
    return TensorType(tuple(substitute(s, sizes) for s in kind.shape), kind.dtype) if sizes else kind


def at_sizes(attr: Any, sizes: Mapping[str, Size]) -> Attr:
    """An attribute with sizes put in for symbols."""
    if isinstance(attr, Dim):
        return substitute(attr, sizes)
    if isinstance(attr, tuple):
        return tuple(at_sizes(a, sizes) for a in attr)
    if isinstance(attr, Init):
        return Init(attr.name, tuple((name, at_sizes(a, sizes)) for name, a in attr.args))
    return attr  # type: ignore[no-any-return]


def copy_node(node: Node, values: dict[int, Value], sizes: Mapping[str, Size], graphs: Mapping[int, Graph]) -> Node:
    """A copy over the copies of its inputs, with fresh outputs, which are put into `values`."""
    for value in node.outputs:
        values[id(value)] = Value(type_at(value.type, sizes), value.name)
    attrs = {name: at_sizes(a, sizes) for name, a in node.attrs.items()} if sizes else dict(node.attrs)
    callee = node.callee if node.callee is None else graphs.get(id(node.callee), node.callee)
    inner = {name: substitute(s, sizes) for name, s in node.sizes.items()} if sizes else dict(node.sizes)
    return Node(
        node.op, _mapped(node.inputs, values), _mapped(node.outputs, values), node.span, attrs, node.path, callee,
        node.count, inner, dict(node.modules), node.phase, node.inverted, node.log_det,
    )  # fmt: skip


def _mapped(values: Iterable[Value], made: Mapping[int, Value]) -> tuple[Value, ...]:
    return tuple(made[id(v)] for v in values)


def _graph(graph: Graph, made: Mapping[int, Graph]) -> Graph:
    values: dict[int, Value] = {}
    for port in graph.inputs:
        for value in port.values:
            values[id(value)] = Value(value.type, value.name)
    inputs = [replace_port(p, values) for p in graph.inputs]
    nodes: dict[int, Node] = {}
    for node in graph.nodes:
        nodes[id(node)] = copy_node(node, values, {}, made)
    copy = Graph(
        graph.name, graph.block, graph.span, inputs,
        [Output(_mapped(o.values, values), o.name, o.kind, o.training) for o in graph.outputs],
        list(nodes.values()),
        {path: _child(c, made) for path, c in graph.children.items()}, dict(graph.weights),
        {path: _child(c, made) for path, c in graph.borrowed.items()}, dict(graph.aliases), graph.symbols,
        list(graph.constraints), graph.params, graph.doc, graph.sequential, graph.reversible,
    )  # fmt: skip
    copy.proof = None if graph.proof is None else _proof(graph.proof, values, nodes)
    return copy


def replace_port(port: Port, values: Mapping[int, Value]) -> Port:
    """The port over copies of its values."""
    return Port(port.name, _mapped(port.values, values), port.kind, port.context, port.span)


def _child(child: Child, made: Mapping[int, Graph]) -> Child:
    graph = None if child.graph is None else made[id(child.graph)]
    return Child(child.path, child.span, child.op, child.attrs, child.weights, graph, child.count)


def _proof(proof: Proof, values: Mapping[int, Value], nodes: Mapping[int, Node]) -> Proof:
    steps = tuple(
        Step(
            s.kind, None if s.node is None else nodes[id(s.node)], _mapped(s.consumed, values), _mapped(s.made, values),
            s.span, s.names,
        )
        for s in proof.steps
    )  # fmt: skip
    return replace(proof, steps=steps)
