"""The table of passes in docs/optimizer.md, from the register: `python -m archlang.optimize.reference` puts it in."""

from __future__ import annotations

import sys
from pathlib import Path

from archlang.optimize.base import known_passes

__all__ = ["filled", "table"]

_START, _END = "<!-- passes -->", "\n## How a pass is written"
_WORDS = {"exact": "exact", "rounding": "up to rounding", "approximate": "approximate"}


def table() -> str:
    """A row for each pass, in the order in which they run."""
    rows = ["| pass | results | at | for | does |", "| --- | --- | --- | --- | --- |"]
    for one in known_passes().values():
        at = "named" if one.equivalence == "approximate" else f"`-O{one.level}`"
        whom = "both" if len(one.purposes) > 1 else one.purposes[0]
        text = one.doc.removesuffix(".")
        values = [f"{one.name}={value.upper()}" for value in (one.takes, one.within) if value] or [one.name]
        names = ", ".join(f"`{name}`" for name in values)
        rows.append(f"| {names} | {_WORDS[one.equivalence]} | {at} | {whom} | {text} |")
    return "\n".join(rows)


def filled(page: str) -> str:
    """The page with the present table."""
    before, _, rest = page.partition(_START)
    return f"{before}{_START}\n\n{table()}\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/optimizer.md")
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
