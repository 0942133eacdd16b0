"""The cache of `archc check`: what makes an entry void, and that a report from it is the same in every form."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import archlang.verify.check
from archlang.cli import main
from archlang.cli.results import Results, folder
from archlang.elaborate.loader import Files
from archlang.report.diagnostic import Diagnostic, Fix, Label, Severity, Source, Span
from tests.cli.conftest import NET

Capture = pytest.CaptureFixture[str]
USING = "use .part: unit\n\nblock net(image: [B, 3, H, W]) { return image -> stem: unit(8) -> global_avgpool }\n"


@pytest.fixture(autouse=True)
def cache(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were really checked."""
    done: list[str] = []
    real = archlang.verify.check.check_file

    def check_file(module: archlang.elaborate.LoadedModule, *rest: object) -> list[Diagnostic]:
        done.append(module.source.path)
        return real(module, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(archlang.verify.check, "check_file", check_file)
    return done


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("check-*"))


def test_an_unchanged_file_is_checked_once(checked: list[str], cache: Path, capsys: Capture) -> None:
    assert main(["check", "net.arch"]) == main(["check", "net.arch"]) == 0
    assert checked == ["net.arch"] and len(entries(cache)) == 1
    assert capsys.readouterr().out == "1 file, no mistakes found\n" * 2


def test_an_edited_file_is_checked_again(checked: list[str], cache: Path, capsys: Capture) -> None:
    main(["check", "net.arch"])
    was = os.stat("net.arch")
    Path("net.arch").write_text(NET.replace("-> relu", "-> relv"))
    os.utime("net.arch", ns=(was.st_atime_ns, was.st_mtime_ns))  # contents count, not times
    assert main(["check", "net.arch"]) == 1
    assert "did you mean `relu`?" in capsys.readouterr().out
    Path("net.arch").write_text(NET)
    assert main(["check", "net.arch"]) == 0
    assert len(checked) == 3 and len(entries(cache)) == 1


def test_an_edit_of_a_used_file(checked: list[str], capsys: Capture) -> None:
    Path("part.arch").write_text(NET)
    Path("net.arch").write_text(USING)
    assert main(["check", "net.arch"]) == main(["check", "net.arch"]) == 0
    assert checked == ["net.arch"]
    Path("part.arch").write_text(NET.replace("-> relu", "-> relv"))
    assert main(["check", "net.arch"]) == main(["check", "net.arch"]) == 1
    assert checked == ["net.arch", "net.arch"]
    Path("part.arch").unlink()
    assert main(["check", "net.arch"]) == 1
    assert "ARC0106" in capsys.readouterr().out


def test_a_file_that_is_no_longer_missing() -> None:
    Path("net.arch").write_text(USING)
    assert main(["check", "net.arch"]) == main(["check", "net.arch"]) == 1
    Path("part.arch").write_text(NET)
    assert main(["check", "net.arch"]) == 0


def test_what_comes_first_where_a_name_is_looked_up() -> None:
    known, source = Results(""), Source("net.arch", NET)
    known.put("net.arch", Files({os.path.abspath("net.arch"): source, os.path.abspath("first.arch"): None}), [])
    assert known.get("net.arch") == []
    Path("first.arch").write_text("")
    assert known.get("net.arch") is None


def test_another_version(checked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    main(["check", "net.arch"])
    monkeypatch.setattr(sys, "version", "4.0")
    main(["check", "net.arch"])
    Path("source.py").write_text("1")
    monkeypatch.setattr("archlang.cli.results._package", lambda: ["source.py"])
    main(["check", "net.arch"])
    Path("source.py").write_text("2")
    main(["check", "net.arch"])
    main(["check", "net.arch"])
    assert len(checked) == 4


def test_other_options_and_other_names_for_a_file(checked: list[str], cache: Path) -> None:
    main(["check", "net.arch"])
    assert main(["check", "net.arch", "--max-bytes", "10"]) == 1
    assert main(["check", "net.arch", "--max-bytes", "1M"]) == 0
    assert main(["check", "./net.arch"]) == 0
    assert main(["check", "net.arch", "--shapes"]) == 0
    assert main(["check", "net.arch", "--no-cache"]) == 0
    assert checked == ["net.arch"] * 2 + ["./net.arch"] + ["net.arch"] * 2


@pytest.mark.parametrize("damage", ["", "half", "turned", "binary", "folder"])
def test_damage(damage: str, checked: list[str], cache: Path) -> None:
    Path("net.arch").write_text(NET.replace("-> relu", "-> relv"))
    main(["check", "net.arch"])
    (entry,) = entries(cache)
    data = entry.read_bytes()
    if damage == "folder":
        entry.unlink()
        (entry / "below").mkdir(parents=True)
    else:
        new = {"": b"", "half": data[: len(data) // 2], "turned": data.replace(b"relv", b"relw"), "binary": b"\xff\n\0"}
        entry.write_bytes(new[damage])
    assert main(["check", "net.arch"]) == 1
    assert len(checked) == 2
    if damage != "folder":
        assert entry.read_bytes() == data


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("ARCHC_CACHE", os.path.abspath("net.arch"))
    assert main(["check", "net.arch"]) == main(["check", "net.arch"]) == 0
    assert capsys.readouterr().err == ""


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHC_CACHE", "off")
    assert folder() is None
    monkeypatch.delenv("ARCHC_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert folder() == "/somewhere/archlang"


def test_old_entries_are_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archlang.cli.results.MOST", 4)
    for i in range(6):
        Path(f"{i}.arch").write_text(NET)
        main(["check", f"{i}.arch"])
    assert 2 <= len(entries(cache)) <= 4


@pytest.mark.parametrize("form", ["text", "json", "sarif", "junit", "github"])
def test_the_same_report_in_every_form(form: str, checked: list[str], capsys: Capture) -> None:
    Path("part.arch").write_text(NET.replace("-> relu", "-> bn2: batchnorm"))
    Path("net.arch").write_text(USING)
    Path("broken.arch").write_text(NET.replace("relu\n", "rellu\n"))
    Path("text.arch").write_text("block (")
    line = ["check", ".", "--format", form]
    assert main([*line, "--no-cache"]) == main(line) == main(line) == 1
    plain = capsys.readouterr().out
    assert plain == plain[: len(plain) // 3] * 3
    assert len(checked) == 6


def test_everything_in_a_finding_is_kept() -> None:
    source = Source("net.arch", NET)
    span = Span(source, 3, 7)
    found = Diagnostic(
        "ARC0001", "m", span, "l", (Label(span, "r"),), "h", ("n",), Severity.WARNING, Fix(Span(source, 1, 2), "f")
    )
    known = Results("")
    known.put("net.arch", Files({os.path.abspath("net.arch"): source}), [found, Diagnostic("ARC0002", "m", None)])
    got = known.get("net.arch")
    assert got is not None and len(got) == 2
    plain = [dataclasses.replace(d, span=None, related=(), fix=None) for d in (found, got[0])]
    assert plain[0] == plain[1] and str(got[0]) == str(found)
    spans = [(d.span, d.related[0].span, d.fix.span) for d in (found, got[0]) if d.span and d.fix]
    assert list(map(str, spans[0])) == list(map(str, spans[1]))
    assert got[0].related[0].text == "r" and got[0].fix is not None and got[0].fix.replacement == "f"
    assert got[1] == Diagnostic("ARC0002", "m", None)
    names = [f.name for f in dataclasses.fields(Diagnostic)]  # a new one must be kept, too
    assert names == ["code", "message", "span", "label", "related", "help", "notes", "severity", "fix"]


def test_a_file_that_changes_meanwhile_is_not_remembered() -> None:
    known = Results("")
    known.put("net.arch", Files({os.path.abspath("net.arch"): Source("net.arch", NET + "\n")}), [])
    assert known.get("net.arch") is None


def test_at_the_same_time(cache: Path) -> None:
    """Several processes fill the cache and read it."""
    line = [sys.executable, "-m", "archlang", "check", "."]
    path = os.pathsep.join(filter(None, [str(Path(archlang.__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    runs = [subprocess.Popen(line, env=env, **pipes) for _ in "1234"]
    assert {run.communicate(timeout=60)[0] for run in runs} == {"1 file, no mistakes found\n"}
    assert list(cache.iterdir()) == entries(cache) != []


def test_what_a_check_imports() -> None:
    """A design that takes every size by its form needs no islpy; nothing needs torch, Lark or `dataclasses`."""
    root = Path(archlang.__file__).parent.parent
    code = """
import sys
from archlang.cli import main
status = main(["check", "--no-cache", sys.argv[1]])
heavy = {"torch", "lark", "islpy", "dataclasses", "inspect", "pydantic", "jinja2", "networkx", "numpy"}
sys.exit(status or sorted(heavy & {*sys.modules}) or 0)
"""
    env = {**os.environ, "PYTHONPATH": str(root)}
    line = [sys.executable, "-c", code, str(root / "specs" / "resnet.arch")]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1 file, no mistakes found\n")
