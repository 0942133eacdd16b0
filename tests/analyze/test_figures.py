"""Sharing, frozen weights, runs of any length, what is not counted, and the maximum of formulas."""

from __future__ import annotations

import time

import torch

import archlang
from archlang.analyze import cost
from archlang.analyze.active import active
from archlang.analyze.cost import Cost
from archlang.analyze.largest import Largest
from archlang.analyze.report import as_dict, as_text
from archlang.certify.measure import saved
from archlang.loading import instantiate
from archlang.shapes.dim import symbol


def of(body: str, sizes: dict[str, int] | None = None, inputs: str = "x: [B, 8, H, W]") -> Cost:
    return cost(archlang.compile(f"block net()({inputs}) {{\n{body}\n}}\n", entry="net").program, sizes)


def test_shared_weights_count_once_and_their_work_twice() -> None:
    found = of("m = conv(8, 3, padding=1)\nreturn m(m(x))", {"B": 1, "H": 4, "W": 4})
    assert found.parameters.parameters == 8 * 8 * 9 + 8
    assert found.macs == 2 * 16 * 8 * 8 * 9
    assert sum(block.parameters for block in found.tree.children) == found.parameters.parameters


def test_frozen_weights_and_buffers() -> None:
    text = "weight a: [8, 1, 1] = ones, frozen\nweight b: [8, 1, 1] = ones\nbuffer c: [8, 1, 1] = ones\n"
    found = of(text + "return a * x + b + c").parameters
    assert (found.parameters, found.trainable, found.buffers) == (16, 8, 8)


def test_nothing_is_kept_where_nothing_is_learned() -> None:
    assert of("return x -> relu -> maxpool(2)").saved == 0
    B, H, W = map(symbol, "BHW")
    assert of("return x -> conv(8, 1) -> relu").saved == 4 * 8 * B * H * W * 2  # the input, and what relu gives
    assert of("return x -> conv(8, 1) -> relu -> conv(8, 1)").saved == 4 * 8 * B * H * W * 2


def test_what_no_gradient_reaches_keeps_nothing() -> None:
    """The tanh and the exp before `detach` are gone once the forward pass has gone on; so is what nobody reads."""
    B, H, W = map(symbol, "BHW")
    one = 4 * 8 * B * H * W
    kept = of("y = x -> conv(8, 1)\n gate = y -> tanh -> exp -> detach\n return y * gate").saved
    assert kept == 2 * one  # what the convolution takes, and the gate
    assert of("y = x -> conv(8, 1)\n unread = y -> tanh\n return y -> relu").saved == 2 * one
    assert of("y = x -> conv(8, 1)\n gate = y -> tanh -> exp\n return y * gate").saved == 4 * one


def test_a_result_of_a_block_that_nobody_reads_keeps_nothing() -> None:
    """As torch says it, of the same block with both results and with one."""
    text = """
    block pair(x) { return x -> a: linear(8) -> sigmoid, x -> b: linear(8) -> tanh -> exp }
    block one(x: [B, 8]) { a, b = x -> pair: pair()
        return a -> fc: linear(3) }
    block both(x: [B, 8]) { a, b = x -> pair: pair()
        return a * b }
    """
    kept = {}
    for entry in ("one", "both"):
        compiled = archlang.compile(text, entry=entry)
        kept[entry] = cost(compiled.program, {"B": 4}).saved
        module = instantiate(compiled)
        assert kept[entry] == saved(lambda module=module: module(torch.randn(4, 8)), module.parameters())[0].total
    assert kept == {"one": 2 * 4 * 4 * 8, "both": 4 * 4 * 4 * 8}


def test_bounded_layers_measure_and_scale_their_weights() -> None:
    """A product with the weight is two operations an element of it, whatever goes through the layer besides."""
    sizes = {"B": 2, "H": 4, "W": 5}
    for layer, through, weight, measured in (
        ("lipschitz_conv(6, 3, domain=1)", 2 * 20, 6 * 8 * 9, 0),
        ("lipschitz_conv(6, 3)", 2 * 20, 6 * 8 * 9, 20),  # by a convolution of one image
        ("flatten -> lipschitz_linear(6, domain=inf)", 2, 6 * 160, 0),
        ("flatten -> lipschitz_linear(6)", 2, 6 * 160, 0),
    ):
        found = of(f"return x -> {layer}", sizes, "x: [B, 8, 4, 5]")
        assert found.macs == (through + measured) * weight
        assert found.flops == 2 * found.macs + (1 if measured else 3) * weight


def test_views_share_memory() -> None:
    found = of("a, b = x -> halves\nreturn concat([b, a])", {"B": 1, "H": 4, "W": 4})
    assert found.peak.known == 2 * 8 * 16 * 4
    assert found.by_op["halves"][1].traffic == 0


def test_a_run_of_ten_thousand_costs_what_ten_cost() -> None:
    def measured(count: int) -> tuple[Cost, float]:
        text = f"return x -> chain([(conv(8, 3, padding=1, bias=false) -> batchnorm -> relu) for _ in 0..{count}])"
        program = archlang.compile(f"block net()(x: [B, 8, H, W]) {{ {text} }}", entry="net").program
        start = time.perf_counter()
        found = cost(program)
        return found, time.perf_counter() - start

    few, _ = measured(10)
    many, seconds = measured(10_000)
    assert seconds < 2
    assert many.macs == 1000 * few.macs
    assert many.depth == 10_000
    assert many.peak == few.peak
    B, H, W = map(symbol, "BHW")
    one = 4 * 2 * 8 * B * H * W + 2 * 8 * 4  # what batchnorm and relu keep; a conv's input is kept already
    assert many.saved - few.saved == 9_990 * one
    assert many.reach is not None and many.reach.windows[0].size == 20_001


def test_what_is_not_counted_is_named() -> None:
    text = 'extern block e(x: [B, C]) -> [B, C] = "mine:E"\nblock net()(x: [B, 8]) { return x -> e -> linear(4) }\n'
    found = cost(archlang.compile(text, entry="net").program, {"B": 2})
    assert found.uncounted == ("extern mine:E",)
    assert (found.parameters.parameters, found.macs) == (36, 64)
    assert "not counted         extern mine:E: its parameters" in as_text(found, "net", 2, None)
    assert as_dict(found, 2, None)["not_counted"] == ["extern mine:E"]


CONDITIONAL = """
block maybe(m)(x) { if training { y = x -> m } else { y = x }
    return y }
block net()(x: [B, 8, H, W]) {
    m = conv(8, 3, padding=1)
    weight w: [8, 1, 1] = ones
    if training { side = (x * w) -> aux: conv(4, 1) }
    x = x -> body: chain([conv(8, 1) for _ in 0..3]) -> maybe(m)
    if not training { x = x -> late: conv(8, 1) }
    return main = x, training side = side
}
"""


def test_active_parameters_are_those_that_autograd_reaches() -> None:
    compiled = archlang.compile(CONDITIONAL, entry="net")
    with torch.device("meta"):
        module = instantiate(compiled)
        x = torch.rand(2, 8, 4, 4)
    for training in (False, True):
        results = module.train(training)(x)
        total = sum(r.sum() for r in (results if training else [results]))
        grads = torch.autograd.grad(total, list(module.parameters()), allow_unused=True)
        assert active(compiled.program, training) == sum(g.numel() for g in grads if g is not None)
    found = cost(compiled.program)
    assert active(compiled.program, True) != found.active < found.parameters.parameters
    assert f"({found.active:,} of them active in evaluation" in as_text(found, "net", 2, None)
    assert as_dict(found, 2, None)["parameters"]["active"] == found.active


def test_maximum_of_formulas() -> None:
    H = symbol("H")
    both = Largest.of((H, 3, H + 1, 2 * H))
    assert set(both.options) == {3, H + 1, 2 * H}
    for n in range(5):
        assert both.at({"H": n}).known == max(n, 3, n + 1, 2 * n)
    assert (both + both).at({"H": 7}).known == 28
    assert (both | Largest.of((100,))).at({"H": 7}).known == 100
