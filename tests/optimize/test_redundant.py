"""Networks that do more than they have to, at random: what the passes make of them does the same."""

from __future__ import annotations

import random

import archlang
from archlang.analyze import cost
from archlang.ir.walk import executed
from archlang.optimize import known_passes, optimize
from tests.optimize.equal import compared, exact
from tests.optimize.redundant import EXTENT, redundant
from tests.optimize.training import same_step

SIZES = {"B": 2, "H": EXTENT, "W": EXTENT}
ROUNDING = 1e-12  # in float64


def test_exact_passes_change_no_bit_and_all_of_them_fire() -> None:
    fired: set[str] = set()
    for seed in range(40):
        program = archlang.compile(redundant(seed), "net").program
        found, made = compared(program, SIZES, exact())
        assert found == 0, seed
        fired.update(f.name for f in made.fired)
        assert not optimize(made.program, names=exact()).fired, seed
        found, made = compared(program, SIZES)
        assert found <= ROUNDING, seed
        assert not optimize(made.program).fired, seed
    assert fired >= {name for name in exact() if known_passes()[name].level == 1}


def test_training_is_the_same_to_the_bit() -> None:
    fired: set[str] = set()
    for seed in range(40):
        fired.update(f.name for f in same_step(archlang.compile(redundant(seed), "net").program, SIZES).fired)
    assert fired >= {p.name for p in known_passes().values() if p.level == 1 and "train" in p.purposes}


def test_the_order_of_passes_does_not_matter() -> None:
    names = [p.name for p in known_passes().values() if "inference" in p.purposes and p.equivalence != "approximate"]
    for seed in range(15):
        program = archlang.compile(redundant(seed), "net").program
        figures = set()
        for number in range(4):
            shuffled = random.Random(number).sample(names, len(names))
            found, made = compared(program, SIZES, shuffled if number else None)
            assert found <= ROUNDING, (seed, number)
            figures.add((executed(made.program), cost(made.program, SIZES).parameters.parameters))
        assert len(figures) == 1, (seed, figures)
