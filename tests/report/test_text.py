"""Exact renderings: what a user reads, character by character."""

from __future__ import annotations

import io
import textwrap

import pytest

from archlang.report import text
from archlang.report.diagnostic import Diagnostic, Fix, Label, Severity, Source, Span

NET = Source("net.arch", "block net(a)(x: [B, C, H, W]) {\n    h = x -> conv(64, 3)\n    return c2(h) + x\n}\n")


def span(source: Source, part: str, nth: int = 0) -> Span:
    """The nth occurrence of a text."""
    at = -1
    for _ in range(nth + 1):
        at = source.text.index(part, at + 1)
    return Span(source, at, at + len(part))


def shows(diagnostic: Diagnostic, expected: str) -> None:
    assert text.render(diagnostic) == textwrap.dedent(expected).lstrip("\n")


def test_related_spans_on_one_line_are_merged() -> None:
    related = (
        Label(span(NET, "c2(h)"), "has type `[B, D, H, W]`"),
        Label(span(NET, "x", 2), "has type `[B, C, H, W]`"),
        Label(span(NET, "C"), "`C` is made here"),
    )
    shows(
        Diagnostic("ARC0301", "the sides of `+` differ", span(NET, "c2(h) + x"), "", related, help="project `x`"),
        """
        error[ARC0301]: the sides of `+` differ
         --> net.arch:3:12
          |
        1 | block net(a)(x: [B, C, H, W]) {
          |                     - `C` is made here
        2 |     h = x -> conv(64, 3)
        3 |     return c2(h) + x
          |            -----^^^- has type `[B, C, H, W]`
          |            has type `[B, D, H, W]`
          |
          = help: project `x`
        """,
    )


def test_labels_that_do_not_fit_beside_hang_below() -> None:
    source = Source("a.arch", "y = first + second + third\n")
    related = (Label(span(source, "first"), "one"), Label(span(source, "second"), "two"))
    shows(
        Diagnostic("ARC0301", "m", span(source, "third"), "three", related),
        """
        error[ARC0301]: m
         --> a.arch:1:22
          |
        1 | y = first + second + third
          |     -----   ------   ^^^^^ three
          |     |       two
          |     one
        """,
    )


def test_one_span_with_two_labels() -> None:
    related = (Label(span(NET, "c2"), "and this"),)
    shows(
        Diagnostic("ARC0101", "m", span(NET, "c2"), "this", related),
        """
        error[ARC0101]: m
         --> net.arch:3:12
          |
        3 |     return c2(h) + x
          |            ^^ this; and this
        """,
    )


def test_multi_line_span_with_a_short_one_inside() -> None:
    start = span(NET, "conv").start
    end = span(NET, "c2(h").end
    related = (Label(span(NET, "a)"), "outside"), Label(span(NET, "64"), "inside"))
    shows(
        Diagnostic("ARC0005", "m", Span(NET, start, end), "all this", related),
        """
        error[ARC0005]: m
         --> net.arch:2:14
          |
        1 |   block net(a)(x: [B, C, H, W]) {
          |             -- outside
        2 |       h = x -> conv(64, 3)
          |  ______________^
          | |                   -- inside
        3 | |     return c2(h) + x
          | |_______________^ all this
        """,
    )


def test_long_multi_line_span_is_shortened() -> None:
    source = Source("a.arch", "start(\n" + "  a,\n" * 9 + ")\n")
    shows(
        Diagnostic("ARC0005", "m", Span(source, 0, len(source.text)), "here"),
        """
        error[ARC0005]: m
          --> a.arch:1:1
           |
         1 |   start(
           |  _^
        ...  |
        11 | | )
           | |_^ here
        """,
    )


def test_other_files_come_after() -> None:
    other = Source("lib/init.arch", "\n" * 99 + "fn f(n) => n\n")
    shows(
        Diagnostic("ARC0203", "m", span(NET, "c2"), "called here", (Label(span(other, "f("), "defined here"),)),
        """
        error[ARC0203]: m
           --> net.arch:3:12
            |
          3 |     return c2(h) + x
            |            ^^ called here
           ::: lib/init.arch:100:4
            |
        100 | fn f(n) => n
            |    -- defined here
        """,
    )


def test_gaps_of_one_line_are_filled_and_longer_ones_marked() -> None:
    source = Source("a.arch", "a\nb\nc\nd\ne\nf\n")
    related = (Label(span(source, "c"), "near"), Label(span(source, "f"), "far"))
    shows(
        Diagnostic("ARC0101", "m", span(source, "a"), "", related),
        """
        error[ARC0101]: m
         --> a.arch:1:1
          |
        1 | a
          | ^
        2 | b
        3 | c
          | - near
        ...
        6 | f
          | - far
        """,
    )


def test_tabs_and_wide_characters() -> None:
    source = Source("a.arch", '\tx = "漢字" + é\n')
    related = (Label(span(source, "é"), "one column"),)
    shows(
        Diagnostic("ARC0101", "m", span(source, "漢字"), "two each", related),
        """
        error[ARC0101]: m
         --> a.arch:1:7
          |
        1 |     x = "漢字" + é
          |          ^^^^    - one column
          |          two each
        """,
    )


def test_control_characters_are_spelled_out() -> None:
    source = Source("a\x1b]0;.arch", "x = \x1b[31m\u202e\n")
    shows(
        Diagnostic("ARC0004", "an escape: \x1b[1m", span(source, "\x1b"), "\x07"),
        """
        error[ARC0004]: an escape: <1B>[1m
         --> a<1B>]0;.arch:1:5
          |
        1 | x = <1B>[31m<U+202E>
          |     ^^^^ <07>
        """,
    )


def test_end_of_file() -> None:
    end = len(NET.text)
    shows(
        Diagnostic("ARC0011", "a `}` is missing", Span(NET, end, end), "before this"),
        """
        error[ARC0011]: a `}` is missing
         --> net.arch:5:1
          |
        4 | }
        5 |
          | ^ before this
        """,
    )


def test_end_of_a_file_without_line_end() -> None:
    source = Source("a.arch", "block f(")
    shows(
        Diagnostic("ARC0011", "m", Span(source, 8, 8), "here"),
        """
        error[ARC0011]: m
         --> a.arch:1:9
          |
        1 | block f(
          |         ^ here
        """,
    )


def test_span_that_ends_with_the_line_end_stays_on_its_line() -> None:
    source = Source("a.arch", "abc\r\ndef\r\n")
    shows(
        Diagnostic("ARC0011", "m", Span(source, 0, 5), "here"),
        """
        error[ARC0011]: m
         --> a.arch:1:1
          |
        1 | abc
          | ^^^ here
        """,
    )


def test_empty_file() -> None:
    shows(
        Diagnostic("ARC0010", "the file is empty", Span(Source("a.arch", ""), 0, 0)),
        """
        error[ARC0010]: the file is empty
         --> a.arch:1:1
          |
        1 |
          | ^
        """,
    )


def test_long_lines_are_cut_around_the_span() -> None:
    source = Source("a.arch", "x = " + "a + " * 100 + "zz" + " + b" * 100 + "\n")
    rows = text.render(Diagnostic("ARC0101", "m", span(source, "zz"), "here")).splitlines()
    assert len(rows[3]) <= text.MAX_WIDTH + len("1 | ......")
    assert rows[3].startswith("1 | ...") and rows[3].endswith("...")
    assert rows[4].endswith("^^ here")
    assert rows[3].index("zz") == rows[4].index("^^")


def test_a_line_of_ten_megabytes_costs_nothing() -> None:
    source = Source("a.arch", "a" * 5_000_000 + "!" + "b" * 5_000_000)
    rows = text.render(Diagnostic("ARC0004", "m", span(source, "!"))).splitlines()
    assert rows[3][rows[4].index("^")] == "!"
    assert len(rows[3]) < 200


def test_fix_is_a_small_diff() -> None:
    shows(
        Diagnostic(
            "ARC0101",
            "no op `conw`",
            span(NET, "conv"),
            help="did you mean `conv2`?",
            fix=Fix(span(NET, "conv"), "conv2"),
        ),
        """
        error[ARC0101]: no op `conw`
         --> net.arch:2:14
          |
        2 |     h = x -> conv(64, 3)
          |              ^^^^
          |
        help: did you mean `conv2`?
          |
        2 -     h = x -> conv(64, 3)
        2 +     h = x -> conv2(64, 3)
        """,
    )


def test_fix_that_adds_a_line() -> None:
    end = len(NET.text) - 1
    shows(
        Diagnostic("ARC0011", "m", Span(NET, end - 1, end), fix=Fix(Span(NET, end, end), "\n}"), notes=("why\nso",)),
        """
        error[ARC0011]: m
         --> net.arch:4:1
          |
        4 | }
          | ^
          |
          = note: why
                  so
        help: change it to
          |
        5 + }
        """,
    )


def test_fix_that_removes_lines() -> None:
    source = Source("a.arch", "use a\nuse b\nuse c\n")
    rows = text.render(Diagnostic("ARC0110", "m", span(source, "use b"), fix=Fix(span(source, "use b\n"), "")))
    assert rows.splitlines()[-2:] == ["  |", "2 - use b"]


def test_without_a_span() -> None:
    shows(
        Diagnostic("ARC0902", "no such file", None, help="try another", notes=("first",), severity=Severity.WARNING),
        """
        warning[ARC0902]: no such file
          = note: first
          = help: try another
        """,
    )


def test_all_are_sorted_counted_and_unique() -> None:
    late = Diagnostic("ARC0101", "late", span(NET, "c2"))
    early = Diagnostic("ARC0102", "early", span(NET, "net"), severity=Severity.WARNING)
    shown = text.render_all([late, early, late])
    assert shown.index("early") < shown.index("late")
    assert shown.count("late") == 1
    assert shown.endswith("\n1 error, 1 warning\n")
    assert text.render_all([]) == ""
    assert text.summary([late, late]) == "2 errors"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"TERM": "dumb"}, True, False),
    ],
)
def test_colours_only_on_terminals(
    environment: dict[str, str], terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert text.use_colour(Terminal() if terminal else io.StringIO()) is expected


def test_colours_change_nothing_else() -> None:
    import re

    related = (Label(span(NET, "c2(h)"), "one"), Label(span(NET, "conv(64, 3)\n    return"), "two"))
    diagnostic = Diagnostic("ARC0301", "m", span(NET, "c2(h) + x"), "", related, fix=Fix(span(NET, "x", 2), "y"))
    coloured = text.render(diagnostic, colour=True)
    assert "\x1b[1;31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text.render(diagnostic)
