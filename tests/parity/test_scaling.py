"""Fast compound scaling against what github facebookresearch/pycls makes of RegNetY-4GF and says that it costs."""

from __future__ import annotations

from math import prod, sqrt

import pytest

import archlang
from archlang.analyze import cost
from archlang.ir.graph import Graph
from archlang.shapes.dim import evaluate
from tests.parity.oracles import SPECS, assert_layout, assert_parity, timm_model

# d, w, g, r, and times: parameters, operations, activations (what convolutions and linear layers give). Its operations
# count the biases of gates and classifier.
PYCLS = {
    (1, 8, 8, 1, 1.0): (20_646_656, 3_973_301_344, 12_287_200),
    (1, 8, 8, 1, 4.0): (68_144_472, 15_608_249_240, 26_542_408),
    (1, 8, 8, 1, 16.0): (250_015_696, 62_681_637_552, 60_699_824),
    (0, 1, 1, 0, 4.0): (80_236_144, 15_730_033_872, 24_171_984),
    (1, 0, 0, 0, 4.0): (80_921_984, 15_247_504_096, 39_475_168),
    (1, 1, 0, 1, 4.0): (46_481_584, 14_101_852_048, 34_366_032),
}


@pytest.mark.parametrize("rule", PYCLS)
def test_cost_of_scaled_networks(rule: tuple[float, ...]) -> None:
    params, operations, activations = PYCLS[rule]
    d, w, g, r, times = rule
    program = archlang.compile(SPECS / "fast_scaling.arch", "scaled", s=times, d=d, w=w, g=g, r=r).program
    found = cost(program)
    assert found.parameters.parameters == params
    made, biases = outputs(program.root, {"B": 1})
    assert made == activations
    assert evaluate(found.work.macs, {"B": 1}) + biases == operations


def test_activations_grow_as_the_root() -> None:
    """Section 4 of the paper: s**0.5 by width, fast scaling stays near; s by depth."""
    one = PYCLS[1, 8, 8, 1, 1.0][2]
    growth = {rule: figures[2] / one / sqrt(rule[-1]) for rule, figures in PYCLS.items()}
    assert 0.95 < growth[0, 1, 1, 0, 4.0] < 1.05 < growth[1, 8, 8, 1, 4.0] < 1.15
    assert growth[1, 8, 8, 1, 4.0] < growth[1, 1, 0, 1, 4.0] < growth[1, 0, 0, 0, 4.0] > 1.6


def outputs(graph: Graph, sizes: dict[str, int]) -> tuple[int, int]:
    """Numbers that convolutions and linear layers give, and how many of them a bias is added to."""
    total = with_bias = 0
    for node in graph.nodes:
        if node.callee is not None:
            inner = {name: evaluate(size, sizes) for name, size in node.sizes.items()}
            counts = outputs(node.callee, inner)
        elif node.op in ("conv", "linear"):
            made = prod(evaluate(size, sizes) for size in node.outputs[0].type.shape)
            counts = made, made if node.attrs["bias"] else 0
        else:
            continue
        total, with_bias = total + node.count * counts[0], with_bias + node.count * counts[1]
    return total, with_bias


def test_regnety() -> None:
    reference = timm_model("regnety_002", num_classes=10)
    params = {"depths": [1, 1, 4, 7], "widths": [24, 56, 152, 368], "groups": [8] * 4, "classes": 10}
    assert_parity("fast_scaling.arch", "regnety", reference, (2, 3, 33, 47), params)


def test_layout() -> None:
    assert_layout("fast_scaling.arch", "regnety_040", lambda: timm_model("regnety_040"))
