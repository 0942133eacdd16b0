"""Who makes a value and who reads it, through calls: a graph's ports are followed into and out of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from archlang.ir.graph import Node, Program, Value
from archlang.records import dataclass

__all__ = ["Link", "Links"]


@dataclass(frozen=True, slots=True)
class Link:
    """An op's result and the op that reads it; `alone`: nothing else reads it. No reader: several, or the caller."""

    maker: Node
    reader: Node | None
    alone: bool


class Links:
    """The values of a program's graphs. Every graph is looked at once, whatever it is called from."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers: dict[int, Node] = {}
        self.readers: dict[int, list[Node]] = {}
        self.returned: set[int] = set()
        for graph in program.graphs:
            for node in graph.nodes:
                for v in node.outputs:
                    self.makers[id(v)] = node
                for v in node.inputs:
                    self.readers.setdefault(id(v), []).append(node)
            self.returned.update(id(v) for v in graph.results)

    # -- through calls -------------------------------------------------------------------------------------------------
    def maker(self, value: Value) -> tuple[Node, bool] | None:
        """The op that makes a value, and whether nobody inside of the calls around it reads it as well."""
        alone = True
        while True:
            node = self.makers.get(id(value))
            if node is None:
                return None
            if node.callee is None or node.inverted or node.log_det:
                return node, alone
            inner = node.callee.results
            value = inner[next(i for i, v in enumerate(node.outputs) if v is value)]
            alone = alone and not self.readers.get(id(value)) and sum(v is value for v in inner) == 1

    def reader(self, value: Value) -> Node | None:
        """The one op that reads a value; None for several, or where the value is handed back."""
        while True:
            readers = self.readers.get(id(value), [])
            if len(readers) != 1 or id(value) in self.returned:
                return None
            node = readers[0]
            places = [i for i, v in enumerate(node.inputs) if v is value]
            if len(places) != 1:
                return None
            if node.callee is None or node.inverted or node.log_det:
                return node
            value = node.callee.entries[places[0]]

    @cached_property
    def all(self) -> list[Link]:
        """Every place where one op's result goes on, the joints inside runs of equal children included."""
        found = [self._link(made, read) for made, read in self._joints()]
        return [link for link in found if link is not None]

    def _joints(self) -> Iterator[tuple[Value, Value]]:
        for graph in self.program.graphs:
            root = graph is self.program.root
            for node in graph.nodes:
                for value in node.outputs:
                    only_returned = id(value) in self.returned and not self.readers.get(id(value))
                    if only_returned and not root:
                        continue  # the callers tell
                    yield value, value
                if node.callee is not None and node.count > 1 and not (node.inverted or node.log_det):
                    yield from zip(node.callee.results, node.callee.entries, strict=False)

    def _link(self, made: Value, read: Value) -> Link | None:
        found = self.maker(made)
        if found is None:
            return None
        maker, alone = found
        reader = self.reader(read) if made is read else self._first(read)
        return Link(maker, reader, alone and reader is not None)

    def _first(self, port: Value) -> Node | None:
        readers = self.readers.get(id(port), [])
        if len(readers) != 1 or readers[0].callee is not None:
            return None
        return readers[0]
