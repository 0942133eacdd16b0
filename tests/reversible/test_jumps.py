"""Branches that jump: training keeps what they read, so that they come out as they did, and gradients are right."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from archlang.codegen import generate
from archlang.loading import root_class
from tests.codegen.load import flat
from tests.reversible.conditions import loss, namespace
from tests.reversible.helpers import program

BRANCHES = {  # in float32, rebuilding x moves some elements over the edge of a step
    "round": "return (round(x * 1e6) % 2) * (x -> l: linear(8))",
    "argmax": "return argmax(sin(x * 1e6), dim=1, keepdim=true) * (x -> l: linear(8))",
    "comparison": "return where(sin(x * 1e6) > 0, x -> l: linear(8), x -> m: linear(8))",
    "step by step": "y = x -> l: linear(8)\n    return where(sin(x * 1e6) > 0, y, -y)",
}
SPEC = """
use std.reversible: coupling
block smooth(x) {{ return 3 * (x -> one: linear(8) -> tanh -> two: linear(8)) }}
block jump(x) {{
    {branch}
}}
block net(a: [B, 8], b: [B, 8]) {{
    return (a, b) -> body: chain([coupling(jump(), smooth()) for _ in 0..4])
}}
"""
SCALED = """
block smooth(x) { return 3 * (x -> one: linear(8) -> tanh -> two: linear(8)) }
reversible block mixed(a, b; c) {
    a = a * (1.5 + sin(round(b * 1e6))) + (b -> l: linear(8)) * c
    b += a -> g: smooth()
    a -= where(sin(1e6 * b) > 0, b, -b) -> t: linear(8)
    b += a -> h: smooth()
}
block net(a: [B, 8], b: [B, 8], c: [B, 8]) { return (a, b; c) -> one: mixed() -> two: smoothed() }
reversible block smoothed(a, b) { a += b -> s: smooth() }
"""


def pair(text: str, keep: bool = True) -> tuple[nn.Module, nn.Module]:
    """The network as generated, and the same with autograd keeping everything."""
    source = generate(program(text, "net"), source_name="net.arch")
    ours, plain = namespace(source, "jumps_ours"), namespace(source, "jumps_plain")
    plain.rebuild = lambda block, *inputs, **_: tuple(
        flat(block(*inputs) if isinstance(block, nn.Module) else block(plain.Plain(), *inputs))
    )
    if not keep:
        ours.Steps.jumping = lambda steps: steps
    torch.manual_seed(0)
    net, twin = root_class(ours)(), root_class(plain)()
    twin.load_state_dict(net.state_dict())
    return net, twin


def gradients(text: str, given: list[torch.Tensor], keep: bool = True) -> tuple[list[Any], list[Any]]:
    found = []
    for module in pair(text, keep):
        leaves = [t.clone().requires_grad_() for t in given]
        loss(module(*leaves)).backward()
        found.append([t.grad for t in (*leaves, *module.parameters())])
    return found[0], found[1]


def error(ours: list[Any], plain: list[Any]) -> float:
    assert [g is None for g in ours] == [g is None for g in plain]
    pairs = [(a, b) for a, b in zip(ours, plain, strict=True) if b is not None]
    return max(float((a - b).norm() / b.norm().clamp(min=1e-6)) for a, b in pairs)


@pytest.mark.parametrize("name", [*BRANCHES, "scaled"])
def test_gradients(name: str) -> None:
    text = SCALED if name == "scaled" else SPEC.format(branch=BRANCHES[name])
    torch.manual_seed(1)
    given = list(torch.randn(3 if name == "scaled" else 2, 64, 8))
    assert error(*gradients(text, given)) < 1e-4
    assert error(*gradients(text, given, keep=False)) > 1e-2  # rebuilt: silently wrong


def test_only_what_jumps_is_kept() -> None:
    text = generate(program(SPEC.format(branch=BRANCHES["round"]), "net"), source_name="net.arch")
    assert text.count("steps.jumping().add(a, self.f, b)") == 1
    assert "steps.add(b, self.g, a)" in text


def test_second_derivatives() -> None:
    given = torch.randn(2, 5, 8, dtype=torch.float64)
    found = []
    for module in pair(SPEC.format(branch=BRANCHES["comparison"])):
        module.double()
        leaves = [t.clone().requires_grad_() for t in given]
        first = torch.autograd.grad(loss(module(*leaves)), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), leaves))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
