"""Every decided question about products agrees with brute force; what is undecided is named here."""

from __future__ import annotations

from itertools import product

import islpy as isl
import pytest

from archlang.shapes.dim import Size, evaluate, symbol, symbols
from archlang.verify.products import decide
from archlang.verify.sizes import Sizes

B, H, W, S = (symbol(n) for n in "BHWS")
LAST = 40

QUESTIONS: list[tuple[Size, str, Size]] = [
    # linear, with nested floors
    (2 * (H // 2), "==", H),
    (((H + 5) // 16) - 2, ">=", (W + 1) // 3),
    (8 * (((H - 1) // 2 - 1) // 4), "==", H - 4),
    # a product and a number
    (H * W, "==", 36),
    ((H // 4) * (W // 4), "==", 12),
    (((H - 1) // 2 + 1) * ((W - 1) // 2 + 1) + 1, "==", 50),
    (B * H * W, ">=", 2),
    (B * ((H + 1) // 2) * ((W + 1) // 2), ">=", 7),
    (30, ">=", H * W),
    (H * W, "==", 37 * H),
    ((H // 8) * (W // 8), "==", 0),
    (3 * H * W, "==", 10),
    # one symbol
    (S * S, "==", 196),
    ((S // 2) * (S // 2) - 9 * S, ">=", -8),
    (S * S * S - 12 * S * S, "==", -47 * S + 60),
    ((S * S) // 7, "==", S),
    # two products
    (B * H * W, "==", 49 * B * (H // 7) * (W // 7)),
    (H * W, "==", 6 * (H // 2) * (W // 3)),
    (H * W * 16, "==", 16 * (4 * (H // 4)) * W),
    (H * W, ">=", 4 * (H // 2) * (W // 2)),
    (B * H, "==", B * W),
    ((H + 1) * (W + 2), "==", 4 * ((H + 1) // 2) * ((W + 2) // 2)),
    # modulo
    (H * W, "==", 12 * ((H * W) // 12)),
    (B * H * W, "==", 8 * ((B * H * W) // 8)),
    (H * H + W, "==", 3 * ((H * H + W) // 3)),
    ((H * W) // 10, ">=", 3),
    (3, ">=", (H * W) // 10),
    ((H * W) // 10, "==", 4),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: f"{q[0]} {q[1]} {q[2]}")
def test_decided_questions_agree_with_brute_force(question: tuple[Size, str, Size]) -> None:
    left, relation, right = question
    names = tuple(sorted(symbols(left - right)))
    space = Sizes(names)
    answer = decide(space, left, right, relation, space.positive)
    assert answer is not None
    answer = answer.intersect(space.positive)
    last = LAST if len(names) < 3 else 9
    box = space.positive
    for i in range(len(names)):
        box = box.upper_bound_val(isl.dim_type.set, i, space.number(last))
    members = set()
    for values in product(range(1, last + 1), repeat=len(names)):
        at = dict(zip(names, values, strict=True))
        a, b = evaluate(left, at), evaluate(right, at)
        if a == b if relation == "==" else a >= b:
            members.add(values)
    found = set()
    answer.intersect(box).foreach_point(
        lambda p: found.add(tuple(p.get_coordinate_val(isl.dim_type.set, i).to_python() for i in range(len(names))))
    )
    assert found == members


@pytest.mark.parametrize(
    ("left", "relation", "right"), [(H * W, "==", B + 1), (H * H, "==", 2 * W * W + 1), (H // W, ">=", 3)]
)
def test_what_the_rules_do_not_tell_is_left_open(left: Size, relation: str, right: Size) -> None:
    space = Sizes(("B", "H", "W"))
    assert decide(space, left, right, relation, space.positive) is None


def test_equations_beside_it_decide() -> None:
    space = Sizes(("H", "W"))
    square = space.positive.intersect(space.zero(H - W))
    assert space.determined(square) == {"H": W}
    fixed = space.positive.intersect(space.zero(2 * W - 14))
    assert space.determined(fixed) == {"W": 7}
    even = space.positive.intersect(space.zero(2 * (H // 2) - H))  # an equation, but of a hidden variable
    assert space.determined(even) == {}
