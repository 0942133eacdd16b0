"""How elaboration reports: raising, suggesting, and staying silent about what only follows from an earlier mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from archlang.report.diagnostic import ArchError, Diagnostic, Fix, Label, Severity, Span

__all__ = ["Poisoned", "fail", "warning"]


class Poisoned(Exception):
    """Raised on use of a name whose definition already failed."""


def fail(
    code: str,
    message: str,
    span: Span,
    label: str = "",
    *,
    help: str | None = None,
    related: Sequence[tuple[Span, str]] = (),
    notes: Sequence[str] = (),
    fix: Fix | None = None,
) -> NoReturn:
    """Raises an ArchError with one diagnostic."""
    marks = tuple(Label(where, text) for where, text in related)
    raise ArchError(Diagnostic(code, message, span, label, marks, help, tuple(notes), Severity.ERROR, fix))


def warning(
    code: str,
    message: str,
    span: Span,
    label: str = "",
    *,
    help: str | None = None,
    related: Sequence[tuple[Span, str]] = (),
) -> Diagnostic:
    marks = tuple(Label(where, text) for where, text in related)
    return Diagnostic(code, message, span, label, marks, help, (), Severity.WARNING)
