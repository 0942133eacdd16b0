"""Wrong reversible blocks: each is refused with the code of the rule that it breaks, at a place in the spec."""

from __future__ import annotations

import pytest

from archlang.report.diagnostic import ArchError, Severity
from tests.elaborate.helpers import done
from tests.reversible.corpus import Case, cases

CASES = cases()


def test_there_are_many() -> None:
    assert len(CASES) >= 200
    assert len({case.text for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line}-{case.code}")
def test_refused(case: Case) -> None:
    with pytest.raises(ArchError) as caught:
        done(case.text, "net")
    first = next(d for d in caught.value.diagnostics if d.severity is Severity.ERROR)
    assert (first.code, case.message in first.message + " " + first.label) == (case.code, True), first
    assert first.span is not None
