"""Golden files (`pytest --update-golden` writes what a test would otherwise compare); one thread for torch: on small
inputs its threads wait for each other longer than they work, the more so beside other test workers; and the same random
examples in every run, so that a change is what turns a test red."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

os.environ["ARCHC_CACHE"] = "off"  # tests see what is computed, and leave nothing behind
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: one that begins last keeps one worker busy while the others wait."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """golden(name, text): the text must be that of the file `golden/name` beside the test."""

    def check(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert text == path.read_text(encoding="utf-8"), f"{path.name} differs (pytest --update-golden writes it)"

    return check
