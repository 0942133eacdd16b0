"""The linters are part of the tests: ruff check, ruff format and mypy --strict over the compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "ruff check": ["ruff", "check", "archlang", "tests", "scripts"],
    "ruff format": ["ruff", "format", "--check", "archlang", "tests", "scripts"],
    "mypy": ["mypy", "--strict", "archlang"],
}


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_clean(name: str) -> None:
    tool, *arguments = COMMANDS[name]
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
