"""Gates that decide by sample what is computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.std.nets import equal, noise, whole


def test_a_hard_gate_has_the_gradient_of_what_it_rounds() -> None:
    m: Any = whole("""
        use std.gates: hard
        block net(x: [B, 3]) -> [B, 3] { return hard(sigmoid(x), 0.6) }
    """)
    x = noise(4, 3).requires_grad_()
    y = m(x)
    assert equal(y, (x.sigmoid() > 0.6).double())
    (ours,) = torch.autograd.grad((y * noise(4, 3, seed=1)).sum(), x)
    (theirs,) = torch.autograd.grad((x.sigmoid() * noise(4, 3, seed=1)).sum(), x)
    assert equal(ours, theirs)


def test_a_layer_that_is_skipped_or_not() -> None:
    m: Any = whole("""
        use std.gates: skippable
        block net(x: [B, 3]; gate: [B, 1]) {
            x = (x; gate) -> a: skippable(f: linear(3))
            return (x; gate) -> b: skippable(f: linear(2), s: linear(2))
        }
    """)
    x = noise(3, 3)
    for on, gate in ((False, 0.0), (True, 1.0)):
        h = m.a.f(x) if on else x
        assert equal(m(x, torch.full((3, 1), gate).double()), (m.b.f if on else m.b.s)(h))
    half = (m.a.f(x) + x) / 2
    assert equal(m(x, torch.full((3, 1), 0.5).double()), (m.b.f(half) + m.b.s(half)) / 2)


def test_early_exits() -> None:
    """The exit that is taken, sample by sample, and the probabilities, which are those of a tree and add up to one."""
    m: Any = whole("""
        use std.gates: early_exits
        block net(a: [B, 2], b: [B, 2], c: [B, 2], g: [B, 2]) {
            return ([a, b, c], [g[:, :1], g[:, 1:]]) -> early_exits
        }
    """)
    scores = [noise(4, 2, seed=i) for i in range(3)]
    g = torch.tensor([[0.9, 0.8], [0.1, 0.6], [0.2, 0.3], [0.5, 0.1]]).double()
    chosen, p = m(*scores, g)
    for i, exit in enumerate((0, 1, 2, 0)):
        assert equal(chosen[i], scores[exit][i])
    assert equal(p, torch.stack([g[:, 0], (1 - g[:, 0]) * g[:, 1], (1 - g[:, 0]) * (1 - g[:, 1])], 1))


@pytest.mark.parametrize("normalised", [False, True])
def test_a_mixture_of_experts(normalised: bool) -> None:
    m: Any = whole(f"""
        use std.gates: routed
        block net(x: [B, T, 3]) {{
            return x -> a: routed([linear(2) for _ in 0..4], 2, {str(normalised).lower()})
        }}
    """)
    x = noise(2, 5, 3)
    y = m(x)
    experts = [m.a.get_submodule(str(e)) for e in range(4)]
    for token, ours in zip(x.flatten(0, 1), y.flatten(0, 1), strict=True):
        p = m.a.router(token).softmax(0)
        second, first = p.argsort()[-2:].tolist()
        expected = p[first] * experts[first](token) + p[second] * experts[second](token)
        assert equal(ours, expected / (p[first] + p[second]) if normalised else expected)
