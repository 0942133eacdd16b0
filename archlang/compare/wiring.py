"""Differences between two bodies: steps that came, went or changed, steps that read other wires, and types of wires.

Steps are aligned by their labels (or, without one, by their op), in order; two wires are the same if aligned steps or
inputs of one name made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from archlang.compare.changes import Change
from archlang.ir.graph import Graph, Node, Value
from archlang.ir.text import attr_str

__all__ = ["body_changes"]

Made = tuple[object, int]  # who made a wire (a step's number, or an input's name) and which of its results it is


def body_changes(old: Graph, new: Graph) -> list[Change]:
    """What differs between the steps of two graphs. Layers under labels are compared elsewhere."""
    if not old.nodes and not new.nodes:
        return []
    partner = _align(old.nodes, new.nodes)
    a, b = _Body(old), _Body(new)
    found = []
    for i, node in enumerate(old.nodes):
        if i not in partner and node.path is None:
            found.append(Change("removed", a.step(node), old=_attrs(node)))
    matched = set(partner.values())
    for j, node in enumerate(new.nodes):
        if j not in matched and node.path is None:
            found.append(Change("added", b.step(node), new=_attrs(node)))
    for i, j in partner.items():
        found += _step(old.nodes[i], new.nodes[j], a, b, partner)
    return found + list(_results(a, b, partner))


def _step(x: Node, y: Node, a: _Body, b: _Body, partner: dict[int, int]) -> Iterator[Change]:
    if x.op == y.op and x.path is None and (x.attrs != y.attrs or x.phase != y.phase):
        yield Change("changed", b.step(y), _attrs(x), _attrs(y))
    if not _same(x.inputs, y.inputs, a, b, partner):
        yield _rewired(b.step(y), x.inputs, y.inputs, a, b)
    types = [str(v.type) for v in x.outputs], [str(v.type) for v in y.outputs]
    if types[0] != types[1]:
        yield Change("type", b.step(y), ", ".join(types[0]), ", ".join(types[1]))


def _results(a: _Body, b: _Body, partner: dict[int, int]) -> Iterator[Change]:
    x = a.graph.results
    y = b.graph.results
    if not _same(x, y, a, b, partner):
        yield _rewired("`return`", x, y, a, b)


def _rewired(what: str, x: Sequence[Value], y: Sequence[Value], a: _Body, b: _Body) -> Change:
    """Wires by their names, or by the steps that made them where the names tell no difference."""
    old, new = a.listed(x), b.listed(y)
    if old == new:
        old, new = a.listed(x, makers=True), b.listed(y, makers=True)
    return Change("rewired", what, old, new)


def _same(x: Sequence[Value], y: Sequence[Value], a: _Body, b: _Body, partner: dict[int, int]) -> bool:
    """Whether the wires are the same, step by aligned step."""

    def moved(made: Made) -> Made:
        who, which = made
        return (partner.get(who, "gone") if isinstance(who, int) else who), which

    return [moved(a.made[id(v)]) for v in x] == [b.made[id(v)] for v in y]


class _Body:
    """A graph with who made each of its wires, and names for what has none."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[int, Made] = {}
        self.maker: dict[int, Node | None] = {}
        for port in graph.inputs:
            for k, value in enumerate(port.values):
                self.made[id(value)], self.maker[id(value)] = (port.name, k), None
        for i, node in enumerate(graph.nodes):
            for k, value in enumerate(node.outputs):
                self.made[id(value)], self.maker[id(value)] = (i, k), node

    def step(self, node: Node) -> str:
        if node.path is not None:
            return f"`{node.path}`"
        name = next((v.name for v in node.outputs if v.name), "")
        return f"`{name}` ({node.op})" if name else f"`{node.op}`" + (f" (line {node.span.line})" if node.span else "")

    def listed(self, values: Sequence[Value], makers: bool = False) -> str:
        return ", ".join(self._wire(v, makers) for v in values)

    def _wire(self, value: Value, makers: bool) -> str:
        node = self.maker[id(value)]
        if value.name and not (makers and node is not None):
            return f"`{value.name}`"
        return self.step(node) if node is not None else f"`{self.made[id(value)][0]}`"


def _align(old: Sequence[Node], new: Sequence[Node]) -> dict[int, int]:
    """Numbers of old steps with those of the new ones that take their place."""
    a, b = [_key(n) for n in old], [_key(n) for n in new]
    matcher = SequenceMatcher(None, a, b, autojunk=len(a) > 2000)
    return {m.a + k: m.b + k for m in matcher.get_matching_blocks() for k in range(m.size)}


def _key(node: Node) -> str:
    return f"@{node.path}" if node.path is not None else node.op


def _attrs(node: Node) -> str:
    inner = ", ".join(f"{k}={attr_str(v)}" for k, v in node.attrs.items() if v is not None)
    return f"{node.op}({inner})" + (f" in {node.phase}" if node.phase else "")
