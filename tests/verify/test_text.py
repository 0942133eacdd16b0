"""Sets are printed as people write them, and what is printed is the set."""

from __future__ import annotations

import pytest

from archlang.ir.graph import Constraint
from archlang.shapes.dim import Size, symbol
from archlang.verify.sets import of_constraints
from archlang.verify.sizes import Sizes
from archlang.verify.text import condition, set_text

B, H, W = (symbol(n) for n in "BHW")

CASES: list[tuple[str, list[tuple[Size, str, Size]]]] = [
    ("always", []),
    ("H >= 33", [(H, ">=", 33)]),
    ("H mod 16 = 0 and H >= 16", [(16 * (H // 16), "==", H)]),
    ("H mod 16 = 0 and H >= 48", [(16 * (H // 16), "==", H), (H, ">=", 33)]),
    ("H mod 4 in {0, 3} and H >= 3", [(((H + 1) // 4) - (H // 4) + ((H // 4) - ((H - 1) // 4)), "==", 1)]),
    ("H = 224 and W = 224", [(H, "==", 224), (W, "==", 224)]),
    ("H <= 7", [(7, ">=", H)]),
    ("4 <= H <= 7", [(H // 4, "==", 1)]),
    ("H mod 2 = 0 and H >= 2 and W >= 3", [(2 * (H // 2), "==", H), (W, ">=", 3)]),
    ("(B >= 2 or H >= 33 or W >= 33)", [(B * (((H - 1) // 32) + 1) * (((W - 1) // 32) + 1), ">=", 2)]),
    ("(H, W) in {(1, 9), (3, 3), (9, 1)}", [(H * W, "==", 9)]),
    ("H = W", [(H, "==", W)]),
    ("H >= 3 and W >= 2 and H = W + 1", [(H, "==", W + 1), (W, ">=", 2)]),
    ("never", [(H, ">=", 3), (2, ">=", H)]),
]


@pytest.mark.parametrize(("expected", "needs"), CASES, ids=[c[0] for c in CASES])
def test_conditions(expected: str, needs: list[tuple[Size, str, Size]]) -> None:
    space = Sizes(("B", "H", "W"))
    found = of_constraints(space, [Constraint(a, b, relation, "because", None) for a, relation, b in needs])
    assert not found.undecided
    assert condition(space, found.set) == expected
    assert set_text(space, space.positive) == "B >= 1 and H >= 1 and W >= 1"
