"""The programs of examples/ do what its README shows. What the page can run itself, tests/docs/test_docs.py runs."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.references import package

EXAMPLES = ROOT / "examples"
PAGE = EXAMPLES / "README.md"


def test_the_page_shows_the_files() -> None:
    shown = {word[5:]: block.text for block in blocks(PAGE) for word in block.words if word.startswith("file=")}
    assert len(shown) == 2
    for name, text in shown.items():
        assert (EXAMPLES / name).read_text(encoding="utf-8") == text, name


def test_checkpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    models = package("torchvision.models")
    spec = importlib.util.spec_from_file_location("checkpoint", EXAMPLES / "checkpoint.py")
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    monkeypatch.setattr(sys, "argv", ["checkpoint.py"])
    program.main()
    assert f"$ python checkpoint.py\n{capsys.readouterr().out}" in PAGE.read_text(encoding="utf-8")
    import torch

    torch.save(models.resnet18().state_dict(), tmp_path / "weights.pt")
    monkeypatch.setattr(sys, "argv", ["checkpoint.py", str(tmp_path / "weights.pt")])
    program.main()
    assert capsys.readouterr().out.startswith("122 tensors loaded")


def test_digits(tmp_path: Path) -> None:
    """One epoch; a pipe gets one line, and nothing of the bar."""
    for needed in ("sklearn", "matplotlib"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    command = [sys.executable, str(EXAMPLES / "digits.py"), "--epochs", "2", "--plot", "loss.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = re.fullmatch(r"loss (.*) -> (.*); (.*)% of 360 new digits are right\n", done.stdout)
    assert found, done.stdout
    assert float(found[2]) < float(found[1]) and int(found[3]) > 30
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
