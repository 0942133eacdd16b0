"""`archc plan` and `archc compile --memory`: the curve, a plan, JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archlang.cli import main
from archlang.cli.guard import UsageError
from archlang.cli.memory import amount

Capture = pytest.CaptureFixture[str]
TEXT = """
block unit(x) { return x + (x -> a: linear(8) -> relu -> b: linear(8)) }
block net(x: [B, 8]) { return x -> body: chain([unit() for _ in 0..40]) -> head: linear(4) }
"""
AT = ["--at", "B=100"]


@pytest.fixture(autouse=True)
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.arch").write_text(TEXT)
    monkeypatch.chdir(tmp_path)


def test_the_curve(capsys: Capture) -> None:
    assert main(["plan", "net.arch", *AT, "--points", "4"]) == 0
    title, _, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "net (net.arch) at B=100"
    assert head.split() == ["memory", "of", "it", "kept", "MACs", "again", "of", "a", "forward", "pass"]
    assert len(rows) == 4
    assert rows[-1].split() == ["253.12", "KiB", "253.12", "KiB", "0", "0.0", "%", "all", "stored"]


def test_the_curve_falls_as_data(capsys: Capture) -> None:
    assert main(["plan", "net.arch", *AT, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    peaks, works = ([point[name] for point in found["curve"]] for name in ("peak", "macs_again"))
    assert peaks == sorted(peaks) and works == sorted(works, reverse=True)
    assert found["macs"] == 100 * (40 * 2 * 64 + 32)
    assert found["sizes"] == {"B": 100}


def test_a_plan(capsys: Capture) -> None:
    assert main(["plan", "net.arch", *AT, "--memory", "100KiB"]) == 0
    shown = capsys.readouterr().out
    assert "  all stored      253.12 KiB\n" in shown
    assert "evaluated again" in shown
    assert main(["plan", "net.arch", *AT, "--memory", "100KiB", "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["peak"] <= 100 * 1024
    assert plan["kept"] == sum(part["kept"] for part in plan["parts"])
    assert plan["macs_again"] == sum(part["macs_again"] for part in plan["parts"])


def test_a_module(capsys: Capture) -> None:
    assert main(["compile", "net.arch", *AT, "--memory", "100KiB", "-o", "model.py"]) == 0
    text = Path("model.py").read_text()
    assert "Planned for training within 100.00 KiB at B=100" in text
    assert "use_reentrant=False" in text
    compile(text, "model.py", "exec")
    assert main(["compile", "net.arch", *AT, "--memory", "1GiB"]) == 0
    assert "checkpoint" not in capsys.readouterr().out


def test_a_module_for_two_streams(tmp_path: Path) -> None:
    (tmp_path / "pairs.arch").write_text(
        "use std.reversible: coupling\n"
        "block net(a: [B, 8], b: [B, 8]) { return (a, b) -> f: chain([coupling(linear(8), relu) for _ in 0..9]) }"
    )
    for more in ([], [*AT, "--memory", "30KiB"]):
        assert main(["compile", "pairs.arch", "-o", "pairs.py", "--overlap", *more]) == 0
        assert ", rewind=Overlap)" in Path("pairs.py").read_text()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["compile", "net.arch", *AT, "--memory", "10KiB"], "ARC0830"),
        (["compile", "net.arch", "--memory", "10KiB"], "ARC0831"),
        (["plan", "net.arch"], "ARC0831"),
        (["plan", "net.arch", *AT, "--memory", "much"], "ARC0832"),
        (["compile", "net.arch", *AT], "ARC0901"),
        (["compile", "net.arch", *AT, "--memory", "1GiB", "--no-rebuild"], "ARC0901"),
        (["compile", "net.arch", *AT, "--memory", "1GiB", "-O", "2"], "ARC0901"),
        (["compile", "net.arch", *AT, "--memory", "1GiB", "--emit", "ir"], "ARC0901"),
        (["plan", "net.arch", "--at", "C=3"], "ARC0908"),
    ],
)
def test_refused(command: list[str], code: str, capsys: Capture) -> None:
    assert main(command) == (1 if code == "ARC0830" else 2)
    assert code in capsys.readouterr().err


def test_amounts() -> None:
    assert [amount(text) for text in ("4GiB", "1.5MiB", "2_000", "3k")] == [4 * 2**30, 3 * 2**19, 2000, 3000]
    for text in ("", "0", "-1GiB", "16MB", "1.5", "GiB", "50%"):
        with pytest.raises(UsageError):
            amount(text)
