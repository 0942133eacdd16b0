"""Every malformed spec ends in its diagnostics: at the right place, soon, and without touching any file."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from archlang.cli import main
from archlang.elaborate import elaborate, load
from archlang.report.diagnostic import ArchError, Diagnostic, Severity, Span
from archlang.report.text import render_all
from archlang.syntax.source import read_file
from tests.malformed.cases import Case, Error, Place, all_cases

CASES = all_cases()
SECONDS = 2.0  # of processor time, reading and reporting included
OLD = "# what an earlier compile wrote\n"
SAMPLE = CASES[:: len(CASES) // 5]


def place_of(span: Span) -> Place:
    line, column = span.source.position(span.start)
    rest = len(span.source.line(line)) - column + 1
    return Place(span.source.path, line, column, max(1, min(span.end - span.start, rest)))


def known(place: Place, code: str) -> Place:
    """The part of a place that is fixed: where exactly steps run out in a line says nothing."""
    return replace(place, column=0, length=0) if code == "ARC0502" else place


def shown_place(error: Error) -> str:
    place = error.place
    return f"--> {place.file}:{place.line}:" + ("" if error.code == "ARC0502" else f"{place.column}\n")


def errors_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Diagnostic]:
    monkeypatch.chdir(folder)
    with pytest.raises(ArchError) as caught:
        elaborate(load(read_file("net.arch")))
    return [d for d in caught.value.diagnostics if d.severity is Severity.ERROR]


def test_there_are_enough() -> None:
    assert len(CASES) >= 150
    assert len({case.title for case in CASES}) == len(CASES)
    assert len({error.code for case in CASES for error in case.errors}) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_errors_are_where_they_are_marked(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case.write(tmp_path)
    found = errors_of(tmp_path, monkeypatch)
    places = sorted((known(place_of(d.span), d.code), d.code) for d in found if d.span is not None)
    assert places == sorted((known(e.place, e.code), e.code) for e in case.errors), render_all(found)
    for error in case.errors:
        place = known(error.place, error.code)
        (diagnostic,) = [d for d in found if d.span is not None and known(place_of(d.span), d.code) == place]
        assert error.phrase in diagnostic.message
        assert error.help in (diagnostic.help or "")
    related = [(place_of(label.span), label.text) for d in found for label in d.related]
    for mark in case.related:
        assert mark in related


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_compile_reports_and_leaves_the_output_alone(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    case.write(tmp_path)
    Path("out.py").write_text(OLD)
    before = sorted(tmp_path.iterdir())
    start = time.process_time()
    status = main(["compile", "net.arch", "-o", "out.py"])
    took = time.process_time() - start
    shown = capsys.readouterr()
    assert status == 1
    assert took < SECONDS
    assert Path("out.py").read_text() == OLD
    assert sorted(tmp_path.iterdir()) == before
    assert shown.out == ""
    assert "Traceback" not in shown.err
    for error in case.errors:
        assert f"error[{error.code}]" in shown.err
        assert shown_place(error) in shown.err


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.title)
def test_as_a_process(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    (tmp_path / "out.py").write_text(OLD)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = [sys.executable, "-m", "archlang", "compile", "net.arch", "-o", "out.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < SECONDS
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for error in case.errors:
        assert shown_place(error) in done.stderr
    assert (tmp_path / "out.py").read_text() == OLD
