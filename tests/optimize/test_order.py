"""Steps in an order that needs less memory, beside what the interpreter's tensors take."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.inputs import random_inputs
from archlang.optimize import optimize
from tests.analyze.networks import peak
from tests.optimize.equal import compared

# Two wide tensors, each of which is summed up at once; and a copy that is best made late.
WIDE = """
block net(x: [B, 8, H, W]) {
    a = x -> a: conv(64, 3, padding=1)
    b = x -> b: conv(64, 3, padding=1)
    return (a -> global_avgpool) + (b -> global_avgpool)
}
"""
LATE = """
block net(x: [B, 8, H, W]) {
    grown = x -> interpolate(scale_factor=4)
    y = x -> a: conv(64, 3, padding=1) -> b: conv(64, 3, padding=1) -> c: conv(4, 1)
    return (grown -> global_avgpool), y
}
"""
SIZES = {"B": 2, "H": 8, "W": 8}


@pytest.mark.parametrize("spec", [WIDE, LATE])
def test_less_memory_at_one_time(spec: str) -> None:
    program = archlang.compile(spec).program
    deviation, made = compared(program, SIZES, ["order"])
    assert deviation == 0 and [f.name for f in made.fired] == ["order"]
    torch.manual_seed(0)
    inputs = random_inputs(program, SIZES)
    assert peak(made.program, inputs) < 0.9 * peak(program, inputs)
    assert not optimize(made.program, names=["order"]).fired


def test_numbers_are_drawn_in_the_same_order() -> None:
    spec = """
    block net(x: [B, 8, H, W]) {
        a = x -> interpolate(scale_factor=4)
        b = rand([4]) -> reduce_sum
        c = a * rand([1]) -> reduce_sum
        return b, c, x * rand([1])
    }
    """.replace("a * rand([1]) -> reduce_sum", "(a * rand([1])) -> reduce_sum")
    program = archlang.compile(spec).program
    assert compared(program, SIZES, ["order"])[0] == 0
