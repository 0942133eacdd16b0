"""Comments and doc comments: which `##` lines belong to which item."""

from __future__ import annotations

from archlang.report.diagnostic import Source, Span
from archlang.syntax import tree

__all__ = ["Docs"]


class Docs:
    """`##` lines directly above an item are its doc; a run at the file's top, apart from the first item, the file's."""

    def __init__(self, source: Source, comments: list[tuple[Span, str]]) -> None:
        self.source = source
        self.comments = comments
        self._lines: dict[int, str] = {}  # of `##` comments that stand alone on their line
        self._comment_lines: set[int] = set()
        for span, text in comments:
            number, column = source.position(span.start)
            if not source.text[span.start - column + 1 : span.start].strip():
                self._comment_lines.add(number)
                if text.startswith("##"):
                    self._lines[number] = text[2:].removeprefix(" ").rstrip()

    def before(self, offset: int) -> str:
        """The doc of an item that starts at an offset."""
        last = self.source.position(offset)[0] - 1
        first = last
        while first in self._lines:
            first -= 1
        return "\n".join(self._lines[number] for number in range(first + 1, last + 1))

    def of_module(self, items: tuple[tree.Item, ...]) -> str:
        """The first run of `##` lines, if only comments stand before it and it is not the first item's own."""
        if not self._lines:
            return ""
        first = last = min(self._lines)
        while last + 1 in self._lines:
            last += 1
        if items:
            start = items[0].span.line
            documented = isinstance(items[0], (tree.Block, tree.Function, tree.Extern))
            if start <= first or (documented and start == last + 1):
                return ""
        return "\n".join(self._lines[number] for number in range(first, last + 1))
