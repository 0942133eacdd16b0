"""Chains of blocks, written out in the graphs that call them: what is evaluated again can run from one stage of a
network into the next. A chain that no decision runs through an end of is put back before anything is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from archlang.budget.schedule import Decision, Schedule
from archlang.budget.units import Reach
from archlang.ir.graph import Child, Graph, Node, Program
from archlang.ir.paths import Paths, join
from archlang.optimize.clone import copy_node
from archlang.records import dataclass, replace
from archlang.reversible import rebuildable

__all__ = ["Stages"]


@dataclass(frozen=True, slots=True)
class _Written:
    """A graph with its chains written out. chained: the same with the chains as calls, where their callees are such
    graphs, too; places: for each of its nodes the first of those in its place, and how many it is called from there;
    stages: which nodes are chains."""

    original: Graph
    chained: Graph
    places: list[int]
    stages: frozenset[int]


class Stages:
    """`program` is the network with its chains written out, with the same paths (`write`), and the nodes of graphs in
    other orders (`orders`, by the ids of graphs). Reversible blocks stay as they are: they are undone as they were
    proved."""

    def __init__(self, program: Program, write: bool = True, orders: Mapping[int, Sequence[int]] | None = None) -> None:
        self.orders = orders or {}
        self.names = {graph.name for graph in program.graphs}
        self._kept = rebuildable(program)
        self._written: dict[int, _Written] = {}
        self._made: dict[int, Graph] = {}
        for graph in program.graphs if write or orders else ():  # callees come first
            self._made[id(graph)] = self._write(graph, write)
        root = self._made.get(id(program.root), program.root)
        self.program = program if root is program.root else Program.of(root, program.given)

    def original(self, graph: Graph) -> Graph:
        return self._written[id(graph)].original if id(graph) in self._written else graph

    def folded(self, graph: Graph, schedule: Schedule) -> tuple[Graph, Schedule]:
        """The graph with those chains as calls that no decision runs through an end of, and the schedule for it."""
        written = self._written.get(id(graph))
        if written is None or not written.stages:
            return graph, schedule
        folding = _Folding(graph, written, schedule)
        return folding.graph, folding.schedule

    def _write(self, graph: Graph, write: bool) -> Graph:
        if graph.proof is not None or graph.reversible or id(graph) in self._kept:
            return graph
        callees = {id(g): made for g in _called(graph) if (made := self._made[id(g)]) is not g}
        chained = _calling(graph, callees) if callees else graph
        if id(graph) in self.orders:
            chained = replace(chained, nodes=[chained.nodes[i] for i in self.orders[id(graph)]])
        reach, narrow = Reach(chained), _narrow(chained)
        stages = frozenset(
            i
            for i, node in enumerate(chained.nodes)
            if write and self._stage(node, reach) and not narrow.isdisjoint({i, i + 1} - {0, len(chained.nodes)})
        )
        made = _opened(chained, stages)
        if made is not graph:
            counts = [len(_callee(node).nodes) if i in stages else 1 for i, node in enumerate(chained.nodes)]
            places = [sum(counts[:i]) for i in range(len(counts) + 1)]
            self._written[id(made)] = _Written(graph, chained, places, stages)
        return made

    def _stage(self, node: Node, reach: Reach) -> bool:
        """Whether a node calls a plain chain of blocks that nobody else runs."""
        callee = node.callee
        if callee is None or not callee.sequential or id(callee) in self._kept or callee.proof is not None:
            return False
        own = not callee.weights and not callee.aliases and not callee.borrowed and not callee.reversible
        blocks = all(n.op == "call" and n.path is not None and not n.modules and n.phase is None for n in callee.nodes)
        given = [v for output in callee.outputs for v in output.values]
        blocks = blocks and bool(callee.nodes) and given == list(callee.nodes[-1].outputs)
        several = sum(n.count for n in callee.nodes) > 1
        return own and blocks and several and node.count == 1 and node.phase is None and reach.sole(node)


def _narrow(graph: Graph) -> set[int]:
    """The places between nodes, by the node behind each, that one value alone crosses."""
    last = {id(v): i for i, node in enumerate(graph.nodes) for v in node.inputs}
    last |= {id(v): len(graph.nodes) for output in graph.outputs for v in output.values}
    made = [(-1, v) for port in graph.inputs for v in port.values]
    made += [(i, v) for i, node in enumerate(graph.nodes) for v in node.outputs]
    crossing = [0] * (len(graph.nodes) + 2)
    for place, value in made:
        end = last.get(id(value), place)
        if end > place:
            crossing[place + 1] += 1
            crossing[end + 1] -= 1
    return {i for i, count in enumerate(accumulate(crossing)) if count == 1}


def _callee(node: Node) -> Graph:
    assert node.callee is not None
    return node.callee


def _called(graph: Graph) -> list[Graph]:
    found = [child.graph for child in (*graph.borrowed.values(), *graph.children.values())]
    return [g for g in (*(node.callee for node in graph.nodes), *found) if g is not None]


def _calling(graph: Graph, callees: dict[int, Graph]) -> Graph:
    """The graph over the same values, with other callees."""

    def child(old: Child) -> Child:
        return old if old.graph is None else replace(old, graph=callees.get(id(old.graph), old.graph))

    nodes = [n if n.callee is None else replace(n, callee=callees.get(id(n.callee), n.callee)) for n in graph.nodes]
    children = {path: child(c) for path, c in graph.children.items()}
    return replace(graph, nodes=nodes, children=children, borrowed={p: child(c) for p, c in graph.borrowed.items()})


def _opened(graph: Graph, stages: frozenset[int]) -> Graph:
    """The graph with these calls written out: their blocks stand under the same paths."""
    if not stages:
        return graph
    nodes: list[Node] = []
    inside: dict[str, Graph] = {}
    for i, node in enumerate(graph.nodes):
        if i not in stages:
            nodes.append(node)
            continue
        assert node.path is not None
        callee = inside[Paths(graph).canonical(node.path)] = _callee(node)
        entries = [v for port in callee.inputs for v in port.values]
        values = {id(v): given for v, given in zip(entries, node.inputs, strict=True)}
        for block in callee.nodes:
            copy = copy_node(block, values, node.sizes, {})
            copy.path = join(node.path, block.path or "")
            nodes.append(copy)
        nodes[-1].outputs = node.outputs
    children: dict[str, Child] = {}
    for path, child in graph.children.items():
        if path in inside:
            children |= {join(path, p): replace(c, path=join(path, p)) for p, c in inside[path].children.items()}
        else:
            children[path] = child
    return replace(graph, nodes=nodes, children=children, sequential=False)


class _Folding:
    """Where nodes and decisions of a graph are once the chains that need not be open are calls again."""

    def __init__(self, graph: Graph, written: _Written, schedule: Sequence[Decision]) -> None:
        self.written = written
        self.places = written.places
        through = {j for d in schedule for j in self._stages(d) if not self._inside(d, j) and not self._over(d, j)}
        self.open = written.stages & through
        self.first: list[int] = []  # of each chained node, the first place now
        nodes: list[Node] = []
        for j, node in enumerate(written.chained.nodes):
            self.first.append(len(nodes))
            nodes += graph.nodes[self.places[j] : self.places[j + 1]] if j in self.open else [node]
        self.first.append(len(nodes))
        chained = written.chained
        calls = [n.path for j, n in enumerate(chained.nodes) if j in written.stages and j not in self.open]
        closed = {Paths(chained).canonical(path) for path in calls if path is not None}
        children: dict[str, Child] = {}
        for path, child in chained.children.items():
            inner = {p: c for p, c in graph.children.items() if p.startswith(f"{path}.")}
            children |= {path: child} if path in closed or path in graph.children else inner
        self.graph = replace(graph, nodes=nodes, children=children, sequential=chained.sequential and not self.open)
        self.schedule = tuple(self._decisions(schedule))

    def _stages(self, d: Decision) -> list[int]:
        """The chains that a decision is about, in part at least."""
        return [j for j in self.written.stages if d.start[0] < self.places[j + 1] and d.stop[0] >= self.places[j]]

    def _inside(self, d: Decision, j: int) -> bool:
        return d.start[0] >= self.places[j] and d.stop[0] < self.places[j + 1]

    def _over(self, d: Decision, j: int) -> bool:
        """Whether a decision is about all of a chain."""
        last = self.places[j + 1] - 1
        count = _callee(self.written.chained.nodes[j]).nodes[-1].count
        return d.start <= (self.places[j], 0) and d.stop >= (last, count)

    def _decisions(self, schedule: Sequence[Decision]) -> list[Decision]:
        found: list[Decision] = []
        left = list(schedule)
        while left:
            within = [j for j in self._stages(left[0]) if j not in self.open and self._inside(left[0], j)]
            if not within:
                d = left.pop(0)
                found.append(replace(d, start=self._place(d.start), stop=self._place(d.stop)))
                continue
            (j,) = within
            inner: list[Decision] = []
            while left and self._inside(left[0], j):
                d, offset = left.pop(0), self.places[j]
                start, stop = (d.start[0] - offset, d.start[1]), (d.stop[0] - offset, d.stop[1])
                inner.append(replace(d, start=start, stop=stop))
            found.append(Decision("inside", (self.first[j], 0), (self.first[j], 1), tuple(inner)))
        return found

    def _place(self, place: tuple[int, int]) -> tuple[int, int]:
        """Where a node of the written graph is now. A place in a chain that is a call again is that call: at its start
        or behind it."""
        index, at = place
        j = max(j for j, first in enumerate(self.places[:-1]) if first <= index)
        if j in self.open or j not in self.written.stages:
            return self.first[j] + index - self.places[j], at
        return self.first[j], int((index, at) > (self.places[j], 0))
