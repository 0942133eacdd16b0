"""Orders of a graph's nodes in which few bytes wait: what is evaluated again can only be consecutive nodes.

A network of several branches is written in some order of them, often a layer of each in turn. Where one branch is
finished before the next begins, little else waits meanwhile, and a stretch of it can be evaluated again from little. To
find the order with the fewest bytes is NP-hard (minimum linear arrangement): from the author's order and from two
others, nodes move to better places one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from archlang.analyze.ordering import least_live
from archlang.analyze.trace import Step, Trace
from archlang.budget.units import by_node
from archlang.ir.graph import CONTRACTIONS, Graph, Node
from archlang.ir.paths import Paths
from archlang.optimize.edit import acts

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["orders"]

GAIN = 0.97  # an order is worth it where the bytes that wait, over all places, are at most so many times as before


def orders(trace: Trace) -> dict[int, list[int]]:
    """By the id of a graph, the places of its nodes in a better order; for all graphs below a trace for which one is
    found."""
    found: dict[int, list[int]] = {}
    seen: set[int] = set()
    waiting = [trace]
    while waiting:
        trace = waiting.pop()
        assert trace.plan is not None
        graph = trace.plan.graph
        if id(graph) in seen:
            continue
        seen.add(id(graph))
        waiting += [step.trace for step in trace.steps if step.trace is not None]
        if not graph.sequential and all(_free(node) for node in graph.nodes):
            order = _better(graph, _Waiting(graph, trace))
            if order is not None:
                found[id(graph)] = order
    return found


def _free(node: Node) -> bool:
    plain = node.phase is None and not node.inverted and not node.log_det and not node.modules
    return plain and node.op not in ("extern", "phase", *CONTRACTIONS)


class _Waiting:
    """The tensors of a graph: who makes each, who reads it, and its bytes."""

    def __init__(self, graph: Graph, trace: Trace) -> None:
        self.count = len(graph.nodes)
        self.maker: dict[int, int] = {}
        self.readers: dict[int, set[int]] = {}
        self.sizes: dict[int, int] = {}
        self.gives: list[set[int]] = [set() for _ in range(self.count)]
        self.takes: list[set[int]] = [set() for _ in range(self.count)]
        for index, _, steps in by_node(trace):
            self._read(index, steps)

    def _read(self, index: int, steps: Sequence[Step]) -> None:
        for storage in steps[0].ins:
            if id(storage) in self.maker:
                self.takes[index].add(id(storage))
                self.readers[id(storage)].add(index)
        for storage in steps[-1].outs:
            assert isinstance(storage.bytes, int)
            if id(storage) not in self.maker and not storage.own:
                self.maker[id(storage)] = index
                self.readers[id(storage)] = set()
                self.sizes[id(storage)] = storage.bytes
                self.gives[index].add(id(storage))

    def bytes(self, order: Sequence[int]) -> int:
        """Bytes that wait for their last reader, over all places of an order."""
        place = {node: i for i, node in enumerate(order)}
        return sum(
            self.sizes[tensor] * (max(place[i] for i in readers) - place[self.maker[tensor]])
            for tensor, readers in self.readers.items()
            if readers
        )

    def swapped(self, first: int, second: int, place: Mapping[int, int]) -> int:
        """Bytes more that wait where two neighbours change places."""
        more = sum(self.sizes[t] for t in self.gives[second] if self.readers[t])
        more -= sum(self.sizes[t] for t in self.gives[first] if self.readers[t])
        ends = {t: max(place[i] for i in self.readers[t]) for t in self.takes[first] ^ self.takes[second]}
        more += sum(self.sizes[t] for t in self.takes[first] if ends.get(t) == place[first])
        return more - sum(self.sizes[t] for t in self.takes[second] if ends.get(t) == place[second])


def _better(graph: Graph, waiting: _Waiting) -> list[int] | None:
    view = _view(graph)
    written = list(range(len(graph.nodes)))
    tried = (written, _depth_first(view), _least_live(view, waiting))
    best = min((_settled(order, view, waiting) for order in tried), key=waiting.bytes)
    return best if waiting.bytes(best) <= GAIN * waiting.bytes(written) else None


def _view(graph: Graph) -> nx.DiGraph[int]:
    """The nodes by their places, with an edge from one that must come before another to that."""
    import networkx as nx  # heavy: only who plans pays for it

    view: nx.DiGraph[int] = nx.DiGraph()
    view.add_nodes_from(range(len(graph.nodes)))
    maker = {id(v): i for i, node in enumerate(graph.nodes) for v in node.outputs}
    for i, node in enumerate(graph.nodes):
        view.add_edges_from((maker[id(v)], i) for v in node.inputs if id(v) in maker)
    paths, rows = Paths(graph), dict[object, list[int]]()
    for i, node in enumerate(graph.nodes):
        for effect in _effects(node, paths):
            rows.setdefault(effect, []).append(i)
    for row in rows.values():
        view.add_edges_from(pairwise(row))
    return view


def _effects(node: Node, paths: Paths) -> Iterator[object]:
    """What a node draws from, or writes to: those with the same must keep their order."""
    if acts(node, training=False):
        yield "random"
    if node.path is not None and acts(node, training=True):
        yield id(paths.owned(node.path))


def _depth_first(view: nx.DiGraph[int]) -> list[int]:
    """Each branch as a whole, before the next."""
    import networkx as nx

    reverse = view.reverse()
    reverse.add_node(-1)  # behind all results
    reverse.add_edges_from((-1, node) for node in view if not view.out_degree(node))
    return list(nx.dfs_postorder_nodes(reverse, -1))[:-1]


def _least_live(view: nx.DiGraph[int], waiting: _Waiting) -> list[int]:
    """Always the node after which the least waits."""
    before = [set(view.predecessors(i)) for i in range(waiting.count)]
    made = [{t: waiting.sizes[t] for t in gives} for gives in waiting.gives]
    read = [{t: waiting.sizes[t] for t in takes} for takes in waiting.takes]
    touched = [{**a, **b} for a, b in zip(made, read, strict=True)]
    return least_live(before, [sum(sizes.values()) for sizes in made], touched)


def _settled(order: list[int], view: nx.DiGraph[int], waiting: _Waiting) -> list[int]:
    """The order with each node, in turn, at the best place between those that it comes after and before."""
    place = {node: i for i, node in enumerate(order)}
    order = list(order)

    def moved(node: int, step: int) -> bool:
        """Carries a node on in one direction, and back to the best place on that way."""
        start = best = place[node]
        gain = most = 0
        while 0 <= (other := place[node] + step) < len(order):
            beside = order[other]
            first, second = (node, beside) if step > 0 else (beside, node)
            if view.has_edge(first, second):
                break
            gain += waiting.swapped(first, second, place)
            _swap(order, place, node, beside)
            if gain < most:
                best, most = place[node], gain
        while place[node] != best:
            _swap(order, place, node, order[place[node] - step])
        return best != start

    while sum(moved(node, step) for node in list(order) for step in (1, -1)):
        pass
    return order


def _swap(order: list[int], place: dict[int, int], node: int, other: int) -> None:
    i, j = place[node], place[other]
    order[i], order[j] = other, node
    place[node], place[other] = j, i
