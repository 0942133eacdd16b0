"""The linear recurrence, against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import archlang
from archlang.interpret import InterpreterModule


def built(shape: str, dim: int) -> tuple[Any, Any]:
    text = f"block net(x: {shape}, a: {shape}) {{ return linear_recurrence(x, a, dim={dim}) }}"
    return archlang.build(text).double(), InterpreterModule(archlang.compile(text).program).double()


def by_definition(x: Tensor, a: Tensor, dim: int) -> Tensor:
    h, steps = torch.zeros_like(x.select(dim, 0)), []
    for now, keep in zip(x.unbind(dim), a.unbind(dim), strict=True):
        h = keep * h + now
        steps.append(h)
    return torch.stack(steps, dim)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize(("shape", "dim"), [("[B, T, 3]", 1), ("[T, B, 3]", 0), ("[B, 3, T]", -1)])
def test_it_is_what_it_says(length: int, shape: str, dim: int) -> None:
    sizes = [{"B": 2, "T": length, "3": 3}[name] for name in shape.strip("[]").split(", ")]
    torch.manual_seed(0)
    x, a = (torch.randn(sizes, dtype=torch.float64, requires_grad=True) for _ in range(2))
    module, interpreter = built(shape, dim)
    y, expected = module(x, a), by_definition(x, a, dim)
    assert torch.allclose(y, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(interpreter(x, a), y)
    noise = torch.randn_like(y)
    ours, theirs = (torch.autograd.grad(out, (x, a), noise) for out in (y, expected))
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, rtol=1e-10, atol=1e-10)


def test_gradients_of_gradients() -> None:
    module, _ = built("[B, T, 3]", 1)
    x, a = (torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradgradcheck(module, (x, a))


def test_factors_of_zero_start_anew() -> None:
    module, _ = built("[B, T, 3]", 1)
    x, a = (torch.randn(1, 9, 3, dtype=torch.float64) for _ in range(2))
    a[:, 4] = 0
    assert torch.equal(module(x, a)[:, 4], x[:, 4])
    assert torch.allclose(module(x, a)[:, 4:], module(x[:, 4:], a[:, 4:]))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(archlang.ArchError, match="ARC0356"):
        archlang.compile("block net(x: [B, T, 3], a: [B, T, 4]) { return linear_recurrence(x, a) }")
