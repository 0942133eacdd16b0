"""A graph at one choice of its sizes: types and attributes with the caller's sizes put in, made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archlang.ir.graph import Child, Graph, Node, TensorType, Value, WeightDecl, attrs_at
from archlang.ir.paths import Paths
from archlang.reversible import runs
from archlang.shapes.dim import Size, substitute

__all__ = ["Env", "Plan", "Plans", "present"]

Env = Mapping[str, Size]


class Plan:
    """Types of all values, and attributes and callee's sizes of all nodes."""

    def __init__(self, graph: Graph, env: Env) -> None:
        self.graph = graph
        self.key = (id(graph), tuple(env[name] for name in graph.symbols))
        self.types = {id(v): v.type.at(env) for v in graph.values}
        self.attrs = [attrs_at(node.attrs, env) for node in graph.nodes]
        self.sizes = [{name: substitute(s, env) for name, s in node.sizes.items()} for node in graph.nodes]

    def ins(self, node: Node) -> list[TensorType]:
        """Types of the node's inputs."""
        return [self.types[id(v)] for v in node.inputs]

    def outs(self, node: Node) -> list[TensorType]:
        """Types of the node's outputs."""
        return [self.types[id(v)] for v in node.outputs]


class Plans:
    """The plans of a program, and the paths of its graphs."""

    def __init__(self) -> None:
        self._plans: dict[Any, Plan] = {}
        self._paths: dict[int, Paths] = {}

    def plan(self, graph: Graph, env: Env) -> Plan:
        """The graph where its symbols have these sizes, which may be symbols of the caller."""
        key = (id(graph), tuple(env[name] for name in graph.symbols))
        if key not in self._plans:
            self._plans[key] = Plan(graph, env)
        return self._plans[key]

    def reached(self, graph: Graph, env: Env) -> Iterator[Plan]:
        """The plans of a graph and of all that its calls reach, each once."""
        first = self.plan(graph, env)
        known, queue = {first.key}, [first]
        for plan in queue:  # which grows
            yield plan
            for node, sizes in zip(plan.graph.nodes, plan.sizes, strict=True):
                inner = None if node.callee is None else self.plan(node.callee, sizes)
                if inner is not None and inner.key not in known:
                    known.add(inner.key)
                    queue.append(inner)

    def child(self, graph: Graph, path: str) -> Child | None:
        """The module under a path of the graph, the first of a run; None where there is none."""
        return self._of(graph).child(path)

    def weight(self, graph: Graph, path: str) -> WeightDecl:
        """The declared weight under a path of the graph."""
        return graph.weights[self._of(graph).canonical(path)]

    def _of(self, graph: Graph) -> Paths:
        if id(graph) not in self._paths:
            self._paths[id(graph)] = Paths(graph)
        return self._paths[id(graph)]


def present(node: Node, training: bool) -> list[Value]:
    """The outputs that a node has in a mode."""
    graph = runs(node)
    if graph is None:
        return list(node.outputs)
    kinds = [o.training for o in graph.outputs for _ in o.values]
    return [v for v, only in zip(node.outputs, kinds, strict=True) if training or not only]
