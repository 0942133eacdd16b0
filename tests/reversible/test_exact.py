"""Couplings that are undone bit for bit, in float32 and at any depth."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.certify.measure import saved
from archlang.reversible.conditioning import growth

SPEC = """
use std.reversible: exact_coupling
block branch(x) {
    return x -> conv: conv(6, 3, padding=1, bias=false) -> norm: batchnorm -> tanh -> out: conv(4, 3, padding=1)
}
block net(depth: int = 40, bits: int = 12)(a: [B, 4, H, W], b: [B, 4, H, W]) {
    start = (quantize(a, bits), quantize(b, bits))
    return start -> body: chain([exact_coupling(branch(), branch(), bits) for _ in 0..depth])
}
"""
STREAM = 2 * 4 * 5 * 5 * 4  # bytes


def inputs() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 4, 5, 5) for _ in range(2)]


def test_the_inverse_is_exact() -> None:
    torch.manual_seed(0)
    body = archlang.build(SPEC).eval().body
    streams = [torch.round(x * 2**12) / 2**12 for x in inputs()]
    with torch.no_grad():
        results = back = body(*streams)
        for block in reversed(body):
            back = block.inverse(*back)
    assert not torch.equal(results[0], streams[0])
    assert all(torch.equal(x, y) for x, y in zip(back, streams, strict=True))


def test_training_rebuilds_exactly_and_keeps_the_results_alone() -> None:
    torch.manual_seed(0)
    net = archlang.build(SPEC)
    plain = archlang.build(SPEC)
    plain.load_state_dict(net.state_dict())
    a, b = inputs()
    found, _ = saved(lambda: net(a, b), [*net.parameters(), *net.buffers()])
    program = archlang.compile(SPEC).program
    assert found.total == cost(program, {"B": 2, "H": 5, "W": 5}).saved == 2 * STREAM
    for results in (net(a, b), plain.body(*(torch.round(x * 2**12) / 2**12 for x in (a, b)))):
        sum(y.square().sum() for y in results).backward()
    for mine, other in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad)


def test_the_estimate_knows() -> None:
    (region,) = growth(archlang.compile(SPEC).program)
    assert region.total == 0
    rounding = SPEC.replace("quantize(a, bits), quantize(b, bits)", "a, b")
    (region,) = growth(archlang.compile(rounding).program)
    assert region.total > 1
    assert [d.code for d in archlang.check(SPEC)] == []
    assert {d.code for d in archlang.check(rounding)} == {"ARC0623"}


@pytest.mark.parametrize("bits", [0, 3, 20])
def test_gradients_pass_as_if_nothing_was_rounded(bits: int) -> None:
    net = archlang.build(f"block net(x: [B, 3]) {{ return quantize(3 * x, {bits}) }}")
    x = torch.randn(5, 3, requires_grad=True)
    y = net(x)
    assert torch.equal(y * 2**bits, torch.round(3 * x.detach() * 2**bits))
    y.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, 3))
