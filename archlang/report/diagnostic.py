"""Source texts, spans into them, and the diagnostics that point at spans."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from enum import Enum
from itertools import accumulate

from archlang.records import dataclass, field

__all__ = ["ArchError", "Diagnostic", "Fix", "Label", "Severity", "Source", "Span"]


class Source:
    """One text: its display path and its contents, with offset -> (line, column) look-up."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._starts = [0, *accumulate(len(line) + 1 for line in text.split("\n")[:-1])]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both counted from 1 (columns in characters)."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its line end."""
        start = self._starts[number - 1]
        end = self._starts[number] - 1 if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r")

    @property
    def line_count(self) -> int:
        return len(self._starts)

    def __repr__(self) -> str:
        return f"Source({self.path!r})"


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The smallest span that covers both."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.path}:{line}:{column}"


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A related span and what it has to do with the finding."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A suggested edit: replace the span by the text."""

    span: Span
    replacement: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `code` is stable (see `codes.py`); `span` is None only where there is no text to point at."""

    code: str
    message: str
    span: Span | None
    label: str = ""
    related: tuple[Label, ...] = ()
    help: str | None = None
    notes: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    fix: Fix | None = None

    def __str__(self) -> str:
        where = f"{self.span}: " if self.span else ""
        return f"{where}{self.severity.value}[{self.code}]: {self.message}"


@dataclass
class ArchError(Exception):
    """Raised by every stage for mistakes in a spec; carries one or more diagnostics."""

    diagnostics: list[Diagnostic] = field(default_factory=list)

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic]) -> None:
        one = isinstance(diagnostics, Diagnostic)
        self.diagnostics = [diagnostics] if one else list(diagnostics)  # type: ignore[list-item,arg-type]
        super().__init__("\n".join(str(d) for d in self.diagnostics))
