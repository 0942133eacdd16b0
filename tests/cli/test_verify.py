"""`archc verify --numeric`: the table, JSON, which designs, exit status, and wrong command lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from archlang.cli import main

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("net")
NUMERIC = ["verify", "--numeric", "--sizes", "4"]


def test_text(capsys: Capture) -> None:
    assert main([*NUMERIC, "net.arch"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""  # no progress where nobody sees it
    lines = shown.out.splitlines()
    assert lines[0] == "net (net.arch)"
    assert "  evaluation  B >= 1 and H >= 1 and W >= 1" in lines
    rows = {tuple(line.split()) for line in lines}
    assert {("parameters", "322", "322"), ("trainable", "322", "322"), ("buffers", "17", "17")} <= rows


def test_json(capsys: Capture) -> None:
    assert main([*NUMERIC, "--format", "json", "net.arch"]) == 0
    certificate, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert certificate["kind"] == "certificate" and certificate["design"] == "net"
    assert [run["phase"] for run in certificate["sizes"]] == ["eval", "train"]
    assert all(figure["predicted"] == figure["measured"] for figure in certificate["figures"])
    assert summary == {"kind": "summary", "errors": 0, "warnings": 0, "designs": 1}


def test_designs_are_those_of_check_and_each_is_run_once(capsys: Capture) -> None:
    claims = "verify net() on [B, 3, H, W] { params == 322 }\nverify net(width=4) on [2, 3, 8, 8] { params == 166 }\n"
    path = Path("net.arch")
    path.write_text(path.read_text() + claims)
    assert main([*NUMERIC, "--format", "json", "."]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["figures"][0]["predicted"] for row in rows[:-1]] == [322, 166]
    assert main([*NUMERIC, "--format", "json", "net.arch", "-e", "net"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_disagreement_is_exit_status_1(capsys: Capture) -> None:
    text = 'extern block e(x: [B, 3, H, W]) -> [B, 3, H, H] = "torch.nn:Identity"\n'
    Path("net.arch").write_text(text + "block net(x: [B, 3, H, W]) { return x -> e -> relu }\n")
    assert main([*NUMERIC, "net.arch"]) == 1
    assert "error[ARC0853]" in capsys.readouterr().out
    assert main([*NUMERIC, "--format", "json", "net.arch"]) == 1
    certificate, *found, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert certificate["not_counted"] == ["extern torch.nn:Identity"]
    assert {row["code"] for row in found} == {"ARC0853"} and summary["errors"] == len(found)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["verify", "net.arch"], "`archc check` decides the claims"),
        (["verify", "--numeric"], "ARC0901"),
        (["verify", "--numeric", "none.arch"], "ARC0902"),
        (["verify", "--numeric", "net.arch", "-e", "nett"], "ARC0907"),
        (["verify", "--numeric", "net.arch", "--sizes", "0"], "is not a whole number above 0"),
    ],
)
def test_mistakes(words: list[str], text: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert text in capsys.readouterr().err


def test_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from archlang.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *NUMERIC, "net.arch"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "error[ARC0920]: `archc verify --numeric` needs torch" in done.stderr
