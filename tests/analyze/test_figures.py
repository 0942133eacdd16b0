"""Sharing, frozen weights, runs of any length, what is not counted, and the maximum of formulas."""

from __future__ import annotations

import time

import archlang
from archlang.analyze import cost
from archlang.analyze.cost import Cost
from archlang.analyze.largest import Largest
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
    found = of("y, h = x -> gru(4)\nreturn y", inputs="x: [B, T, 8]")
    assert found.uncounted == ("gru",)


def test_maximum_of_formulas() -> None:
    H = symbol("H")
    both = Largest.of((H, 3, H + 1, 2 * H))
    assert set(both.options) == {3, H + 1, 2 * H}
    for n in range(5):
        assert both.at({"H": n}).known == max(n, 3, n + 1, 2 * n)
    assert (both + both).at({"H": 7}).known == 28
    assert (both | Largest.of((100,))).at({"H": 7}).known == 100
