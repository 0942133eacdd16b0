"""Branches of a network that do not depend on each other: what could run side by side.

Where a step joins several wires, what only one of them was made by is a branch: no way leads from it to another one,
else it would have made that wire, too. Steps of different branches are an antichain of the dataflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archlang.ir.graph import Graph, Node, Program, Value
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.shapes.dim import Size, evaluate, substitute

__all__ = ["Branch", "Fork", "forks"]


@dataclass(frozen=True, slots=True)
class Branch:
    """Steps in order of execution, and their multiply-accumulates."""

    nodes: tuple[Node, ...]
    macs: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Two branches or more that meet in a step of a graph; `join` is None where they are results of it."""

    graph: Graph
    join: Node | None
    branches: tuple[Branch, ...]


def forks(program: Program, sizes: Mapping[str, int]) -> list[Fork]:
    """Where two branches or more meet that multiply; callers first, a graph once, at the sizes of its first call.

    sizes: of all symbols of the root. Joins of the same branches are listed once, where they first meet.
    """
    totals: dict[int, Size] = {}
    for graph in program.graphs:
        totals[id(graph)] = sum((_macs(node, totals) for node in graph.nodes), start=0)
    envs: dict[int, Mapping[str, int]] = {id(program.root): sizes}
    found: list[Fork] = []
    for graph in reversed(program.graphs):
        env = envs.get(id(graph), {})
        if not set(graph.symbols) <= env.keys():
            continue  # nothing calls it
        for node in graph.nodes:
            if node.callee is not None and id(node.callee) not in envs:
                envs[id(node.callee)] = {name: evaluate(size, env) for name, size in node.sizes.items()}
        found.extend(_forks(graph, [evaluate(_macs(node, totals), env) for node in graph.nodes]))
    return found


def _macs(node: Node, totals: Mapping[int, Size]) -> Size:
    if node.callee is not None:
        return substitute(totals.get(id(node.callee), 0), node.sizes) * node.count
    if node.op not in registry():
        return 0
    ins, outs = ([v.type for v in side] for side in (node.inputs, node.outputs))
    if node.inverted:
        ins, outs = outs, ins
    return registry()[node.op].macs(ins, outs, node.attrs) * node.count


def _forks(graph: Graph, macs: Sequence[int]) -> Iterator[Fork]:
    place = {id(v): i for i, node in enumerate(graph.nodes) for v in node.outputs}
    before: list[int] = []  # of each node, the set of nodes that it is made by, itself among them, as bits
    seen: set[tuple[int, ...]] = set()

    def made_by(values: Sequence[Value]) -> list[int]:
        return [before[place[id(v)]] if id(v) in place else 0 for v in values]

    results = graph.results
    joins = [(node, node.inputs) for node in graph.nodes]
    for i, (node, values) in enumerate((*joins, (None, results))):
        sets = made_by(values)
        own = tuple(part for part in _exclusive(sets) if _sum(part, macs))
        if len(own) > 1 and own not in seen:
            seen.add(own)
            parts = (Branch(tuple(graph.nodes[k] for k in _bits(part)), _sum(part, macs)) for part in own)
            yield Fork(graph, node, tuple(parts))
        if node is not None:
            union = 1 << i
            for part in sets:
                union |= part
            before.append(union)


def _exclusive(sets: Sequence[int]) -> Iterator[int]:
    """Of each set, what is in no other."""
    once = several = 0
    for part in sets:
        several |= once & part
        once |= part
    return (part & ~several for part in sets)


def _bits(part: int) -> Iterator[int]:
    while part:
        low = part & -part
        yield low.bit_length() - 1
        part ^= low


def _sum(part: int, macs: Sequence[int]) -> int:
    return sum(macs[i] for i in _bits(part))
