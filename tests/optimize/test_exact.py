"""Each exact pass on the smallest networks that it is for: the ops that are left were derived by hand."""

from __future__ import annotations

import pytest

import archlang
from archlang.ir.graph import Program
from archlang.optimize import optimize
from tests.optimize.equal import compared, exact

# Of each pass: a body, or what it returns; how many ops it has as written; those that are left.
CASES = {
    "identities": [
        ("x * 1 / 1 - 0", 3, ""),
        ("1 * x + 0", 2, "add"),  # -0.0 + 0 is 0.0
        ("1 / x ** 1", 2, "div"),
        ("x -> flatten(1, 1) -> reshape([B, 8, 6, 6]) -> permute([0, 1, 2, 3])", 3, ""),
        ("x -> reshape([B, 8, 36]) -> expand([B, 8, 36])", 2, "reshape"),
        ('x -> rearrange("b c h w -> b c h w") -> transpose(2, 2)', 2, ""),
        ('x -> rearrange("b c h w -> b c w h")', 1, "rearrange"),  # the sizes are the same
        ("x -> transpose(2, 3)", 1, "transpose"),
        ("x[:, 0:8, :, 0:6:1] -> pad([0, 0]) -> pad([1, 0])", 3, "pad"),
        ("x[:, :, 0:6:2]", 1, "index"),
        ("concat([x]) -> split(8, 1) -> chunk(1, 1)", 3, ""),
        ('x -> cast("float") -> detach -> tile([1, 1, 1, 1]) -> repeat_interleave(1, 2)', 4, ""),
        ("x -> interpolate(scale_factor=1) -> interpolate(size=6)", 2, ""),
        ('x -> interpolate(size=6, mode="bilinear")', 1, "interpolate"),  # 0 * inf is NaN
        ("x -> interpolate(scale_factor=1.1)", 1, "interpolate"),  # 6 pixels, not the same
        ("x -> maxpool(1) -> avgpool(1) -> adaptive_avgpool(6) -> adaptive_maxpool([none, 6])", 4, ""),
        ("x -> maxpool(1, stride=2)", 1, "maxpool"),
        ("x -> pixel_shuffle(1) -> space_to_depth(1) -> channel_shuffle(1) -> channel_shuffle(8)", 4, ""),
        ("x -> reduce_mean(1, keepdim=true) -> reduce_mean(1, keepdim=true) -> reduce_max([1], keepdim=true)", 3,
         "reduce_mean"),
        ("x -> flip([1]) -> roll(0, 1) -> roll(8, 1)", 3, "flip roll"),
        ("maximum(x) + mean([x])", 3, "add"),
    ],
    "common-subexpressions": [
        ("(x -> exp) + (x -> exp)", 3, "exp add"),
        ("(x * 2) * (x * 2.0)", 3, "mul mul mul"),
        ("m = conv(8, 1)\n return m(x) + m(x)", 3, "conv add"),
        ("m = conv(8, 1)\n n = conv(8, 1)\n return m(x) + n(x)", 3, "conv conv add"),
        ("m = (conv(8, 1) -> batchnorm)\n return m(x) + m(x)", 5, "call add"),
        ("x + rand([1]) + rand([1])", 4, "rand add rand add"),
        ("x + full([8, 6, 6], 0.3) + full([8, 6, 6], 0.3)", 4, "full add add"),
        ("weight g: [8, 1, 1] = ones\n return x * g + x * g", 3, "mul add"),
    ],
    "fold-constants": [
        ("x * (full([8, 1, 1], 2.0) * 3 - 1)", 4, "mul"),
        ("sin(x) + cos(x) + full([8, 1, 1], 2.0) + x", 6, "sin cos add add add"),
        ("x + full([8, 1, 1], 0.3)", 2, "full add"),  # float32(0.3) is not 0.3
        ("x[:, 0:1] + full([8, 1, 1], 0.5)", 3, "index full add"),  # makes 8 channels
        ("where(full([8, 1, 1], 2.0) > 1, x, x * 3)", 4, ""),
        ("where(x > 0, x, x)", 2, ""),
        ("(1.0 - full([8, 6, 6], 2.0)) -> reshape([8, 36]) -> permute([1, 0])", 4, "full"),
        ("x * (full([1], 2) / 2)", 3, "full div mul"),  # torch's default type
        ("full([1], -1.0) * 0 + x", 3, "full mul add"),  # -0.0
        ("x + full([8, 6, 6], 100) * 100.0", 3, "full mul add"),  # not in float16
    ],
    "views": [
        ("x -> reshape([B, 2, 4, 36]) -> flatten(1)", 2, "flatten"),
        ("x -> flatten(2) -> unflatten(2, [6, 6])", 2, ""),
        ("x -> unsqueeze(1) -> squeeze(1) -> flatten(2) -> unsqueeze(1)", 4, "reshape"),
        ("x -> permute([0, 2, 3, 1]) -> permute([0, 3, 1, 2])", 2, ""),
        ("x -> permute([0, 2, 3, 1]) -> transpose(1, 3)", 2, "transpose"),
        ('x -> transpose(1, 2) -> rearrange("b c h w -> b w h c")', 2, "permute"),
        ("x -> flatten(2) -> transpose(1, 2) -> unflatten(1, [6, 6])", 3, "flatten transpose unflatten"),
        ("stack([x], 2)", 1, "unsqueeze"),
    ],
    "inverse-pairs": [
        ("x -> pixel_shuffle(2) -> pixel_unshuffle(2) -> flip([2]) -> flip([2])", 4, ""),
        ("a, b = x -> halves\n return concat([a, b])", 2, ""),
        ("a, b = x -> halves\n return concat([b, a])", 2, "halves concat"),
        ("-(-x) -> roll(3, 1) -> roll(-3, 1) -> channel_shuffle(2) -> channel_shuffle(4)", 6, ""),
        ("x -> channel_shuffle(2) -> channel_shuffle(2)", 2, "channel_shuffle channel_shuffle"),
        ('x -> rearrange("b (g c) h w -> b (c g) h w", g=2) -> rearrange("b (d k) h w -> b (k d) h w", k=2)', 2, ""),
        ("x -> exp -> log", 2, "exp log"),  # rounds
    ],
    "nested-joins": [
        ("concat([concat([x, x * 2]), concat([x * 3, x])])", 5, "mul mul concat"),
        ("concat([concat([x, x], 2), concat([x, x], 2)], 1)", 3, "concat concat concat"),
        ("(x * 2 + x * 3) + x * 4", 5, "mul mul mul add"),
        ("x * 2 + (x * 3 + x * 4)", 5, "mul mul mul add add"),  # another order
        ("maximum(maximum(x, -x), x * 2)", 4, "neg mul maximum"),
    ],
    "parts-of-concats": [
        ("a, b = concat([x, x]) -> split(8, 1)\n return a - b", 3, "sub"),
        ("concat([x, x * 2, x * 3]) -> split([8, 16], 1)", 4, "mul mul concat"),
        ("concat([x, x * 2, x * 3]) -> split([12, 12], 1)", 4, "mul mul concat split"),
        ("y = concat([x, x * 2, x * 3])\n return y[:, 8:16] + y[:, 0:8] * y[:, 16:]", 8, "mul mul mul add"),
        ("y = concat([x, x * 2])\n return y[:, 10:14]", 3, "mul index"),
        ("y = concat([x, x * 2])\n return y[:, 7:9]", 3, "mul concat index"),
    ],
    "scalar-chains": [
        ("x * 0.3 / 0.7 * 2 + 0.0", 4, "mul"),
        ("(x - 0.25) - 0.5", 2, "add"),
        ("(x + 100) - 100", 2, "add sub"),  # digits would be lost
        ("2 / (x * 3)", 2, "mul div"),
    ],
    "nested-slices": [
        ("x[:, 2:, 1:4][:, 1:4, 1:]", 2, "index"),
        ("x[:, 1:-1][:, -3:-1, ::2]", 2, "index"),
        ("x[:, ::2][:, 1:3]", 2, "index index"),
    ],
    "sink-pointwise": [
        ("x -> relu -> maxpool(3, stride=2, padding=1)", 2, "maxpool relu"),
        ("x -> relu -> maxpool(3, stride=1, padding=1)", 2, "relu maxpool"),  # nothing gained
        ("x -> relu -> avgpool(2)", 2, "relu avgpool"),
        ("x -> neg -> maxpool(2)", 2, "neg maxpool"),  # falls
        ("x -> sigmoid -> maxpool(2)", 2, "sigmoid maxpool"),  # rounds by place
        ("(x * 0.5 + 1) -> relu6 -> global_maxpool", 4, "global_maxpool mul add relu6"),
        ("(x * -2) -> interpolate(scale_factor=2) -> relu", 3, "mul relu interpolate"),
        ("(x * -2)[:, 0:4]", 2, "mul index"),  # would lie otherwise in memory
        ("y = x -> relu\n return (y -> maxpool(2) -> reduce_sum) + (y -> reduce_sum)", 5,
         "relu maxpool reduce_sum reduce_sum add"),
    ],
}  # fmt: skip


def ops(program: Program) -> list[str]:
    return [n.op for n in program.root.nodes if n.op != "weight"]


@pytest.mark.parametrize(("name", "body", "written", "left"), [(name, *case) for name in CASES for case in CASES[name]])
def test_what_is_left(name: str, body: str, written: int, left: str) -> None:
    body = body if "return" in body else f"return {body}"
    program = archlang.compile(f"block net(x: [B, 8, 6, 6]) {{\n {body}\n}}").program
    assert sum(n.op != "weight" for graph in program.graphs for n in graph.nodes) == written
    deviation, made = compared(program, {"B": 2}, [name, "dead-code"])
    assert ops(made.program) == left.split()
    assert deviation <= (0 if name in exact() else 1e-15)


def test_beside_passes_that_round_memory_does_not_count() -> None:
    """A part of a channel is no contiguous tensor: kernels after it may add in another order than after a copy."""
    program = archlang.compile("block net(x: [B, 8, 6, 6]) { return (x * 3)[:, 0:4] * 1 }").program
    assert ops(optimize(program, level=1).program) == ["mul", "index", "mul"]
    assert ops(optimize(program, level=2).program) == ["index", "mul"]
