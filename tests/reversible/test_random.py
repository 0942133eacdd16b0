"""Random reversible blocks: right ones are accepted and undone, wrong ones refused for their mistake.

`python benchmarks/reversible_soundness.py` runs 2,000 of each.
"""

from __future__ import annotations

import pytest

from archlang.report.diagnostic import ArchError, Severity
from tests.elaborate.helpers import done
from tests.reversible.generate import MISTAKES, right, wrong
from tests.reversible.helpers import roundtrip

PARTS = 3
EACH = 50


@pytest.mark.parametrize("part", range(PARTS))
def test_right_blocks_are_undone(part: int) -> None:
    for seed in range(10_000 + part * EACH, 10_000 + (part + 1) * EACH):
        text = right(seed)
        assert roundtrip(text, "net") < 1e-10, text


@pytest.mark.parametrize("part", range(PARTS))
def test_wrong_blocks_are_refused(part: int) -> None:
    for seed in range(20_000 + part * EACH, 20_000 + (part + 1) * EACH):
        text, codes = wrong(seed)
        with pytest.raises(ArchError) as caught:
            done(text, "net")
        first = next(d for d in caught.value.diagnostics if d.severity is Severity.ERROR)
        assert first.code in codes, f"{first}\n{text}"
        assert first.span is not None


def test_every_mistake_is_made() -> None:
    made = {frozenset(wrong(seed)[1]) for seed in range(200)}
    assert made == {frozenset(codes) for codes in MISTAKES.values()}
