"""Regions: reversible calls of which training keeps the results only, and rebuilds the rest in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archlang.ir.graph import Graph, Node, Program
from archlang.reversible.prove import proved

__all__ = ["METHODS", "concerned", "rebuildable", "region_from", "uses"]

METHODS = ("inverse", "statements")  # of the classes of reversible blocks: no child may be called so


def concerned(program: Program) -> list[Graph]:
    """The graphs in which some block is declared reversible, callees first: a plain network stays as it is."""
    found: dict[int, Graph] = {}
    for graph in program.graphs:
        if graph.reversible or any(n.callee is not None and id(n.callee) in found for n in graph.nodes):
            found[id(graph)] = graph
    return list(found.values())


def rebuildable(program: Program) -> set[int]:
    """Ids of the concerned graphs whose steps training can take back: proved, with streams as their only results."""
    return {id(graph) for graph in concerned(program) if graph is not program.root and _plain(graph)}


def _plain(graph: Graph) -> bool:
    proof = proved(graph)
    clash = any(path.split(".")[0] in METHODS for path in (*graph.children, *graph.weights, *graph.aliases))
    if proof is None or proof.grade == "approximate":  # what is iterated is kept: exact gradients need the inputs
        return False
    own = not graph.borrowed  # a step looks for weights and buffers in its own block
    return proof.outputs == len(graph.outputs) and own and not clash


def uses(graph: Graph) -> dict[int, int]:
    """How often each value is read, results included."""
    found: dict[int, int] = {}
    read = [v for node in graph.nodes for v in node.inputs] + graph.results
    for value in read:
        found[id(value)] = found.get(id(value), 0) + 1
    return found


def region_from(nodes: Sequence[Node], at: int, starts: Callable[[Node], bool], uses: Mapping[int, int]) -> list[Node]:
    """The calls from a node on that can be one region: each takes what the ones before give, or what is outside."""
    taken: list[Node] = []
    made: dict[int, bool] = {}  # values made inside -> whether they are still there
    while at < len(nodes) and starts(nodes[at]) and nodes[at].phase is None:
        node = nodes[at]
        assert node.callee is not None
        context = sum(len(p.values) for p in node.callee.inputs if p.context)
        streams, fixed = node.inputs[: len(node.inputs) - context], node.inputs[len(node.inputs) - context :]
        ours = [v for v in streams if id(v) in made]
        shared = any(uses[id(v)] > 1 or not made[id(v)] for v in ours) or any(id(v) in made for v in fixed)
        if (taken and not ours) or shared or len(set(map(id, streams))) < len(streams):
            break
        made.update({id(v): False for v in ours})
        made.update({id(v): True for v in node.outputs})
        taken.append(node)
        at += 1
    return taken
