"""`archc new`: a network for each scheme of the library, which is right as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import archlang
from archlang.cli import main
from archlang.cli.starters import Starter, starters, text
from archlang.elaborate import elaborate, load
from archlang.report.diagnostic import Source

Capture = pytest.CaptureFixture[str]
STD = Path(archlang.__file__).parent / "std"
ALL = [pytest.param(starter, id=starter.name) for starter in starters()]


@pytest.mark.parametrize("starter", ALL)
def test_each_is_right_and_uses_its_scheme(starter: Starter) -> None:
    spec = text(starter)
    assert archlang.check(spec) == []
    assert max(map(len, spec.splitlines())) <= 132
    program = elaborate(load(Source("net.arch", spec)), "net").program
    library = (STD / f"{starter.file}.arch").read_text(encoding="utf-8")
    function = re.search(rf"^fn {starter.name}\b", library, re.MULTILINE)  # which leaves no graph of its own
    assert function or starter.name in {graph.block for graph in program.graphs}
    compile(archlang.compile(spec, "net").source, "net.py", "exec")


def test_no_remark_is_lost_and_no_name_meant_twice() -> None:
    remarks = sum(path.read_text(encoding="utf-8").count("\n# new ") for path in STD.glob("*.arch"))
    names = [starter.name for starter in starters()]
    assert len(names) == len({*names}) == remarks > 30


def test_a_file_is_made_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "pre_norm", "-o", "net.arch"]) == 0
    made = Path("net.arch").read_text(encoding="utf-8")
    assert main(["check", "net.arch"]) == 0
    capsys.readouterr()
    assert main(["new", "pre_norm"]) == 0
    assert capsys.readouterr().out == made
    assert main(["new", "dense", "-o", "net.arch"]) == 2
    assert "error[ARC0915]: `net.arch` is there already" in capsys.readouterr().err
    assert Path("net.arch").read_text(encoding="utf-8") == made


def test_the_list(capsys: Capture) -> None:
    assert main(["new", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [starter.name for starter in starters()]
    assert "pre_norm" in (shown := next(line for line in lines if "(Xiong et al., 2020)" in line)) and "y = x" in shown


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("new", "`archc new` needs a scheme|`archc new --list` shows them"),
        ("new pre_nrom", "error[ARC0914]: there is no scheme `pre_nrom`|did you mean `pre_norm`?"),
        ("new 7", "there is no scheme `7`|`archc new --list` shows the schemes"),
        ("new dense -o missing/net.arch", "cannot write `missing/net.arch`: there is no folder `missing`"),
    ],
)
def test_wrong_command_lines(line: str, expected: str, capsys: Capture) -> None:
    assert main(line.split()) == 2
    shown = capsys.readouterr().err
    assert all(part in shown for part in expected.split("|"))
