"""Equal layers, each of which reads the concatenation of all that came before: a loop over a list that grows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from archlang.ir.graph import Graph, Node, Value
from archlang.records import dataclass

__all__ = ["Gathered", "gathered"]

LEAST = 3  # layers


@dataclass(frozen=True, slots=True)
class Gathered:
    """first: the values that the list starts with; joins: what concatenates them; layers: what reads that and adds a
    value, under the paths `stem` and a number, from `start` on."""

    first: tuple[Value, ...]
    joins: tuple[Node, ...]
    layers: tuple[Node, ...]
    stem: str
    start: int

    @property
    def values(self) -> tuple[Value, ...]:
        """The whole list."""
        return (*self.first, *(node.outputs[0] for node in self.layers))


def gathered(graph: Graph, at: int, alike: Callable[[Node, Node], bool]) -> Gathered | None:
    """Such layers from node `at` of a graph on. alike: whether two nodes are written the same, but for their paths."""
    joins: list[Node] = []
    layers: list[Node] = []
    seen: tuple[Value, ...] = ()
    numbers: list[tuple[str, int]] = []
    pairs = zip(graph.nodes[at::2], graph.nodes[at + 1 :: 2], strict=False)
    for join, layer in pairs:
        number = _number(layer)
        if join.op != "concat" or number is None or not _plain(join, layer) or (seen and join.inputs != seen):
            break
        if layers:
            stem, last = numbers[-1]
            if number != (stem, last + 1) or join.attrs != joins[0].attrs or not alike(layers[0], layer):
                break
        joins.append(join)
        layers.append(layer)
        numbers.append(number)
        seen = (*join.inputs, layer.outputs[0])
    if len(layers) < LEAST or _read_elsewhere(graph, joins):
        return None
    return Gathered(joins[0].inputs, tuple(joins), tuple(layers), *numbers[0])


def _plain(join: Node, layer: Node) -> bool:
    ordinary = all(
        node.phase is None and not node.inverted and not node.log_det and not node.modules and node.count == 1
        for node in (join, layer)
    )
    return ordinary and layer.inputs == join.outputs and len(layer.outputs) == 1


def _read_elsewhere(graph: Graph, joins: Sequence[Node]) -> bool:
    """Whether more than the layers read the concatenations."""
    made = {id(join.outputs[0]) for join in joins}
    reads = [value for node in graph.nodes for value in node.inputs]
    reads += [value for output in graph.outputs for value in output.values]
    return sum(id(value) in made for value in reads) > len(joins)


def _number(node: Node) -> tuple[str, int] | None:
    """A path that ends in a number, which may be part of a name."""
    match = re.fullmatch(r"(.*?)(0|[1-9]\d*)", node.path or "")
    return (match[1], int(match[2])) if match is not None and node.op != "weight" else None
