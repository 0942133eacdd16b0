"""The page lists every pass, as it is registered."""

from __future__ import annotations

from pathlib import Path

from archlang.optimize.reference import filled

PAGE = Path(__file__).parents[2] / "docs" / "optimizer.md"


def test_the_table_of_passes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page, "run `python -m archlang.optimize.reference`"
