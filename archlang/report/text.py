"""Diagnostics as text for people: message, place, marked source lines, notes, help, and the fix as a small diff."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from typing import TextIO

from archlang.report.diagnostic import Diagnostic, Fix, Severity, Source
from archlang.report.glyphs import printable
from archlang.report.snippet import MAX_WIDTH, Mark, Paint, draw, plain

__all__ = ["render", "render_all", "sorted_diagnostics", "summary", "use_colour"]

STYLES = {
    "error": "1;31",
    "warning": "1;33",
    "bold": "1",
    "gutter": "1;34",
    "secondary": "1;34",
    "removed": "31",
    "added": "32",
    "help": "1;36",
}
DIFF_LINES = 8


def use_colour(stream: TextIO) -> bool:
    """Whether to colour: FORCE_COLOR, then NO_COLOR, then whether the stream is a terminal."""
    if os.environ.get("FORCE_COLOR", "") not in {"", "0"}:
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def terminal_width(stream: TextIO) -> int:
    """Columns to fill: the terminal's, else a fixed width, so that what is written to files does not vary."""
    import shutil

    return max(40, shutil.get_terminal_size((MAX_WIDTH, 24)).columns - 12) if stream.isatty() else MAX_WIDTH


def sorted_diagnostics(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """In the order of files as first met, then of places; the same finding at the same place once."""
    unique = list(dict.fromkeys(diagnostics))
    files: dict[str, int] = {}
    for diagnostic in unique:
        files.setdefault(diagnostic.span.source.path if diagnostic.span else "", len(files))

    def key(diagnostic: Diagnostic) -> tuple[int, int]:
        span = diagnostic.span
        return (files[span.source.path], span.start) if span else (files[""], -1)

    return sorted(unique, key=key)


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """`2 errors, 1 warning`; empty where there is nothing to count."""
    errors = warnings = 0
    for diagnostic in diagnostics:
        errors += diagnostic.severity is Severity.ERROR
        warnings += diagnostic.severity is Severity.WARNING
    counts = [(errors, "error"), (warnings, "warning")]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n)


def render_all(
    diagnostics: Iterable[Diagnostic], *, colour: bool = False, limit: int = MAX_WIDTH, count: bool = True
) -> str:
    """All of them, blank lines between, and (with `count`) the summary line at the end."""
    found = sorted_diagnostics(diagnostics)
    parts = [render(d, colour=colour, limit=limit) for d in found]
    return "\n".join([*parts, summary(found) + "\n"] if parts and count else parts)


def render(diagnostic: Diagnostic, *, colour: bool = False, limit: int = MAX_WIDTH) -> str:
    """One diagnostic; ends in a line end."""
    level = diagnostic.severity.value
    paint = _painter(level) if colour else plain
    head = paint(level, f"{level}[{diagnostic.code}]") + paint("bold", f": {_one_line(diagnostic.message)}")
    lines = [head]
    fix = _usable(diagnostic.fix)
    digits = _number_width(diagnostic, fix)
    if diagnostic.span is not None:
        lines += _snippets(diagnostic, digits, paint, limit)
    bar = paint("gutter", " " * digits + " =") + " "
    for note in diagnostic.notes:
        lines += _hung(bar, "note", note, paint, digits)
    if diagnostic.help and fix is None:
        lines += _hung(bar, "help", diagnostic.help, paint, digits)
    if fix is not None:
        lines.append(paint("help", "help") + f": {_one_line(diagnostic.help or 'change it to')}")
        lines += _diff(fix, digits, paint, limit)
    return "\n".join(lines) + "\n"


def _painter(level: str) -> Paint:
    styles = {**STYLES, "primary": STYLES[level]}
    return lambda role, text: f"\x1b[{styles[role]}m{text}\x1b[0m" if text else text


def _snippets(diagnostic: Diagnostic, digits: int, paint: Paint, limit: int) -> list[str]:
    """The marked lines: the file of the finding first, then the other files that it speaks of."""
    assert diagnostic.span is not None
    marks = [Mark(diagnostic.span, diagnostic.label, True)]
    marks += [Mark(label.span, label.text, False) for label in diagnostic.related]
    by_source: dict[int, tuple[Source, list[Mark]]] = {}
    for mark in marks:
        by_source.setdefault(id(mark.span.source), (mark.span.source, []))[1].append(mark)
    lines: list[str] = []
    edge = paint("gutter", " " * digits + " |")
    for i, (source, group) in enumerate(by_source.values()):
        arrow = paint("gutter", " " * digits + ("-->" if i == 0 else ":::"))
        lines += [f"{arrow} {printable(str(group[0].span))}", edge]
        lines += draw(source, group, digits, paint, limit)
    if diagnostic.notes or diagnostic.help or diagnostic.fix:
        lines.append(edge)
    return lines


def _number_width(diagnostic: Diagnostic, fix: Fix | None) -> int:
    spans = [label.span for label in diagnostic.related]
    spans += [diagnostic.span] if diagnostic.span else []
    spans += [fix.span] if fix else []
    last = max((span.source.position(span.end)[0] for span in spans), default=1)
    if fix is not None:
        last = max(last, fix.span.line + fix.replacement.count("\n"))
    return len(str(last))


def _hung(bar: str, word: str, text: str, paint: Paint, digits: int) -> list[str]:
    """`= note: ...`, further lines under the first."""
    first, *rest = [printable(line) for line in text.splitlines()] or [""]
    indent = " " * (digits + 3 + len(word) + 2)
    return [f"{bar}{paint('bold', word)}: {first}", *(indent + line for line in rest)]


def _one_line(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def _usable(fix: Fix | None) -> Fix | None:
    """A fix that changes something."""
    return fix if fix is not None and fix.span.text != fix.replacement else None


def _diff(fix: Fix, digits: int, paint: Paint, limit: int) -> list[str]:
    """The lines that the fix touches, before (-) and after (+)."""
    source, span = fix.span.source, fix.span
    first, last = span.line, source.position(span.end)[0]
    edge_start = span.start - (span.column - 1)
    edge_end = span.end + len(source.line(last)) - (source.position(span.end)[1] - 1)
    old = source.text[edge_start:edge_end].splitlines() or [""]
    new = (source.text[edge_start : span.start] + fix.replacement + source.text[span.end : edge_end]).splitlines() or [
        ""
    ]
    return _diff_lines(old, new, first, digits, paint, limit)


def _diff_lines(old: Sequence[str], new: Sequence[str], first: int, digits: int, paint: Paint, limit: int) -> list[str]:
    out = [paint("gutter", " " * digits + " |")]
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        for sign, role, lines, start, end in (("-", "removed", old, i1, i2), ("+", "added", new, j1, j2)):
            for i in range(start, min(end, start + DIFF_LINES)):
                text = _shortened(lines[i], limit)
                out.append(f"{paint('gutter', f'{first + i:>{digits}}')} {paint(role, f'{sign} {text}'.rstrip())}")
            if end - start > DIFF_LINES:
                out.append(f"{' ' * digits} {paint(role, f'{sign} ... {end - start - DIFF_LINES} more lines')}")
    return out


def _shortened(line: str, limit: int) -> str:
    text = printable(line[: limit + 1]).replace("\t", "    ")
    return text if len(line) <= limit else text[: limit - 3] + "..."
