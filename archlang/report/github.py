"""Diagnostics as workflow commands of GitHub Actions, which shows them beside the changed lines."""

from __future__ import annotations

import os
from collections.abc import Iterable

from archlang.report.codes import CODES
from archlang.report.diagnostic import Diagnostic
from archlang.report.text import sorted_diagnostics, summary

__all__ = ["render_all"]


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """A line `::error file=...,line=...::message` for each finding, then what they come to."""
    found = sorted_diagnostics(diagnostics)
    lines = [_command(diagnostic) for diagnostic in found]
    return "".join(f"{line}\n" for line in [*lines, summary(found) or "no findings"])


def _command(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    properties: dict[str, object] = {}
    if span is not None:
        line, column = span.source.position(span.start)
        last, end = span.source.position(span.end)
        properties = {"file": span.source.path.replace(os.sep, "/"), "line": line, "endLine": last}
        if last == line:  # columns are for one line only
            properties |= {"col": column, "endColumn": max(column, end - 1)}
    properties["title"] = f"{diagnostic.code}: {CODES[diagnostic.code]}"
    listed = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items())
    return f"::{diagnostic.severity.value} {listed}::{_data(_message(diagnostic))}"


def _message(diagnostic: Diagnostic) -> str:
    parts = [diagnostic.message]
    parts += [f"{label.span}: {label.text}" for label in diagnostic.related if label.text]
    parts += [f"note: {note}" for note in diagnostic.notes]
    parts += [f"help: {diagnostic.help}"] if diagnostic.help else []
    return "\n".join(parts)


def _data(text: str) -> str:
    """Per cent signs and line ends would end the command or change it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
