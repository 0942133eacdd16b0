"""What training evaluates at once to take steps of a proved graph back: their operands, from the streams at hand."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from archlang.ir.graph import CONTRACTIONS, Graph, Node, Step, Value
from archlang.ops.base import registry

__all__ = ["Group", "Operands", "groups", "operands_of"]


class Group(NamedTuple):
    """Steps that are taken together. nodes: what computes their operands, in the order of the graph; torn: a step that
    shares one of them with a group before the last, so that none of the graph's steps can be taken by itself."""

    steps: list[Step]
    nodes: list[Node]
    torn: Step | None = None


class Operands:
    """What computes the values of a graph, from those that are streams at the time."""

    def __init__(self, graph: Graph) -> None:
        self.places = {id(node): i for i, node in enumerate(graph.nodes)}
        self.makers = {id(v): node for node in graph.nodes for v in node.outputs}

    def nodes(self, values: Iterable[Value], live: Container[int]) -> list[Node]:
        """The nodes that compute values from the streams at hand (by their ids) and the context, in their order."""
        found: dict[int, Node] = {}
        pending = list(values)
        while pending:
            v = pending.pop()
            node = None if id(v) in live else self.makers.get(id(v))
            if node is not None and id(node) not in found:
                found[id(node)] = node
                pending += node.inputs
        return sorted(found.values(), key=lambda node: self.places[id(node)])


def operands_of(step: Step) -> list[Value]:
    """What a step reads besides the streams that it takes."""
    if step.node is None:
        return list(step.made)
    return [v for v in step.node.inputs if not any(v is c for c in step.consumed)]


def groups(graph: Graph) -> list[Group]:
    """The steps of a proved graph, those together that are neighbours and whose operands share what computes them."""
    assert graph.proof is not None
    operands = Operands(graph)
    live = {id(v) for v in graph.entries}
    found: list[Group] = []
    for step in graph.proof.steps:
        mine = operands.nodes(operands_of(step), live)
        once = {id(n) for n in mine if _once(n)}
        made = {id(v) for s in (found[-1].steps if found else ()) for v in s.made}
        apart = any(id(v) in made for v in (*(v for n in mine for v in n.inputs), *operands_of(step)))
        shared = [group for group in found if once & {id(n) for n in group.nodes}]
        if shared and not apart and shared[-1] is found[-1]:
            before = found.pop()
            nodes = {id(n): n for n in (*before.nodes, *mine)}
            found.append(Group([*before.steps, step], sorted(nodes.values(), key=lambda n: operands.places[id(n)])))
        else:
            found.append(Group([step], mine, step if shared else None))
        live = live - {id(v) for v in step.consumed} | {id(v) for v in step.made}
    return found


def _once(node: Node) -> bool:
    """Whether a node must not be computed for two steps: it costs something, or has an effect."""
    if node.op in ("weight", "phase"):
        return False
    if node.op in ("call", "extern", *CONTRACTIONS):
        return True
    op = registry()[node.op]
    return op.random or bool(op.weights(node.attrs))
