"""Tables in reports: cells in columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["table"]


def table(rows: Sequence[Sequence[str]], *, left: Collection[int] = (0,), indent: str = "") -> list[str]:
    """A line for each row, which have equally many cells. Columns of `left` begin at one place, others end at one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        cells = (f"{cell:<{width}}" if i in left else f"{cell:>{width}}" for i, (cell, width) in pairs)
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
