"""What to say where the parser is stuck: what was being written, and what may come next, in the user's words."""

from __future__ import annotations

from collections.abc import Callable

from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.syntax.engine import Failure

__all__ = ["explainer"]


def explainer(source: Source, where: str) -> Callable[[Failure], Diagnostic]:
    def explain(failure: Failure) -> Diagnostic:
        token = failure.token
        return Diagnostic(
            "ARC0020", f"unexpected `{token.text}`; {sorted(failure.expected)}", Span(source, token.start, token.end)
        )

    return explain
