"""The schemes that go in steps: each computes its equation, over any layers."""

from __future__ import annotations

from typing import Any

from tests.std.nets import equal, net, noise


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
