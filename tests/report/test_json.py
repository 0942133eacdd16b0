"""The JSON-lines form."""

from __future__ import annotations

import json

from archlang.report.diagnostic import Diagnostic, Fix, Label, Severity, Source, Span
from archlang.report.json import render_all

SOURCE = Source("a.arch", "x = 1\ny = é\n")


def test_everything_is_there() -> None:
    span = Span(SOURCE, 6, 7)
    diagnostic = Diagnostic(
        "ARC0101", "m", span, "l", (Label(Span(SOURCE, 0, 1), "r"),), "h", ("n",), Severity.WARNING, Fix(span, "z")
    )
    first, last = map(json.loads, render_all([diagnostic], files=3).splitlines())
    place = {
        "path": "a.arch",
        "start": {"line": 2, "column": 1, "offset": 6},
        "end": {"line": 2, "column": 2, "offset": 7},
    }
    assert first == {
        "kind": "diagnostic",
        "code": "ARC0101",
        "severity": "warning",
        "message": "m",
        "span": place,
        "label": "l",
        "related": [
            {
                "span": {
                    "path": "a.arch",
                    "start": {"line": 1, "column": 1, "offset": 0},
                    "end": {"line": 1, "column": 2, "offset": 1},
                },
                "label": "r",
            }
        ],
        "notes": ["n"],
        "help": "h",
        "fix": {"span": place, "replacement": "z"},
    }
    assert last == {"kind": "summary", "errors": 0, "warnings": 1, "files": 3}


def test_one_ascii_line_each() -> None:
    rows = render_all([Diagnostic("ARC0101", "two\nlines é \u2028", None)])
    assert rows.isascii()
    assert len(rows.splitlines()) == 2
