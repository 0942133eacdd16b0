"""Fenced code blocks of a Markdown page, and what their info strings say of them. The rules are in test_docs.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "README.md"]

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)$")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    info: str
    text: str
    section: str  # the heading of level 2 above

    @property
    def words(self) -> list[str]:
        return self.info.split()

    @property
    def kind(self) -> str:
        return self.words[0] if self.words else ""

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order. An unclosed fence is an error."""
    found: list[Block] = []
    section, fence, info, start, lines = "", "", "", 0, []  # type: ignore[var-annotated]
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if fence:
            if match and match["fence"].startswith(fence) and not match["info"].strip():
                found.append(Block(page, start, info, "".join(f"{text}\n" for text in lines), section))
                fence = ""
            else:
                lines.append(line)
        elif match:
            fence, info, start, lines = match["fence"], match["info"].strip(), number, []
        elif line.startswith("## "):
            section = line[3:].strip()
    if fence:
        raise ValueError(f"{page.name}:{start}: the block is never closed")
    return found
