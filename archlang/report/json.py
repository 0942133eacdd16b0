"""Diagnostics for programs: one JSON object a line, and a last line that counts them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from archlang.report.diagnostic import Diagnostic, Severity, Span
from archlang.report.text import sorted_diagnostics

__all__ = ["as_dict", "render_all"]


def render_all(diagnostics: Iterable[Diagnostic], **extra: Any) -> str:
    """A line `{"kind": "diagnostic", ...}` each, then `{"kind": "summary", "errors": n, "warnings": m, **extra}`."""
    found = sorted_diagnostics(diagnostics)
    rows = [as_dict(d) for d in found]
    errors = sum(d.severity is Severity.ERROR for d in found)
    rows.append({"kind": "summary", "errors": errors, "warnings": len(found) - errors, **extra})
    return "".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)


def as_dict(diagnostic: Diagnostic) -> dict[str, Any]:
    """All of a diagnostic as plain data; what it does not have is null or an empty list."""
    fix = diagnostic.fix
    return {
        "kind": "diagnostic",
        "code": diagnostic.code,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "span": _span(diagnostic.span),
        "label": diagnostic.label or None,
        "related": [{"span": _span(label.span), "label": label.text} for label in diagnostic.related],
        "notes": list(diagnostic.notes),
        "help": diagnostic.help,
        "fix": {"span": _span(fix.span), "replacement": fix.replacement} if fix else None,
    }


def _span(span: Span | None) -> dict[str, Any] | None:
    if span is None:
        return None
    return {"path": span.source.path, "start": _position(span, span.start), "end": _position(span, span.end)}


def _position(span: Span, offset: int) -> dict[str, int]:
    line, column = span.source.position(offset)
    return {"line": line, "column": column, "offset": offset}
