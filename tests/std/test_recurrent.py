"""The schemes that go in steps: each computes its equation, over any layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import archlang


def net(text: str) -> nn.Module:
    module: nn.Module = archlang.build(text, entry="net").double()
    return module


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def equal(ours: Tensor, theirs: Tensor) -> bool:
    return bool(torch.allclose(ours, theirs, rtol=0, atol=1e-12))


def test_subtractive() -> None:
    m: Any = net("""
        use std.recurrent: subtractive
        block two(x) { return x -> back: linear(6), x -> fore: linear(3) }
        block net(x: [B, 6], y: [B, 3], mask: [B, 6]) -> ([B, 6], [B, 3]) {
            return (x, y; mask) -> s: subtractive([two() for _ in 0..3])
        }
    """)
    x, y, mask = noise(2, 6), noise(2, 3, seed=1), noise(2, 6, seed=2)
    left, total = m(x, y, mask)
    for part in m.s.children():
        y = y + part.fore(x)
        x = (x - part.back(x)) * mask
    assert equal(left, x) and equal(total, y)
