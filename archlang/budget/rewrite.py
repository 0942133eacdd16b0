"""A program in which a schedule can be written down: what is trained in several ways becomes several nodes."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.budget.schedule import Decision, Schedule
from archlang.budget.stages import Stages
from archlang.budget.units import Reach, weighted
from archlang.codegen.checkpoints import Segment
from archlang.ir.graph import Child, Graph, Node, Program, Value
from archlang.ir.paths import Paths, shift
from archlang.records import dataclass, field, replace
from archlang.reversible import concerned

__all__ = ["Planned", "planned"]


@dataclass(frozen=True, slots=True)
class Planned:
    """The same network, with the same paths. segments: what is evaluated again, by the ids of graphs; origins: for the
    ids of graphs that were made, the ids of those that they stand for. Autograd records their calls, though they may be
    reversible."""

    program: Program
    segments: dict[int, list[Segment]]
    origins: dict[int, int]


def planned(stages: Stages, schedule: Schedule) -> Planned:
    """Splits runs where a decision begins or ends, and gives callees with decisions inside graphs of their own."""
    program = stages.program
    maker = _Maker(stages, {*stages.names}, {id(graph) for graph in concerned(program)})
    root = maker.graph(program.root, schedule)
    origins = {id(graph): key for (key, _), graph in maker.made.items()}
    return Planned(Program.of(root, program.given), maker.segments, origins)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Applications of a node that are trained in one way: by `decision`, so many of them at a time (0: all)."""

    node: Node
    start: int
    stop: int
    decision: Decision | None
    every: int = 0


@dataclass(slots=True)
class _Maker:
    stages: Stages
    names: set[str]
    concerned: set[int]  # ids of the graphs with something reversible inside
    segments: dict[int, list[Segment]] = field(default_factory=dict)
    made: dict[tuple[int, Schedule], Graph] = field(default_factory=dict)

    def graph(self, graph: Graph, schedule: Schedule) -> Graph:
        """The graph as a schedule has it. What no decision is about is recorded, and so in a graph of its own where it
        is reversible."""
        if not schedule and id(graph) not in self.concerned:
            return self.stages.original(graph)
        key = (id(graph), schedule)
        if key not in self.made:
            self.made[key] = self.rewritten(graph, schedule)
        return self.made[key]

    def rewritten(self, graph: Graph, schedule: Schedule) -> Graph:
        graph, schedule = self.stages.folded(graph, schedule)
        pieces = list(_pieces(graph, schedule))
        reach = Reach(graph)
        nodes: list[Node] = []
        for piece in pieces:
            nodes.append(self.piece(piece, nodes[-1] if piece.start else None, reach))
        made = replace(graph, name=self.free(graph.name), nodes=nodes, children=_children(graph, nodes))
        if graph.proof is not None:
            now = {id(p.node): node for p, node in zip(pieces, nodes, strict=True)}
            steps = [s if s.node is None else replace(s, node=now[id(s.node)]) for s in graph.proof.steps]
            split = len(nodes) > len(graph.nodes)  # then it is a composition, proved again where someone asks
            made.proof = None if split else replace(graph.proof, steps=tuple(steps))
        if segments := _segments(pieces):
            self.segments[id(made)] = segments
        return made

    def free(self, name: str) -> str:
        number = 2
        while f"{name}_{number}" in self.names:
            number += 1
        self.names.add(f"{name}_{number}")
        return f"{name}_{number}"

    def piece(self, piece: _Piece, before: Node | None, reach: Reach) -> Node:
        """The node of some of a node's applications; before: that of the ones before."""
        node, decision = piece.node, piece.decision
        callee = node.callee
        undone = decision is not None and decision.kind == "undo"
        if callee is not None and not undone and reach.sole(node):
            callee = self.graph(callee, () if decision is None else decision.inner)
        elif callee is not None:
            callee = self.stages.original(callee)
        inputs = node.inputs
        if before is not None:
            inputs = (*before.outputs, *node.inputs[len(before.outputs) :])
        whole = piece.stop == node.count
        outputs = node.outputs if whole else tuple(Value(v.type) for v in node.outputs)
        path = shift(node.path, piece.start) if node.path is not None else None
        return replace(node, path=path, count=piece.stop - piece.start, callee=callee, inputs=inputs, outputs=outputs)


def _pieces(graph: Graph, schedule: Schedule) -> Iterator[_Piece]:
    """The nodes, cut where decisions begin and end; equal decisions in a row on one node are one piece."""
    left = list(schedule)
    for i, node in enumerate(graph.nodes):
        at = 0
        while at < node.count:
            while left and left[0].stop <= (i, at):
                left.pop(0)
            decision = left[0] if left else None
            if decision is None or decision.start > (i, at):
                stop = decision.start[1] if decision is not None and decision.start[0] == i else node.count
                yield _Piece(node, at, stop, None)
                at = stop
                continue
            stop = decision.stop[1] if decision.stop[0] == i else node.count
            every = 0
            if decision.kind == "again" and decision.start[0] == i == decision.stop[0] and _plain(node):
                size, first = stop - at, at
                while len(left) > 1 and _follows(left[1], decision, stop, size) and stop - at == size:
                    left.pop(0)
                    at, stop, every = stop, left[0].stop[1], size
                at = first
            yield _Piece(node, at, stop, decision, every)
            at = stop


def _plain(node: Node) -> bool:
    """Whether each application takes a tensor, gives one, and takes nothing else."""
    if node.callee is None:
        return len(node.inputs) == len(node.outputs) == 1
    simple = [port.kind for port in node.callee.inputs] == [out.kind for out in node.callee.outputs] == ["tensor"]
    return simple and weighted(node.callee) and not node.callee.borrowed and not node.callee.outputs[0].training


def _follows(after: Decision, before: Decision, at: int, size: int) -> bool:
    """Whether a decision evaluates so many further applications of a node again, or the last few, in the same way."""
    node = before.start[0]
    alike = (after.kind, after.start, after.stop[0], after.inner) == ("again", (node, at), node, before.inner)
    return alike and after.stop[1] - at <= size


def _children(graph: Graph, nodes: list[Node]) -> dict[str, Child]:
    """The children, where several that were equal are not any more, under entries of their own."""
    paths = Paths(graph)
    parts: dict[int, list[Node]] = {}
    for node in nodes:
        child = paths.owned(node.path) if node.path is not None else None
        if child is not None and node.callee is not None:
            parts.setdefault(id(child), []).append(node)
    found: dict[str, Child] = {}
    for child in graph.children.values():
        mine = parts.get(id(child), [])
        if all(node.callee is child.graph or node.inverted or node.log_det for node in mine):
            found[child.path] = child
            continue
        last: Child | None = None
        for node in sorted(mine, key=lambda node: _place(node.path or "")):
            if last is not None and last.graph is node.callee:
                last.count += node.count
            else:
                last = replace(child, path=node.path or "", graph=node.callee, count=node.count)
                found[last.path] = last
    return found


def _place(path: str) -> int:
    last = path.rpartition(".")[2]
    return int(last) if last.isdecimal() else 0


def _segments(pieces: list[_Piece]) -> list[Segment]:
    found: list[Segment] = []
    at = 0
    while at < len(pieces):
        decision, stop = pieces[at].decision, at + 1
        if decision is not None and decision.kind == "again":
            while stop < len(pieces) and pieces[stop].decision is decision:
                stop += 1
            found.append(Segment(at, stop, pieces[at].every))
        at = stop
    return found
