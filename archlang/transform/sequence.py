"""Layers one after the other, under the paths that a user names them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.ir.graph import Graph, Node, Value
from archlang.ir.paths import join, split_index
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.transform.work import Place, Work

__all__ = ["Layers", "counted", "in_line", "layers", "shown"]


@dataclass(frozen=True, slots=True)
class Layers:
    """Nodes of one graph that are named together, in order of execution. place: of the graph."""

    place: Place
    nodes: list[Node]
    names: list[str]  # the path of each from the root
    text: str  # what names them, for messages

    @property
    def graph(self) -> Graph:
        return self.place.graph

    def streams(self, node: Node) -> tuple[Value, ...]:
        """The inputs of a layer that it hands on changed; what it reads beside them is context."""
        return node.inputs[: len(node.outputs)]

    @property
    def inputs(self) -> tuple[Value, ...]:
        """What the first layer runs on."""
        return self.streams(self.nodes[0])

    @property
    def outputs(self) -> tuple[Value, ...]:
        """What the last layer gives."""
        return self.nodes[-1].outputs


def layers(work: Work, named: str | list[str], span: Span) -> Layers:
    """The layers of a chain, or those that stand under a list of paths."""
    if isinstance(named, list):
        places = [work.find(path, span) for path in named]
        for path, place in zip(named, places, strict=True):
            if place.graph is not places[0].graph or not place.nodes:
                _none(f"`{path}`", "it does not stand beside the others", span)
        order = {id(node): i for i, node in enumerate(places[0].graph.nodes)}
        pairs = sorted(((n, p.path) for p in places for n in p.nodes), key=lambda pair: order[id(pair[0])])
        text = ", ".join(f"`{path}`" for path in named)
        return Layers(places[0], [n for n, _ in pairs], [join(places[0].prefix, p) for _, p in pairs], text)
    place = work.find(named, span)
    if place.child is not None:
        if place.child.graph is None:
            _none(f"`{named}`", f"it is a single `{place.child.op}`", span)
        graph = work.private(place, span)
        inner = Place(graph, "", None, (*place.above, (place.graph, place.path)))
        names = [join(named, node.path or f"({node.op})") for node in graph.nodes if node.op != "weight"]
        return Layers(inner, [n for n in graph.nodes if n.op != "weight"], names, f"`{named}`")
    inside = [n for n in place.graph.nodes if n.path is not None and _member(n.path, place.path)]
    return Layers(place, inside, [join(place.prefix, n.path or "") for n in inside], f"`{named}`")


def _member(path: str, stem: str) -> bool:
    found = split_index(path)
    return found is not None and found[0] == stem


def in_line(found: Layers, span: Span) -> None:
    """Diagnostic unless each layer runs once, on what the one before it gave, which nothing else reads."""
    if not found.nodes:
        _none(found.text, "there are no layers in it", span)
    uses: dict[int, int] = {}
    for node in found.graph.nodes:
        for value in node.inputs:
            uses[id(value)] = uses.get(id(value), 0) + 1
    results = {id(v) for v in found.graph.results}
    made: set[int] = set()
    before: tuple[Value, ...] | None = None
    for name, node in zip(found.names, found.nodes, strict=True):
        training = node.callee is not None and any(o.training for o in node.callee.outputs)
        if node.phase is not None or training:
            _none(found.text, f"`{name}` gives other results in training", span)
        if not node.outputs or len(node.inputs) < len(node.outputs):
            _none(found.text, f"`{name}` gives more than it takes", span)
        if before is not None and found.streams(node) != before:
            _none(found.text, f"`{name}` does not run on what the layer before it gives", span)
        if any(id(v) in made for v in node.inputs[len(node.outputs) :]):
            _none(found.text, f"`{name}` reads what other layers give, beside its input", span)
        if before is not None and any(uses[id(v)] > 1 or id(v) in results for v in before):
            _none(found.text, f"what `{name}` runs on is read elsewhere, too", span)
        before = node.outputs
        made |= {id(v) for v in before}


def shown(values: Sequence[Value]) -> str:
    """Types of values, for messages."""
    return " and ".join(f"`{v.type}`" for v in values)


def counted(number: int, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number} {what}" + ("" if number == 1 else "s")


def _none(what: str, why: str, span: Span) -> NoReturn:
    fail("ARC0863", f"{what} names no sequence of layers: {why}", span, "not a sequence",
         help="name a chain, or what the paths of numbered layers begin with")  # fmt: skip
