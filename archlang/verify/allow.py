"""Warnings that a spec allows: `# allow ARC0426: the reason`, at the end of a line or on the line above it.

Several codes are separated by commas. What allows nothing is warned of (ARC0430), so that no such remark outlives its
cause, or hides a misspelt code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from archlang.elaborate.errors import warning
from archlang.report.codes import CODES
from archlang.report.diagnostic import Diagnostic, Severity, Source, Span
from archlang.report.suggest import nearest

__all__ = ["apply"]

_REMARK = re.compile(r'^(?P<before>(?:[^"#]|"(?:[^"\\]|\\.)*")*)#+\s*allow\s+(?P<codes>\w+(?:\s*,\s*\w+)*)\s*(?::|$)')


def apply(found: Sequence[Diagnostic], source: Source, *, idle: bool = True) -> list[Diagnostic]:
    """Leaves out what is allowed, in whichever file; with `idle`, warns of remarks in `source` that do nothing."""
    used: set[tuple[int, str]] = set()
    kept: list[Diagnostic] = []
    for finding in found:
        span = finding.span
        line = _allowing(span, finding.code) if span is not None and finding.severity is Severity.WARNING else None
        if line is None or span is None:
            kept.append(finding)
        elif span.source is source:
            used.add((line, finding.code))
    return [*kept, *_idle(source, used)] if idle else kept


def _allowing(span: Span, code: str) -> int | None:
    """The line that allows a code at a place: its own, or lines of comments right above."""
    line = span.line
    if code in _codes(span.source, line):
        return line
    while line > 1 and span.source.line(line - 1).lstrip().startswith("#"):
        line -= 1
        if code in _codes(span.source, line):
            return line
    return None


def _codes(source: Source, line: int) -> list[str]:
    match = _REMARK.match(source.line(line))
    return re.split(r"\s*,\s*", match["codes"]) if match else []


def _idle(source: Source, used: set[tuple[int, str]]) -> Iterator[Diagnostic]:
    if "allow" not in source.text:
        return
    start = 0
    for number in range(1, source.line_count + 1):
        text = source.line(number)
        for code in _codes(source, number):
            if (number, code) in used:
                continue
            at = start + text.index(code, text.index("allow") + 5)
            span = Span(source, at, at + len(code))
            if code in CODES:
                yield warning("ARC0430", f"no `{code}` is found here", span, help="remove this remark")
            else:
                close = nearest(code, CODES)
                help = f"did you mean `{close}`?" if close else "codes are such as ARC0426"
                yield warning("ARC0430", f"there is no code `{code}`", span, help=help)
        start = source.text.find("\n", start) + 1
