"""Branches that are added, and layers one after the other, as one layer."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings

import archlang
from archlang.analyze import cost
from archlang.ir.graph import Program
from archlang.optimize import optimize
from tests.optimize.branches import Branches, branches
from tests.optimize.equal import compared

ROUNDING = 1e-12  # in float64
SIZES = {"B": 2, "H": 9, "W": 10}


def ops(program: Program) -> Counter[str]:
    """How often each op stands in the program's graphs."""
    return Counter(node.op for graph in program.graphs for node in graph.nodes)


def figures(text: str, sizes: dict[str, int] | None = None) -> tuple[Counter[str], int]:
    """The ops of a spec after optimisation, which is tried, and its parameters."""
    program = archlang.compile(text).program
    found, made = compared(program, {name: (sizes or SIZES)[name] for name in program.root.symbols})
    assert found <= ROUNDING
    assert not optimize(made.program).fired
    return ops(made.program), cost(made.program, {}).parameters.parameters


@given(branches())
@settings(max_examples=25)
def test_a_sum_of_branches_is_one_layer(spec: Branches) -> None:
    program = archlang.compile(spec.text).program
    found, made = compared(program, SIZES)
    assert found <= ROUNDING
    assert "merge-branches" in {f.name for f in made.fired}
    left = ops(made.program)
    assert left["conv"] == spec.merged and not left["batchnorm"] and not left["mul"]
    assert not optimize(made.program).fired


def test_a_large_kernel_takes_up_a_small_one() -> None:
    """31x31 + 5x5, each with its normalisation, as in RepLKNet."""
    left, parameters = figures("""
block net(x: [B, 16, H, W]) {
    fn depthwise(k: int) => chain([conv(16, k, padding = floor(k / 2), groups=16, bias=false), batchnorm])
    return (x -> large: depthwise(31)) + (x -> small: depthwise(5))
}
""")
    assert left["conv"] == 1 and not left["batchnorm"] and not left["add"]
    assert parameters == 16 * 31 * 31 + 16


@pytest.mark.parametrize(
    ("layers", "kept"),
    [
        ("conv(64, 3, padding=1) -> conv(8, 1)", 1),  # narrow, wide, narrow
        ("conv(4, 1) -> conv(64, 1)", 2),  # of low rank: one layer would be larger
        ("conv(64, 1) -> conv(8, 3, padding=1)", 2),  # the edge would lose the first one's bias
        ("conv(64, 1, bias=false) -> conv(8, 3, padding=1)", 1),
        ("conv(64, 1) -> conv(8, 3)", 1),
        ('conv(64, 1) -> conv(8, 3, padding=1, padding_mode="circular")', 1),
        ("conv(64, 3, padding=1, bias=false) -> conv(8, 3, padding=1)", 2),  # what is beyond the edge is not 0
        ("conv(64, 3, padding=1) -> conv(8, 3)", 1),
        ("conv(64, 3, 2, dilation=2) -> conv(8, 2, 1)", 1),
        ("conv(64, 1, 2) -> conv(8, 3, 2, dilation=2)", 1),
        ("conv(8, 3, padding=1, groups=8) -> conv(16, 1)", 2),  # separable
        ("conv(64, 3, padding=1) -> relu -> conv(8, 1)", 2),
        ("conv(8, 3, padding=1, groups=4) -> conv(8, 1, groups=8)", 1),
    ],
)
def test_layers_one_after_the_other(layers: str, kept: int) -> None:
    left, _ = figures(f"block net(x: [B, 8, H, W]) {{ return x -> {layers} }}", SIZES)
    assert left["conv"] == kept


@pytest.mark.parametrize(
    ("sums", "layers", "sum"),
    [
        ("(x -> conv(8, 3, padding=1)) + (relu(x) -> conv(8, 3, padding=1))", 2, 1),  # of other inputs
        ("(x -> conv(8, 3, padding=1, groups=8)) + (x -> conv(8, 1))", 2, 1),  # a dense 3x3 would cost more
        ('(x -> conv(8, 3, padding=1, padding_mode="reflect")) + (x -> conv(8, 3, padding=1))', 2, 1),
        ('(x -> conv(8, 3, padding=1, padding_mode="reflect")) + (x -> conv(8, 1)) + x', 1, 0),
        ('(x -> conv(8, 3, padding="tf_same")) + (x -> conv(8, 1)) + x', 1, 0),
        ("(x -> conv(8, 3, padding=[[0, 2], 1])) + (x -> conv(8, 3, padding=1)) + x", 1, 0),
        ("x + (x -> batchnorm) + (x -> batchnorm(affine=false))", 0, 0),
    ],
)
def test_branches_at_their_limits(sums: str, layers: int, sum: int) -> None:
    text = f"block net(x: [B, 8, H, W]) {{ return {sums} }}"
    left, _ = figures(text)
    assert (left["conv"], left["add"]) == (layers, sum)


def test_linear_layers() -> None:
    left, parameters = figures("""
block net(x: [B, 16]) {
    y = (x -> a: linear(64) -> b: linear(16, bias=false)) + x + (x -> linear(16)) + (x -> batchnorm)
    return y -> relu -> c: linear(4) -> d: linear(32)
}
""")
    assert left["linear"] == 3 and not left["add"] and not left["batchnorm"]
    assert parameters == 16 * 16 + 16 + 16 * 4 + (4 * 32 + 32)  # c's bias is part of d's


def test_a_shared_layer_stays() -> None:
    left, _ = figures("""
block net(x: [B, 8, H, W]) {
    let f = conv(8, 3, padding=1)
    return (x -> f) + (relu(x) -> f) + (x -> conv(8, 1))
}
""")
    assert left["conv"] == 3


def test_branches_stay_for_training() -> None:
    text = "block net(x: [B, 8, H, W]) { return (x -> conv(8, 3, padding=1)) + (x -> conv(8, 1)) }"
    made = optimize(archlang.compile(text).program, purpose="train")
    assert ops(made.program)["conv"] == 2
