"""Walks over a program: state-dict entries, counts that do not enumerate runs, networkx views, result names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Union

from archlang.ir.externs import parameters_of
from archlang.ir.graph import Child, Graph, Node, Output, Program, WeightDecl
from archlang.ir.paths import Paths, join, shift
from archlang.records import dataclass
from archlang.report.diagnostic import Span

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "Counts",
    "Entry",
    "Module",
    "call_graph",
    "counts",
    "dataflow",
    "executed",
    "modules",
    "parameters",
    "result_fields",
    "scalars",
]


# -- state-dict entries ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the built module. `span` is the label (or declaration) that makes the key, in `graph`.

    child: the op module that holds it, in `graph`, None for a `weight` of the graph itself.
    alias_of: the first key of a tensor that has several; None for the first itself.
    """

    key: str
    decl: WeightDecl
    span: Span | None
    graph: Graph
    child: Child | None = None
    alias_of: str | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """One op module of the built network, under its first path."""

    path: str
    child: Child
    graph: Graph


class _Level:
    """The names directly under one dotted prefix of a graph, split as nn.Module keeps them."""

    def __init__(self) -> None:
        self.tensors: list[tuple[str, WeightDecl]] = []
        self.children: dict[str, _Level | Child | _Alias] = {}

    def below(self, segments: Sequence[str]) -> _Level:
        level = self
        for segment in segments:
            inner = level.children.setdefault(segment, _Level())
            if not isinstance(inner, _Level):
                raise ValueError(f"`{'.'.join(segments)}` lies inside a child's namespace")
            level = inner
        return level


@dataclass(frozen=True, slots=True)
class _Alias:
    target: str


_Item = Union[_Level, Child, _Alias, WeightDecl]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to list: under `key` in the state dict, first known as `canon`; its graph's instance is at `base`."""

    key: str
    canon: str
    base: str
    graph: Graph
    item: _Item
    child: Child | None = None


def parameters(program: Program) -> Iterator[Entry]:
    """Parameters and buffers in the order of torch's `state_dict()`; tensors with several paths once for each.

    Non-persistent buffers are listed too (`decl.persistent` tells).
    """
    return (step for step in _walk(program) if isinstance(step, Entry))


def modules(program: Program) -> Iterator[Module]:
    """Op modules, shared ones once, in the order of torch's `named_modules()`."""
    for step in _walk(program):
        if isinstance(step, _Job) and isinstance(step.item, Child) and step.item.op and step.key == step.canon:
            yield Module(step.key, step.item, step.graph)


def _walk(program: Program) -> Iterator[Entry | _Job]:
    """Everything under the root, before what is inside of it. Iterative: nesting is unbounded."""
    levels: dict[int, _Level] = {}
    stack = [_expand(_Job("", "", "", program.root, _level(program.root, levels)), levels)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        yield step
        if isinstance(step, _Job):
            stack.append(_expand(step, levels))


def _level(graph: Graph, levels: dict[int, _Level]) -> _Level:
    """The tree of a graph's own paths, parameters before buffers at every level."""
    if id(graph) not in levels:
        top = _Level()
        for path, decl in sorted(graph.weights.items(), key=lambda item: item[1].kind != "parameter"):
            *outer, name = path.split(".")
            top.below(outer).tensors.append((name, decl))
        for path, child in graph.children.items():
            *outer, name = path.split(".")
            top.below(outer).children[name] = child
        for path, target in graph.aliases.items():
            *outer, name = path.split(".")
            top.below(outer).children[name] = _Alias(target)
        levels[id(graph)] = top
    return levels[id(graph)]


def _expand(job: _Job, levels: dict[int, _Level]) -> Iterator[Entry | _Job]:
    item = job.item
    if isinstance(item, WeightDecl):
        alias_of = job.canon if job.canon != job.key else None
        span = item.span or (job.child.span if job.child is not None else None)
        yield Entry(job.key, item, span, job.graph, job.child, alias_of)
    elif isinstance(item, _Alias):
        yield _locate(job, item.target, levels)
    elif isinstance(item, Child) and item.graph is not None:
        yield _Job(job.key, job.canon, job.canon, item.graph, _level(item.graph, levels))
    elif isinstance(item, Child):
        for decl in item.weights:
            yield _Job(join(job.key, decl.name), join(job.canon, decl.name), job.base, job.graph, decl, item)
    else:
        for name, decl in item.tensors:
            yield _Job(join(job.key, name), join(job.canon, name), job.base, job.graph, decl)
        for name, inner in item.children.items():
            count = inner.count if isinstance(inner, Child) else 1
            for i in range(count):
                key, canon = shift(join(job.key, name), i), shift(join(job.canon, name), i)
                yield _Job(key, canon, job.base, job.graph, inner)


def _locate(job: _Job, target: str, levels: dict[int, _Level]) -> _Job:
    """What an alias stands for: a child, a tensor, or anything inside a child of the same graph."""
    graph, base, here = job.graph, job.base, ""
    found: _Item | None = _level(graph, levels)
    segments = target.split(".")
    for i, segment in enumerate(segments):
        if isinstance(found, Child) and found.graph is not None:
            graph, base, here = found.graph, join(base, here), ""
            found = _level(graph, levels)
        elif isinstance(found, Child):
            rest = ".".join(segments[i:])
            decl = next((d for d in found.weights if d.name == rest), None)
            if decl is not None:
                return _Job(job.key, join(base, join(here, rest)), base, graph, decl, found)
            found = None
        here = join(here, segment)
        if isinstance(found, _Level):
            found = dict(found.tensors).get(segment) or found.children.get(segment) or Paths(graph).owned(here)
        if found is None:
            raise ValueError(f"alias of `{target}`: there is no `{here}` in `{graph.name}`")
    assert found is not None
    return _Job(job.key, join(base, here), base, graph, found)


# -- counts ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of scalars. A tensor that is shared counts once."""

    parameters: int = 0
    trainable: int = 0
    buffers: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.parameters + other.parameters, self.trainable + other.trainable, self.buffers + other.buffers
        )

    def __mul__(self, times: int) -> Counts:
        return Counts(self.parameters * times, self.trainable * times, self.buffers * times)


def counts(program: Program) -> Counts:
    """Totals of the program: every graph is summed once, runs are multiplied."""
    totals: dict[int, Counts] = {}
    for graph in program.graphs:
        total = sum((_scalars(d) for d in graph.weights.values()), Counts())
        for child in graph.children.values():
            total += (totals[id(child.graph)] if child.graph is not None else scalars(child)) * child.count
        totals[id(graph)] = total
    return totals[id(program.root)]


def scalars(child: Child) -> Counts:
    """Of one instance of an op module; of an extern block those that it states."""
    stated = parameters_of(child.attrs) or 0 if child.op == "extern" else 0
    return sum((_scalars(d) for d in child.weights), Counts(stated, stated))


def executed(program: Program) -> int:
    """How many ops a forward pass carries out; reading a weight is none."""
    totals: dict[int, int] = {}
    for graph in program.graphs:
        ops = (n for n in graph.nodes if n.op != "weight")
        totals[id(graph)] = sum(n.count * (1 if n.callee is None else totals[id(n.callee)]) for n in ops)
    return totals[id(program.root)]


def _scalars(decl: WeightDecl) -> Counts:
    n = prod(decl.shape)
    return Counts(n, n if decl.trainable else 0, 0) if decl.kind == "parameter" else Counts(buffers=n)


# -- graph views -------------------------------------------------------------------------------------------------------
def dataflow(graph: Graph) -> nx.DiGraph[object]:
    """Ports, nodes and outputs of a graph, with an edge wherever a value flows; edge attribute `values` lists them."""
    import networkx as nx  # heavy: only who asks for a view pays for it

    view: nx.DiGraph[object] = nx.DiGraph()
    made: dict[int, object] = {}
    for port in graph.inputs:
        view.add_node(port)
        made.update((id(v), port) for v in port.values)
    for node in graph.nodes:
        view.add_node(node)
        made.update((id(v), node) for v in node.outputs)
    readers: list[tuple[Node | Output, Sequence[object]]] = [(n, n.inputs) for n in graph.nodes]
    for output in graph.outputs:
        view.add_node(output)
        readers.append((output, output.values))
    for reader, values in readers:
        for value in values:
            maker = made[id(value)]
            if not view.has_edge(maker, reader):
                view.add_edge(maker, reader, values=[])
            view.edges[maker, reader]["values"].append(value)
    return view


def call_graph(program: Program) -> nx.DiGraph[str]:
    """Graph names with an edge from caller to callee; edge attribute `count` is the number of calls in the text."""
    import networkx as nx

    view: nx.DiGraph[str] = nx.DiGraph()
    for graph in program.graphs:
        view.add_node(graph.name, graph=graph)
    for graph in program.graphs:
        for node in graph.nodes:
            if node.callee is not None:
                before = view.get_edge_data(graph.name, node.callee.name, {"count": 0})["count"]
                view.add_edge(graph.name, node.callee.name, count=before + node.count)
    return view


# -- results -----------------------------------------------------------------------------------------------------------
def result_fields(outputs: Sequence[Output], training: bool) -> tuple[str, ...] | None:
    """Field names of what a block returns in a mode; None where it returns a plain value or a plain tuple.

    The items of the mode are all of them in training, those not marked `training` in evaluation. One item is returned
    as it is. Several are a tuple, and a NamedTuple as soon as one has a name; an item without a name is then called
    `output`, or `output{i}` by position where several lack one.
    """
    items = [o for o in outputs if training or not o.training]
    if len(items) < 2 or not any(o.name for o in items):
        return None
    taken = {o.name for o in items}
    bare = sum(not o.name for o in items)
    fields: list[str] = []
    for i, item in enumerate(items):
        name = item.name or ("output" if bare == 1 else f"output{i}")
        while not item.name and name in taken:
            name += "_"
        fields.append(name)
    return tuple(fields)
