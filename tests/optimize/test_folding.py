"""Scales and shifts a channel go into layers nearby, where that is the same function."""

from __future__ import annotations

from collections import Counter

import pytest

import archlang
from archlang.ir.graph import Program
from archlang.optimize import optimize
from tests.optimize.equal import compared

ROUNDING = 1e-12  # in float64
SIZES = {"B": 3, "H": 6, "W": 8, "T": 5}


def left(program: Program) -> Counter[str]:
    """How often each op stands in a program after optimisation, which is tried."""
    found, made = compared(program, {name: SIZES[name] for name in program.root.symbols})
    assert found <= ROUNDING
    assert not optimize(made.program).fired
    return Counter(node.op for graph in made.program.graphs for node in graph.nodes)


IMAGES = {  # of [B, 8, H, W], after `relu`, and before it: a body, and whether all of its batch norms go
    # behind
    "conv(6, 3) -> batchnorm": True,
    "conv_transpose(6, 3, 2, groups=2, bias=false) -> batchnorm(affine=false)": True,
    "conv(6, 3) -> batchnorm -> batchnorm": True,
    "conv(6, 3) -> batchnorm(track_running_stats=false)": False,  # of the input's own statistics
    "conv(6, 3) -> avgpool(2) -> batchnorm": True,
    "conv(6, 3) -> avgpool(3, padding=1) -> batchnorm": False,  # zeros count
    "conv(6, 3) -> avgpool(3, padding=1, count_include_pad=false) -> batchnorm": True,
    "conv(6, 3) -> maxpool(2) -> batchnorm": False,  # a negative scale would turn it round
    "conv(6, 3) -> global_avgpool -> batchnorm -> linear(3)": True,
    'conv(6, 3) -> interpolate(scale_factor=2, mode="bilinear") -> batchnorm': True,
    "groupnorm(2) -> batchnorm": True,
    "groupnorm(2, affine=false) -> batchnorm": False,  # it has no weights to change
    'rearrange("b c h w -> b (h w) c") -> linear(6) -> transpose(1, 2) -> batchnorm': True,
    "linear(6) -> batchnorm": False,  # the channels of the one are not those of the other
    "conv(12, 1) -> reshape([B, 6, 2, -1]) -> batchnorm": True,  # a channel is two of the layer's
    "conv(12, 1) -> reshape([B, 2, 6, -1]) -> permute([0, 2, 1, 3]) -> batchnorm": True,
    # before
    "batchnorm -> conv(6, 3, groups=2, bias=false)": True,
    "batchnorm -> conv(6, 3, padding=1)": False,  # the edge would be shifted, too
    'batchnorm -> conv(6, 3, padding=1, padding_mode="reflect")': True,
    "batchnorm -> global_avgpool -> linear(6)": True,
    "batchnorm -> reshape([B, 8, 3, 2, 8]) -> permute([0, 2, 3, 4, 1]) -> linear(6, bias=false)": True,
    "batchnorm -> conv_transpose(6, 3)": False,  # outputs at the edge are of fewer inputs
    "batchnorm -> relu -> conv(6, 1)": False,
}


@pytest.mark.parametrize(("layers", "gone"), IMAGES.items())
def test_batch_norms(layers: str, gone: bool) -> None:
    spec = f"block net(x: [B, 8, 6, 8]) {{ return relu(x) -> {layers} -> relu }}"
    assert (not left(archlang.compile(spec).program)["batchnorm"]) == gone


PRODUCTS = {  # what stands after `relu`, and before it, and how many nodes of which op are left of it
    "conv(6, 3) -> layer_scale": ("mul", 0),
    "conv(6, 3) -> layer_scale -> batchnorm": ("mul", 0),
    "conv(6, 3) -> offset": ("add", 0),
    "conv_transpose(6, 3, 2, groups=2) -> layer_scale": ("mul", 0),
    "conv(6, 3) -> gate": ("mul", 0),
    "layer_scale8 -> conv(6, 3, padding=1)": ("mul", 0),
    "layer_scale8 -> conv_transpose(6, 3, groups=2)": ("mul", 0),
    'rearrange("b c h w -> b h w c") -> linear(6) -> last_scale': ("mul", 0),
    'rearrange("b c h w -> b h w c") -> layernorm -> gate': ("mul", 0),
    "relu -> layer_scale8": ("mul", 1),
    "relu -> batchnorm(affine=false) -> layer_scale8": ("mul", 0),
    "relu -> batchnorm(affine=false) -> minus": ("sub", 1),
    "conv(6, 3) -> minus -> batchnorm": ("sub", 0),
    "conv(6, 3) -> plus -> batchnorm": ("add", 0),
    "maxpool(2) -> minus -> batchnorm": ("sub", 1),
    "half -> conv(6, 3, padding=1)": ("div", 0),
    "minus -> conv(6, 3, padding=1)": ("sub", 1),  # the edge is 0 before it
    "minus -> conv(6, 3)": ("sub", 0),
    "conv(6, 3) -> half -> minus -> turned": ("sub", 0),
    "conv_transpose(6, 3, 2, groups=2, bias=false) -> minus": ("sub", 0),
    "conv(6, 3) -> negative": ("neg", 0),
    "conv(6, 3) -> nonzero": ("mul", 1),  # the weight is not what the state holds
    "conv(6, 3) -> image_scale": ("mul", 1),  # a weight a pixel
}
PARTS = """
block layer_scale(x) {
    weight gamma: [6, 1, 1] = 0.1
    return gamma * x
}
block layer_scale8(x) {
    weight gamma: [8] = 0.1
    return x * reshape(gamma, [1, -1, 1, 1])
}
block last_scale(x) {
    weight gamma: [6] = 0.1
    return x * gamma
}
block offset(x) {
    weight beta: [1, 6, 1, 1] = 0.1
    return x + beta
}
block gate(x) {
    weight g: [] = 0.1
    return x * g
}
block half(x) { return x / 2 }
block minus(x) { return x - 0.5 }
block plus(x) { return x + 0.5 }
block turned(x) { return 1 - x }
block negative(x) { return -x }
block nonzero(x) {
    weight g: [6, 1, 1] = 0.1, nonzero
    return x * g
}
block image_scale(x) {
    weight g: [4, 6] = 0.1
    return x * g
}
"""


@pytest.mark.parametrize(("layers", "kept"), PRODUCTS.items())
def test_products_and_sums(layers: str, kept: tuple[str, int]) -> None:
    spec = PARTS + f"block net(x: [B, 8, 6, 8]) {{ return relu(x) -> {layers} -> relu }}"
    op, count = kept
    assert left(archlang.compile(spec).program)[op] == count


def test_parts_of_a_concat_and_a_sum() -> None:
    found = left(
        archlang.compile("""
block net(x: [B, 8, H, W]) {
    both = (relu(x) -> conv(4, 1)) + (x -> conv(4, 3, padding=1))
    y = concat([x -> conv(6, 1), x -> conv(3, 3, padding=1, bias=false), both])
    return y -> batchnorm -> relu
}
""").program
    )
    assert not found["batchnorm"] and found["conv"] == 4


def test_parts_of_a_split() -> None:
    """Queries, keys and values of a normalised input."""
    found = left(
        archlang.compile("""
block net(x: [B, T, 8]) {
    y = x -> transpose(1, 2) -> batchnorm -> transpose(1, 2)
    a, b = y -> split([3, 5], dim=-1)
    return (a -> linear(4), b -> linear(4), y -> linear(2))
}
""").program
    )
    assert not found["batchnorm"]


@pytest.mark.parametrize(
    "text",
    [
        "return (x -> conv(6, 1) -> batchnorm) + (x -> relu -> conv(6, 1) -> batchnorm), x -> batchnorm",
        "y = x -> conv(8, 1); return y -> batchnorm, y",
        "let f = conv(8, 1); return x -> f -> batchnorm -> f",
        "y = x -> batchnorm; return y + (relu(y) -> conv(8, 1))",
        "let n = batchnorm(eps=1e-3); return (x -> conv(8, 1) -> n) + (x -> n)",
    ],
)
def test_what_others_read_stays(text: str) -> None:
    body = text.replace("; ", "\n")
    assert left(archlang.compile(f"block net(x: [B, 8, H, W]) {{\n{body}\n}}").program)["batchnorm"]


def test_blocks_are_written_out_where_their_edge_takes_a_norm_over() -> None:
    found = left(
        archlang.compile("""
block stem(x) { return x -> conv(8, 3, padding=1) -> relu -> conv(8, 3, padding=1) }
block mlp(x) { return x -> conv(16, 1) -> gelu -> conv(8, 1) }
block outer(x) { return x -> inner: mlp }
block most(x) { return x -> relu -> batchnorm }
block last(x) { return x -> gelu -> most: most }
block net(x: [B, 8, H, W]) {
    x = x -> stem: stem -> norm: batchnorm
    x = x + (x -> norm2: batchnorm -> mlp: outer)
    return x -> last: last -> mlp2: outer
}
""").program
    )
    assert not found["batchnorm"] and found["conv"] == 6
