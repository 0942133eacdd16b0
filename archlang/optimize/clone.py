"""Copies of programs that may be changed: no node, value, child or graph is the original's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from archlang.ir.graph import (
    Child,
    Graph,
    Node,
    Output,
    Port,
    Program,
    Proof,
    Step,
    Value,
    attrs_at,
)
from archlang.records import replace
from archlang.shapes.dim import Size, substitute

__all__ = ["clone", "copy_graph", "copy_node", "copy_proof"]


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


def copy_node(node: Node, values: dict[int, Value], sizes: Mapping[str, Size], graphs: Mapping[int, Graph]) -> Node:
    """A copy over the copies of its inputs, with fresh outputs, which are put into `values`."""
    for value in node.outputs:
        values[id(value)] = Value(value.type.at(sizes), value.name)
    attrs = attrs_at(node.attrs, sizes) if sizes else dict(node.attrs)
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
    inputs = [_port(p, values) for p in graph.inputs]
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
    copy.proof = None if graph.proof is None else copy_proof(graph.proof, values, nodes)
    return copy


def _port(port: Port, values: Mapping[int, Value]) -> Port:
    return Port(port.name, _mapped(port.values, values), port.kind, port.context, port.span)


def _child(child: Child, made: Mapping[int, Graph]) -> Child:
    graph = None if child.graph is None else made[id(child.graph)]
    return Child(child.path, child.span, child.op, child.attrs, child.weights, graph, child.count)


def copy_proof(proof: Proof, values: Mapping[int, Value], nodes: Mapping[int, Node]) -> Proof:
    """The proof over copies of its values and nodes, by the ids of the old ones."""
    steps = tuple(
        Step(
            s.kind, None if s.node is None else nodes[id(s.node)], _mapped(s.consumed, values), _mapped(s.made, values),
            s.span, s.names,
        )
        for s in proof.steps
    )  # fmt: skip
    return replace(proof, steps=steps)
