"""What the compiler writes for the published designs: short, and clean for the linters; and the table of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import archlang
from scripts import specs_table
from scripts.specs_table import SPECS

OTHERS = {"preresnet": "preresnet1001", "revnet": "paper38"}  # which show what the first design of their file does not


@pytest.mark.parametrize(("spec", "entry", "lines"), [("resnet", "resnet50", 110), ("preresnet", "preresnet1001", 130)])
def test_the_text_is_short(spec: str, entry: str, lines: int) -> None:
    assert len(archlang.compile(SPECS / f"{spec}.arch", entry).source.splitlines()) <= lines


@pytest.mark.long
def test_the_linters_find_nothing_and_the_table_is_true(tmp_path: Path) -> None:
    """One test, since both need all modules. The names of the entries are looked at in tests/analyze/test_specs.py."""
    known = specs_table.rows()
    rows = []
    for path in sorted(SPECS.glob("*.arch")):
        spec = specs_table.read(path)
        example = specs_table.example(spec)
        (tmp_path / f"{path.stem}.py").write_text(example.source, encoding="utf-8")
        rows.append(specs_table.row(spec, example, known.get(path.stem, " | | | ").split(" | ")[2]))
    for spec_name, entry in OTHERS.items():
        text = archlang.compile(SPECS / f"{spec_name}.arch", entry).source
        (tmp_path / f"{entry}.py").write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        [*ruff, "check", "--isolated", "."],
        [*ruff, "format", "--isolated", "--check", "."],
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert specs_table.PAGE.read_text(encoding="utf-8") == specs_table.page(rows), "run `python scripts/specs_table.py`"
