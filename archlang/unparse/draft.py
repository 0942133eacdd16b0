"""Blocks that are written down but for what may differ between those of one form, and their text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

from archlang.ir.graph import Graph
from archlang.records import dataclass
from archlang.unparse.lines import Line, laid_out
from archlang.unparse.marks import Called, Mark, found, put_in

__all__ = ["Draft"]


@dataclass(slots=True)
class Draft:
    """A graph as a block: its texts have marks. taken: names that mean something in it."""

    graph: Graph
    slots: tuple[str, ...]
    inputs: str
    where: str
    lines: list[Line]
    marks: Sequence[Mark]
    taken: set[str]

    @property
    def found(self) -> list[Mark]:
        """The marks, in the order of the text."""
        marks: list[Mark] = []

        def collect(text: str) -> str:
            marks.extend(found(text, self.marks))
            return text

        collect(self.inputs)
        for line in self.lines:
            line.mapped(collect)
        return marks

    def form(self, forms: Mapping[int, int]) -> Hashable:
        """All that has to agree where blocks are written as one. forms: by graph, the number of its block."""

        def put(mark: Mark) -> str:
            return f"{forms[mark.graph]}{mark.form}" if isinstance(mark, Called) else mark.form

        def neutral(text: str) -> str:
            return put_in(text, self.marks, put)

        graph = self.graph
        lines = "\n".join(repr(line.mapped(neutral)) for line in self.lines)
        return graph.block, graph.doc, graph.reversible, self.slots, neutral(self.inputs), self.where, lines

    def text(self, name: str, params: Sequence[str], written: Callable[[Mark], str]) -> str:
        """The whole block. params: as they are declared; written: the text of a mark."""

        def put(text: str) -> str:
            return put_in(text, self.marks, written)

        docs = [f"## {line}".rstrip() for line in self.graph.doc.strip().splitlines()]
        declared = ", ".join([*(f"{slot}: module" for slot in self.slots), *params])
        word = "reversible block" if self.graph.reversible else "block"
        head = f"{word} {name}{f'({declared})' if declared else ''}({put(self.inputs)}){self.where} {{"
        body = ["    " + row for row in laid_out(line.mapped(put) for line in self.lines)]
        return "\n".join([*docs, head, *body, "}", ""])
