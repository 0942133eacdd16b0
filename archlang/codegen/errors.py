"""Diagnostics of the generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from archlang.report.diagnostic import ArchError, Diagnostic, Label, Span

__all__ = ["fail"]


def fail(
    code: str,
    message: str,
    span: Span | None,
    label: str = "",
    *,
    related: Sequence[tuple[Span | None, str]] = (),
    help: str | None = None,
) -> NoReturn:
    """Raises the one diagnostic; related sites without a span are left out."""
    labels = tuple(Label(s, text) for s, text in related if s is not None)
    raise ArchError(Diagnostic(code, message, span, label, labels, help))
