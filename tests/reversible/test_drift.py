"""Rounding errors of rebuilt streams: anchors stand where the estimate asks for them, and keep gradients right."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from archlang.codegen import generate
from archlang.reversible.derivation import proof_text
from tests.codegen.load import flat, load
from tests.reversible.helpers import program

COLUMNS = """
use std.reversible: column
block level(width: int)(below, above: tensor?) {
    y = below -> conv(width, 3, padding=1) -> tanh
    if above != none { y = y + (above -> conv(width, 1)) }
    return y
}
block net(columns: int = 15)(a: [B, 4, 6, 6], b: [B, 4, 6, 6], stem: [B, 4, 6, 6]) {
    c = [a, b]
    for i in 0..columns { c = (c; stem) -> "col{i}": column([level(4), level(4)]) }
    return c[0], c[1]
}
"""


def texts(columns: int = 15) -> str:
    return generate(program(COLUMNS, "net", columns=columns), source_name="net.arch")


def deviation(module: object, every: int | None) -> float:
    """Of float32 gradients from those of plain autograd in float64, relative to the largest."""
    torch.manual_seed(0)
    net: nn.Module = module.root()  # type: ignore[attr-defined]
    given = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    real = module.rebuild  # type: ignore[attr-defined]

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        net.to(dtype)
        inputs = [t.to(dtype) for t in given]
        loss = sum(t.square().sum() for t in flat(net(*inputs)))
        return [g.double() for g in torch.autograd.grad(loss, list(net.parameters()))]  # type: ignore[arg-type]

    if every is not None:
        module.rebuild = lambda *args, **options: real(*args, **{**options, "every": every})  # type: ignore[attr-defined]
    single = gradients(torch.float32)
    module.rebuild = lambda block, *args, **_: tuple(flat(block(module.Plain(), *args)))  # type: ignore[attr-defined]
    exact = gradients(torch.float64)
    module.rebuild = real  # type: ignore[attr-defined]
    scale = max(float(g.abs().max()) for g in exact)
    return max(float((a - b).abs().max()) for a, b in zip(single, exact, strict=True)) / scale


def test_columns_get_anchors() -> None:
    """RevCol's factor of 0.5 doubles errors at each level; without anchors, 15 columns lose all digits."""
    text = texts()
    found = re.search(r"every=(\d+)", text)
    assert found is not None
    module = load(text)
    with_anchors, without = deviation(module, None), deviation(module, 0)
    assert with_anchors < 1e-3
    assert without > 20 * with_anchors


@pytest.mark.parametrize("columns", [2, 3])
def test_few_columns_need_none(columns: int) -> None:
    assert "every=" not in texts(columns).split("class Net")[1]


def test_rebuilding_can_be_left_out() -> None:
    assert "rebuild" not in generate(program(COLUMNS, "net"), source_name="net.arch", rebuild=False)


def test_anchors_are_told() -> None:
    """In the proof's text, as in the code."""
    found = re.search(r"every=(\d+)", texts())
    assert found is not None
    lines = proof_text(program(COLUMNS, "net", columns=15)).splitlines()
    (line,) = [line for line in lines if line.startswith("training the 15 reversible blocks")]
    assert line.endswith(f"in float32 after every {found[1]} blocks, in bfloat16 after every block")
