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


@pytest.mark.parametrize(
    ("body", "linear"),
    [
        ("mean([x -> a: linear(4), x -> b: linear(4, bias=false), x -> c: linear(4)])", 1),
        ("mean([x -> (n: batchnorm -> a: linear(4)), x -> (m: batchnorm -> b: linear(4))])", 1),
        ("mean([x -> a: linear(4), relu(x) -> b: linear(4)])", 2),  # of heads on two inputs
    ],
)
def test_a_mean_of_classifiers_is_their_sum(body: str, linear: int) -> None:
    left, _ = figures(f"block net(x: [B, 8]) {{ return {body} }}")
    assert left["linear"] == linear and not left["mean"] and not left["div"] and not left["batchnorm"]


def test_a_mean_of_what_is_no_layer_stays() -> None:
    left, _ = figures("block net(x: [B, 8]) { return mean([x -> a: linear(8), relu(x)]) }")
    assert left["mean"] == 1 and not left["add"]


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
        ("(x -> conv(8, 3, padding=1, groups=8)) + (x -> conv(8, 1)) + (x -> conv(8, 1))", 2, 1),
        ('(x -> conv(8, 3, padding=1, padding_mode="reflect")) + (x -> conv(8, 3, padding=1))', 2, 1),
        ('(x -> conv(8, 3, padding=1, padding_mode="reflect")) + (x -> conv(8, 1)) + x', 1, 0),
        ('(x -> conv(8, 3, padding="tf_same")) + (x -> conv(8, 1)) + x', 1, 0),
        ("(x -> conv(8, 3, padding=[[0, 2], 1])) + (x -> conv(8, 3, padding=1)) + x", 1, 0),
        ("x + (x -> batchnorm) + (x -> batchnorm(affine=false))", 0, 0),
        ("(x -> conv(8, 3, padding=1)) + (x -> transpose(1, 3) -> linear(8) -> transpose(1, 3)) + x", 1, 1),
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


@pytest.mark.parametrize(
    ("branches", "layers"),
    [
        (["6, 4, 2, padding=1", "6, 2, 2"], 1),
        (["6, 4, 2, padding=1", "6, 2, 2, bias=false", "6, 6, 2, padding=2, groups=2"], 2),  # 6x6 in full costs more
        (["6, 6, 2, padding=2, bias=false", "6, 2, 2, groups=2"], 1),
        (["6, 5, 2, padding=2, output_padding=1", "6, 3, 2, padding=1, output_padding=1"], 1),
        (["6, 1, 2, output_padding=1", "6, 4, 2, padding=1"], 1),
        (["6, 3, padding=2, dilation=2", "6, 3, padding=1", "6, 1"], 2),  # a 5x5 would cost more
        (["6, 5, padding=2", "6, 3, padding=2, dilation=2", "6, 1"], 1),
        (["6, [4, 3], [2, 1], padding=[1, 1]", "6, [2, 3], [2, 1], padding=[0, 1]"], 1),
        (["6, 3, 2", "6, 5, 2, padding=1"], 1),
        (["6, 4, 2, padding=1", "6, 4, 2, padding=1, output_padding=0, groups=3"], 1),
        (["6, 1, 3, output_padding=2", "6, 3, 3"], 1),
        (["6, 5, 3, padding=1, output_padding=2", "6, 5, 3"], 1),
        (["6, 2, padding=1, output_padding=2, dilation=3", "6, 4"], 2),  # torch cannot cut off at the front alone
    ],
)
def test_transposed_convolutions(branches: list[str], layers: int) -> None:
    sums = " + ".join(f"(x -> conv_transpose({one}){' -> batchnorm' * (i % 2)})" for i, one in enumerate(branches))
    left, _ = figures(f"block net(x: [B, 6, H, W]) {{ return relu({sums}) }}")
    assert left["conv_transpose"] == layers and not left["batchnorm"]


def test_a_transposed_convolution_takes_its_input_up() -> None:
    left, parameters = figures("""
block net(x: [B, 6, H, W]) {
    return relu((x -> conv_transpose(6, 3, padding=1, groups=3)) + x * 0.5 + (x -> batchnorm))
}
""")
    assert left["conv_transpose"] == 1 and not left["add"] and parameters == 6 * 2 * 9 + 6


@pytest.mark.parametrize("mean", ["({}) / 2", "0.5 * ({})", "({}) * 0.5"])
def test_the_mean_of_two_classifiers_is_one(mean: str) -> None:
    """The second of which learned from a teacher: each has a norm of its own."""
    heads = "(x -> head: of()) + (x -> head_dist: of())"
    left, parameters = figures(f"""
fn of() => chain(["bn": batchnorm, dropout(0.1), "linear": linear(5)])
block net(x: [B, 16, H, W]) {{
    x = x -> relu -> global_avgpool
    return {mean.format(heads)}
}}
""")
    assert left == Counter(relu=1, global_avgpool=1, linear=1) and parameters == 16 * 5 + 5


def test_layers_along_different_dimensions_stay() -> None:
    left, _ = figures("block net(x: [B, 8, 8, 8]) { return (x -> conv(8, 1)) + (x -> linear(8)) + relu(x) }")
    assert left["conv"] == left["linear"] == 1


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
