"""`archc cost`: totals, the tree, formulas, JSON, and wrong command lines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from archlang.cli import main

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("net")
STEM, HEAD = 8 * 3 * 9, 8 * 10
AT = ["--at", "B=2,H=16", "--at", "W=16"]


def test_text_with_numbers(capsys: Capture) -> None:
    assert main(["cost", "net.arch", *AT]) == 0
    shown = capsys.readouterr().out.splitlines()
    macs = 2 * 256 * STEM + 2 * HEAD
    assert shown[0] == "net (net.arch) at B=2, H=16, W=16"
    assert "  parameters          322 (17 in buffers)" in shown
    assert f"  MACs                {macs:,} ({macs / 1000:.2f} k)" in shown
    assert "  receptive field     3 x 3, stride 1; also the whole input" in shown
    assert "  depth               2 layers with weights" in shown
    (stem,) = (line.split() for line in shown if line.startswith("    stem: unit"))
    assert stem[2:6] == ["232", "72.0%", "110.59", "k"]


def test_formulas_without_sizes(capsys: Capture) -> None:
    assert main(["cost", "net.arch", "--depth", "0"]) == 0
    assert f"  MACs                {STEM}*B*H*W + {HEAD}*B\n" in capsys.readouterr().out


def test_json(capsys: Capture) -> None:
    assert main(["cost", "net.arch", *AT, "--format", "json", "--sort", "macs", "--set", "width=4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == {"total": 166, "trainable": 166, "frozen": 0, "active": 166, "buffers": 9}
    assert found["macs"] == 2 * 256 * 4 * 27 + 2 * 40
    assert found["saved_bytes"] == 4 * (2 * 3 * 256 + 2 * 2 * 4 * 256 + 2 * 4 + 2 * 4)
    assert [child["name"] for child in found["tree"]["children"]][:2] == ["stem", "fc"]
    assert found["tree"]["children"][0]["children"][0]["kind"] == "conv"


def test_sort_by_parameters(capsys: Capture) -> None:
    assert main(["cost", "net.arch", "--set", "classes=1000", "--sort", "params", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tree"]["children"][0]["name"] == "fc"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--at", "X=3"], 2, "the input of `net` has no size `X`"),
        (["--at", "H=0"], 2, "`0` is not a whole number above 0"),
        (["--sort", "mac"], 2, "did you mean `macs`?"),
        (["--depth", "-1"], 2, "ARC0901"),
    ],
)
def test_mistakes(words: list[str], status: int, text: str, capsys: Capture) -> None:
    assert main(["cost", "net.arch", *words]) == status
    assert text in capsys.readouterr().err


def test_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from archlang.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "cost", "net.arch", *AT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
