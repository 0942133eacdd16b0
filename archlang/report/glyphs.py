"""One line of source as a terminal shows it: tab stops, wide characters, and nothing a terminal would obey."""

from __future__ import annotations

import unicodedata

__all__ = ["Glyphs", "printable", "width"]

TAB = 4


def printable(text: str) -> str:
    """The text with control and direction-changing characters spelled out: a spec cannot drive a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_glyph(char) for char in text)


def width(text: str) -> int:
    """Columns that a printable text takes."""
    return len(text) if text.isascii() else sum(_width(char) for char in text)


class Glyphs:
    """A piece of a line, rendered, with the column at which each of its characters stands.

    Only characters [first, last) of the line are looked at, so that a line of ten megabytes costs nothing.
    """

    def __init__(self, line: str, first: int = 0, last: int | None = None) -> None:
        last = len(line) if last is None else min(last, len(line))
        self.first = first
        self.columns = [0]
        pieces: list[str] = []
        for char in line[first:last]:
            column = self.columns[-1]
            glyph = " " * (TAB - column % TAB) if char == "\t" else _glyph(char)
            pieces.append(glyph)
            self.columns.append(column + width(glyph))
        self.text = "".join(pieces)
        self._pieces = pieces

    def column(self, index: int) -> int:
        """The display column (from 0) of character `index` of the line; clamped to the rendered piece."""
        return self.columns[min(max(index - self.first, 0), len(self.columns) - 1)]

    def cut(self, low: int, high: int) -> str:
        """The text of the characters that lie wholly in display columns [low, high)."""
        kept = [
            p for p, a, b in zip(self._pieces, self.columns, self.columns[1:], strict=False) if a >= low and b <= high
        ]
        return "".join(kept)


def _glyph(char: str) -> str:
    if char == "\t" or char.isprintable():
        return char
    category = unicodedata.category(char)
    if category in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
        return f"<{ord(char):02X}>" if ord(char) < 0x100 else f"<U+{ord(char):04X}>"
    return char  # spaces of other scripts


def _width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
