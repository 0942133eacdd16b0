"""The units that a graph's training is planned in, with the tensors that they take and give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from archlang.analyze.trace import Step, Trace
from archlang.budget.course import Moment
from archlang.budget.schedule import Schedule
from archlang.codegen.size_reads import solve
from archlang.ir.graph import Graph, Node, Program
from archlang.ir.paths import Paths, shift
from archlang.ops.eager import Storage
from archlang.records import dataclass, field
from archlang.shapes.dim import Dim, Size, symbols

__all__ = ["Level", "Numbers", "Reach", "Readable", "Unit", "Way", "What", "by_node", "context", "distinct", "weighted"]

APPLICATIONS = 64  # of a run, each with a choice of its own; of longer ones, several have one together


@dataclass(slots=True)
class Unit:
    """Consecutive applications of one node, as far as they have a choice together; tensors are numbers of a sheet.

    keeps, inner: the tensors and further bytes that autograd keeps of it; cost: of evaluating it again; short: the same
    where nothing after it is needed, since torch stops when all is rebuilt that was kept; saves: whether autograd keeps
    anything, weights included; copies: bytes of buffers of which a second evaluation keeps copies; safe: whether it can
    be evaluated again, and gives the same; undoing: the most that is held while a step of it is undone.
    """

    start: tuple[int, int]
    stop: tuple[int, int]
    step: Step
    takes: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()
    keeps: frozenset[int] = frozenset()
    inner: int = 0
    cost: int = 0
    short: int = 0
    saves: bool = False
    copies: int = 0
    safe: bool = True
    fixed: bool = False  # it is always undone: its class has another use
    undoing: int = 0
    ways: list[Way] = field(default_factory=list)
    opened: Level | None = None

    @property
    def count(self) -> int:
        return self.stop[1] - self.start[1]

    @property
    def name(self) -> str:
        """The path of its module, else what it does."""
        path = self.step.node.path
        first = self.step.node.op if path is None else shift(path, self.start[1])
        return first if self.count == 1 else f"{first}..{shift(path or '', self.stop[1] - 1).rpartition('.')[2]}"


@dataclass(frozen=True, slots=True)
class Way:
    """How a unit can be trained: as a `Choice` of it, with the plan of its callee. copies: as of a unit, of what the
    plan records; inside: its moments where all of it is inside of a second evaluation."""

    keeps: frozenset[int]
    inner: int
    extra: int
    cost: int
    schedule: Schedule
    copies: int = 0
    moments: tuple[Moment, ...] = ()
    inside: tuple[Moment, ...] = ()


@dataclass(slots=True)
class Level:
    """The units of one graph, as called at one place, and where each begins in the course."""

    graph: Graph
    prefix: str = ""  # its path, with a dot behind it
    units: list[Unit] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)  # one more than units


@dataclass(frozen=True, slots=True)
class What:
    """What a choice means: a kind of decision on units of a level, from `first` to before `last`."""

    kind: str  # "again" | "undo" | "way"
    level: Level
    first: int
    last: int
    schedule: Schedule = ()


def by_node(trace: Trace) -> Iterator[tuple[int, Node, list[Step]]]:
    """The steps of each node, in order."""
    assert trace.plan is not None
    places = {id(node): i for i, node in enumerate(trace.plan.graph.nodes)}
    here: list[Step] = []
    for step in trace.steps:
        if here and here[0].node is not step.node:
            yield places[id(here[0].node)], here[0].node, here
            here = []
        here.append(step)
    if here:
        yield places[id(here[0].node)], here[0].node, here


class Tensors(Protocol):
    """Where tensors get their numbers."""

    sizes: list[int]

    def new(self, storage: Storage) -> int: ...


class Numbers:
    """The tensors of one graph's values. Of a run that was followed in part, the rest gets tensors of its own."""

    def __init__(self, tensors: Tensors, numbers: dict[int, int]) -> None:
        self.tensors = tensors
        self.numbers = numbers

    def number(self, storage: Storage) -> int:
        if id(storage) not in self.numbers:
            self.numbers[id(storage)] = self.tensors.new(storage)
        return self.numbers[id(storage)]

    def same(self, unit: Unit, gives: Sequence[int]) -> None:
        """The unit's results are these tensors: those of the callee that was opened."""
        unit.gives = tuple(gives)
        for storage, number in zip(unit.step.outs, gives, strict=True):
            self.numbers[id(storage)] = number

    def made(self, unit: Unit) -> dict[int, int]:
        return dict(zip(map(id, unit.step.outs), unit.gives, strict=True))

    def units(self, index: int, node: Node, steps: list[Step]) -> Iterator[Unit]:
        """The units of a node; those of a run take what the one before gave."""
        group = -(-node.count // APPLICATIONS)
        streams = _streams(node)
        before: tuple[int, ...] | None = None
        for i, step in enumerate(steps):
            end = steps[i + 1].place if i + 1 < len(steps) else node.count
            at = step.place
            while at < end:
                stop = min(at + group, end)
                takes = [self.number(s) for s in step.ins]
                if before is not None:
                    for place, number in zip(streams, before, strict=True):
                        takes[place] = number
                passed = {id(s): t for s, t in zip(step.ins, takes, strict=True)}
                last = stop == node.count
                gives: list[int] = []
                for s in step.outs:
                    if id(s) not in passed:
                        passed[id(s)] = self.number(s) if last else self.tensors.new(s)
                    gives.append(passed[id(s)])
                if last:
                    self.numbers.update((id(s), t) for s, t in zip(step.outs, gives, strict=True))
                yield (unit := Unit((index, at), (index, stop), step, tuple(takes), tuple(gives)))
                before = unit.gives
                at = stop

    def between(self, unit: Unit, inputs: frozenset[int], outputs: frozenset[int]) -> int:
        """Bytes of the kept tensors between the applications of a unit, where these inputs and outputs are kept."""
        if unit.count == 1:
            return 0
        node = unit.step.node
        streams = _streams(node)
        distinct = list(dict.fromkeys(id(s) for s in unit.step.ins))
        kept = {unit.gives[i] for i in outputs}
        kept |= {unit.gives[k] for k, i in enumerate(streams) if distinct.index(id(unit.step.ins[i])) in inputs}
        return (unit.count - 1) * sum(self.tensors.sizes[t] for t in kept)


def distinct(unit: Unit) -> list[int]:
    """The tensors of the callee's inputs."""
    first = {id(s): t for s, t in reversed([*zip(unit.step.ins, unit.takes, strict=True)])}
    return [first[key] for key in dict.fromkeys(id(s) for s in unit.step.ins)]


def _streams(node: Node) -> list[int]:
    """Which inputs of a run each application takes from the one before."""
    if node.callee is None:
        return list(range(len(node.inputs)))
    return [i for i, fixed in enumerate(context(node)) if not fixed]


def weighted(graph: Graph) -> bool:
    """Whether there are weights in it, or below: others may be written as plain functions."""
    children = [child for g in Program.of(graph).graphs for child in g.children.values()]
    return any(g.weights for g in Program.of(graph).graphs) or any(child.weights for child in children)


class Reach:
    """Which children only one node of a graph runs, and nobody else: these can have a class of their own."""

    def __init__(self, graph: Graph) -> None:
        self.paths = Paths(graph)
        self.uses: dict[int, int] = {}
        self.lent: set[int] = set()
        aliased = {self.paths.canonical(path) for path in graph.aliases}
        for node in graph.nodes:
            child = self._child(node.path)
            if child is not None:
                self.uses[child] = self.uses.get(child, 0) + node.count
            self.lent |= {c for path in node.modules.values() if (c := self._child(path)) is not None}
        self.lent |= {c for path in aliased if (c := self._child(path)) is not None}

    def _child(self, path: str | None) -> int | None:
        child = self.paths.owned(path) if path is not None else None
        return None if child is None else id(child)

    def sole(self, node: Node) -> bool:
        child = self.paths.owned(node.path) if node.path is not None else None
        plain = not node.inverted and not node.log_det and not node.modules
        plain = plain and (node.callee is None or weighted(node.callee))
        return child is not None and plain and id(child) not in self.lent and self.uses[id(child)] == child.count


class Readable:
    """Whether the sizes that consecutive nodes of a graph compute with can be read from what they take."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = graph.nodes
        self.needs = [
            _sizes(tuple(node.attrs.values())) if node.callee is None else frozenset() for node in graph.nodes
        ]
        self.known: dict[tuple[int, int], bool] = {}
        self._solved: dict[Size, frozenset[str]] = {}

    def ok(self, first: int, last: int) -> bool:
        if (first, last) not in self.known:
            nodes = self.nodes[first : last + 1]
            made = {id(v) for node in nodes for v in node.outputs}
            sizes = [s for node in nodes for v in node.inputs if id(v) not in made for s in v.type.shape]
            there = frozenset().union(*(self._solvable(size) for size in dict.fromkeys(sizes)))
            self.known[first, last] = all(needs <= there for needs in self.needs[first : last + 1])
        return self.known[first, last]

    def _solvable(self, size: Size) -> frozenset[str]:
        """The symbols that can be read from a size."""
        if size not in self._solved:
            self._solved[size] = frozenset(name for name in symbols(size) if solve(size, name) is not None)
        return self._solved[size]


def _sizes(attrs: tuple[object, ...]) -> frozenset[str]:
    found = [symbols(a) if isinstance(a, Dim) else _sizes(a) if isinstance(a, tuple) else frozenset() for a in attrs]
    return frozenset().union(*found)


def context(node: Node) -> list[bool]:
    """Which inputs every application of a call sees unchanged."""
    assert node.callee is not None
    return [port.context for port in node.callee.inputs for _ in port.values]
