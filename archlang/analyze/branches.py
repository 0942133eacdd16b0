"""Branches of a network that do not depend on each other: what could run side by side.

Where a step joins several wires, what only one of them was made by is a branch: no way leads from it to another one,
else it would have made that wire, too. Steps of different branches are an antichain of the dataflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archlang.analyze.trace import operations
from archlang.ir.graph import CONTRACTIONS, Graph, Node, Program
from archlang.ir.paths import Paths, join
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.shapes.dim import Size, evaluate, substitute

__all__ = ["Branch", "Fork", "forks"]


@dataclass(frozen=True, slots=True)
class Branch:
    """Steps in order of execution, and their multiply-accumulates in one run."""

    nodes: tuple[Node, ...]
    macs: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Two branches or more that meet in a step of a graph; `join` is None where they are results of it.

    path: of the first instance of the graph ("": the network); runs: how often the graph runs at these sizes.
    """

    graph: Graph
    join: Node | None
    branches: tuple[Branch, ...]
    path: str
    runs: int

    @property
    def longest(self) -> int:
        """The most multiply-accumulates of a branch: what is left of their sum where all run side by side."""
        return max(branch.macs for branch in self.branches)

    @property
    def saved(self) -> int:
        """By how many multiply-accumulates the way through all runs is shorter then."""
        return (sum(branch.macs for branch in self.branches) - self.longest) * self.runs

    @property
    def streams(self) -> int:
        """So many streams are enough: on them the branches take as long as the longest does, the large ones given out
        first, each to the stream that has least to do."""
        for count in range(1, len(self.branches)):
            loads = [0] * count
            for macs in sorted((branch.macs for branch in self.branches), reverse=True):
                loads[loads.index(min(loads))] += macs
            if max(loads) == self.longest:
                return count
        return len(self.branches)


def forks(program: Program, sizes: Mapping[str, int]) -> list[Fork]:
    """Where two branches or more meet that multiply; callers first, a graph once at each choice of its sizes.

    sizes: of all symbols of the root. Joins of branches whose largest steps are the same are listed once, where they
    first meet.
    """
    totals: dict[int, Size] = {}
    for graph in program.graphs:
        totals[id(graph)] = sum((_macs(node, totals) for node in graph.nodes), start=0)
    found: list[Fork] = []
    for graph, env, place in _places(program, sizes):
        macs = [evaluate(_macs(node, totals), env) for node in graph.nodes]
        found += [Fork(graph, node, branches, place.path, place.runs) for node, branches in _meetings(graph, macs)]
    return found


@dataclass(slots=True)
class _Place:
    """Where a graph runs first at one choice of its sizes, and how often it does. lent: paths of what it borrows."""

    path: str
    lent: Mapping[str, str]
    runs: int = 0


def _places(program: Program, sizes: Mapping[str, int]) -> Iterator[tuple[Graph, Mapping[str, int], _Place]]:
    """Every graph at every choice of its sizes, callers first."""
    root = program.root
    known: dict[int, dict[tuple[int, ...], _Place]] = {id(graph): {} for graph in program.graphs}
    known[id(root)][tuple(sizes[name] for name in root.symbols)] = _Place("", {}, 1)
    for graph in reversed(program.graphs):
        paths = Paths(graph)
        for choice, place in known[id(graph)].items():
            env = dict(zip(graph.symbols, choice, strict=True))
            yield graph, env, place

            def full(path: str, paths: Paths = paths, place: _Place = place) -> str:
                lent = None if paths.owned(path) is not None else paths.lend(path, place.lent)
                return join(place.path, path) if lent is None else lent

            for node in graph.nodes:
                callee = node.callee
                if callee is not None:
                    inner = tuple(evaluate(node.sizes[name], env) for name in callee.symbols)
                    lent = {slot: full(path) for slot, path in node.modules.items()}
                    there = known[id(callee)].setdefault(inner, _Place(full(node.path or ""), lent))
                    there.runs += place.runs * node.count


def _macs(node: Node, totals: Mapping[int, Size]) -> Size:
    """Of a node in evaluation, as `cost` counts them: iterations whose number is not known are in no figure."""
    if node.phase == "train" or node.op in CONTRACTIONS:
        return 0
    if node.callee is not None:
        return substitute(totals.get(id(node.callee), 0), node.sizes) * node.count
    if node.op not in registry():
        return 0
    ins, outs = ([v.type for v in side] for side in (node.inputs, node.outputs))
    return operations(node, node.attrs, ins, outs)[0] * node.count


def _meetings(graph: Graph, macs: Sequence[int]) -> Iterator[tuple[Node | None, tuple[Branch, ...]]]:
    """The steps (None: the results) in which branches meet, and these."""
    place = {id(v): i for i, node in enumerate(graph.nodes) for v in node.outputs}
    before: list[int] = []  # of each node, the set of nodes that it is made by, itself among them, as bits
    seen: set[frozenset[int]] = set()
    for i, (node, values) in enumerate((*((n, n.inputs) for n in graph.nodes), (None, graph.results))):
        sets = [before[place[id(v)]] if id(v) in place else 0 for v in values]
        own = [part for part in _exclusive(sets) if _sum(part, macs)]
        largest = frozenset(max(_bits(part), key=macs.__getitem__) for part in own)
        if len(own) > 1 and largest not in seen:
            seen.add(largest)
            yield node, tuple(Branch(tuple(graph.nodes[k] for k in _bits(part)), _sum(part, macs)) for part in own)
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
