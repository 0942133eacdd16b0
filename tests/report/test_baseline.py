"""Fingerprints that stay while files are edited, and baselines that excuse what is known and nothing else."""

from __future__ import annotations

import pytest

from archlang.report.baseline import Baseline, BaselineError, read, render
from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.report.fingerprint import fingerprints

TEXT = """\
block first(x) {
    return x -> rellu
}

block second(x) {
    return x -> rellu
}
"""


def found(text: str, path: str = "a.arch", word: str = "rellu") -> list[Diagnostic]:
    """A finding at every place of a word."""
    source, at, result = Source(path, text), -1, []
    while (at := text.find(word, at + 1)) >= 0:
        result.append(Diagnostic("ARC0101", f"there is no `{word}` here", Span(source, at, at + len(word))))
    return result


def prints(text: str, path: str = "a.arch", word: str = "rellu") -> list[str]:
    return list(fingerprints(found(text, path, word)).values())


def test_places_that_differ_differ() -> None:
    a, b = prints(TEXT)
    assert a != b


@pytest.mark.parametrize(
    "edited",
    [
        "## A doc.\n\nlet a = 1\n" + TEXT,
        TEXT.replace("block second", "fn f(n) => n\n\nblock second"),
        TEXT.replace("rellu\n", "rellu   # to do\n"),
        TEXT.replace("    return", "\treturn  "),
        TEXT.replace("{\n", "{\n    y = x\n"),
        TEXT.replace("\n", "\r\n"),
    ],
)
def test_edits_around_a_finding_leave_it(edited: str) -> None:
    assert prints(edited) == prints(TEXT)


@pytest.mark.parametrize("head", ["block unit(n: int)(x) {", "reversible block unit(n: int)(x) {", "fn unit(n: int) {"])
def test_a_rename_of_another_block_leaves_it(head: str) -> None:
    """Also where the line names it, or the marked text does."""
    text = f"{head}\n    return x -> relu\n}}\nblock net(x) {{\n    return x -> unit(8) -> rellu\n}}\n"
    renamed = text.replace("unit", "layer")
    assert prints(renamed) == prints(text)
    marked = [prints(t, word="unit(8)" if t is text else "layer(8)") for t in (text, renamed)]
    assert marked[0] == marked[1]
    assert prints(text.replace("block net", "block other")) != prints(text)  # its own block
    assert prints(text.replace("-> unit(8)", "-> tanh(8)")) != prints(text)


def test_moving_files_and_other_messages_leave_it() -> None:
    assert prints(TEXT, "lib/b.arch") == prints(TEXT)
    reworded = [Diagnostic(d.code, "said otherwise", d.span) for d in found(TEXT)]
    assert list(fingerprints(reworded).values()) == prints(TEXT)


def test_an_edit_of_the_line_or_another_code_changes_it() -> None:
    assert not set(prints(TEXT.replace("x ->", "y ->"))) & set(prints(TEXT))
    other = [Diagnostic("ARC0102", d.message, d.span) for d in found(TEXT)]
    assert not set(fingerprints(other).values()) & set(prints(TEXT))


def test_the_same_twice_is_counted() -> None:
    twice = TEXT.replace("return x -> rellu\n}\n\n", "return x -> rellu\n    return x -> rellu\n}\n\n")
    a, b, _ = prints(twice)
    assert (a[-2:], b[-2:]) == (":1", ":2") and a[:-2] == b[:-2]


def baseline(diagnostics: list[Diagnostic], folder: str = ".") -> Baseline:
    return read(render(diagnostics, folder), folder)


def new(known: Baseline, diagnostics: list[Diagnostic], *files: str) -> tuple[int, int]:
    import os

    there = {os.path.join(known.folder, file) for file in files}
    fresh, gone = known.new(diagnostics, there.__contains__)
    return len(fresh), len(gone)


def test_what_is_known_is_not_new() -> None:
    known = baseline(found(TEXT))
    assert new(known, found("\n\n" + TEXT), "a.arch") == (0, 0)
    assert new(known, found(TEXT + "block third(x) { return rellu(x) }\n"), "a.arch") == (1, 0)
    assert new(known, found(TEXT)[:1], "a.arch") == (0, 1)


def test_each_known_finding_excuses_one() -> None:
    doubled = TEXT.replace("rellu\n", "rellu\n    return x -> rellu\n", 1)
    assert new(baseline(found(TEXT)), found(doubled), "a.arch") == (1, 0)


def test_a_renamed_file_keeps_its_findings_and_a_copy_does_not() -> None:
    known = baseline(found(TEXT))
    moved = found(TEXT, "b.arch")
    assert new(known, moved, "b.arch") == (0, 0)
    assert new(known, found(TEXT) + moved, "a.arch", "b.arch") == (2, 0)
    assert new(known, moved, "a.arch", "b.arch") == (2, 2)


def test_baselines_are_stable_text() -> None:
    both = found(TEXT) + found(TEXT, "b.arch")
    assert render(both, ".") == render(both[::-1], ".")
    assert render([], ".") == '{\n  "version": "archlang/v1",\n  "known": []\n}\n'
    assert render(both, ".").count("\n") == 4 + len(both) + 1


def test_paths_begin_in_the_folder_of_the_baseline() -> None:
    (a, _) = baseline(found(TEXT, "specs/a.arch"), "specs").known
    assert a.path == "a.arch"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[]", "no list `known`"),
        ('{"known": 3}', "no list `known`"),
        ('{"known": [], "version": "archlang/v9"}', "'archlang/v9'"),
        ('{"known": [3], "version": "archlang/v1"}', "`known` holds 3"),
        ('{"known": [{"path": "a"}], "version": "archlang/v1"}', "`known` holds"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_baseline(text: str, why: str) -> None:
    with pytest.raises(BaselineError, match=why):
        read(text, ".")
