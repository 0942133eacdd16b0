"""The library's bijections: against what their names promise, their inverses, their log-determinants."""

from __future__ import annotations

import math

import pytest
import torch

from archlang.interpret import InterpreterModule
from tests.reversible.helpers import program, roundtrip
from tests.reversible.test_log_det import determinants

MADE = {
    "additive": "conv(2, 1) -> tanh",
    "affine": "conv(4, 1) -> tanh",
    "sinh_arcsinh": "",
    "haar": "",
    "lifting_5_3": "",
    "wavelet_2d": "",
}
PAIRS = ("momentum", "leapfrog", "verlet", "yoshida", "asynchronous_leapfrog")


def flow(name: str) -> str:
    return f"use std.flows: {name}\nblock net(x: [B, 4, 2, 4]) {{ return x -> m: {name}({MADE[name]}) }}"


def step(name: str, force: str = "conv(2, 1) -> tanh") -> str:
    return f"""
use std.dynamics: {name}
block net(q: [B, 2, 2, 2], p: [B, 2, 2, 2]) {{ return (q, p) -> m: {name}({force}) }}
"""


@pytest.mark.parametrize("text", [*map(flow, MADE), *map(step, PAIRS)], ids=[*MADE, *PAIRS])
def test_inverse_and_log_determinant(text: str) -> None:
    assert roundtrip(text) < 1e-12
    found, expected = determinants(text)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def outputs(text: str, *wires: torch.Tensor) -> tuple[torch.Tensor, ...]:
    module = InterpreterModule(program(text), torch.float64).eval()
    with torch.no_grad():
        result = module(*wires)
    return result if isinstance(result, tuple) else (result,)


def test_haar_is_orthonormal() -> None:
    x = torch.randn(3, 4, 2, 4, dtype=torch.float64)
    low, high = outputs(flow("haar"), x)
    assert torch.allclose(low, (x[..., ::2] + x[..., 1::2]) / math.sqrt(2))
    assert torch.allclose(high, (x[..., 1::2] - x[..., ::2]) / math.sqrt(2))
    (bands,) = outputs(flow("wavelet_2d"), x)
    corners = [x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    signs = ((1, 1, 1, 1), (-1, 1, -1, 1), (-1, -1, 1, 1), (1, -1, -1, 1))  # low-low, low-high, high-low, high-high
    bands_by_hand = [sum(s * c for s, c in zip(row, corners, strict=True)) / 2 for row in signs]
    assert torch.allclose(bands, torch.cat([torch.as_tensor(b) for b in bands_by_hand], 1))


def test_lifting_has_the_filters_of_the_5_3_wavelet() -> None:
    """Away from the ends: high (-1, 2, -1) / 2, low (-1, 2, 6, 2, -1) / 8."""
    x = torch.randn(1, 1, 1, 12, dtype=torch.float64)
    low, high = outputs(flow("lifting_5_3").replace("[B, 4, 2, 4]", "[B, 1, 1, 12]"), x)
    row = x.flatten()
    for i in range(1, 5):
        a = 2 * i
        assert torch.isclose(high[0, 0, 0, i], row[a + 1] - (row[a] + row[a + 2]) / 2)
        taps = -row[a - 2] + 2 * row[a - 1] + 6 * row[a] + 2 * row[a + 1] - row[a + 2]
        assert torch.isclose(low[0, 0, 0, i], taps / 8)


def test_multi_split_is_a_bijection() -> None:
    text = """
        use std.flows: multi_split
        reversible block net(a: [B, 4], b: [B, 2], c: [B, 3]) {
            s = [a, b, c]
            s = s -> m: multi_split([linear(4) -> tanh, linear(2), linear(3)])
            a, b, c = (s[0], s[1], s[2])
        }"""
    assert roundtrip(text) < 1e-12


@pytest.mark.parametrize(("name", "order"), [("leapfrog", 2), ("verlet", 2), ("yoshida", 4)])
def test_order_of_the_integrators(name: str, order: int) -> None:
    """q'' = -q for one unit of time: halving the step divides the error by 2**order."""
    errors = []
    for steps in (8, 16):
        text = f"""
            use std.dynamics: {name}
            block force(x) {{ return -x }}
            block net(q: [B, 1], p: [B, 1]) {{
                return (q, p) -> chain([{name}(force, 1 / {steps}) for _ in 0..{steps}])
            }}
        """
        q, p = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
        end, _ = outputs(text, q, p)
        errors.append(abs(end.item() - (math.cos(1) + 0.5 * math.sin(1))))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.2
