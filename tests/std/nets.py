"""Small networks around a scheme of the library, in float64."""

from __future__ import annotations

import textwrap
from typing import Any

import torch
from torch import Tensor

import archlang

__all__ = ["equal", "net", "noise", "randomised", "tokens", "whole"]


def net(uses: str, body: str, inputs: str = "x: [B, T, 8]", blocks: str = "") -> Any:
    """A block `net` of that body, built; `uses` are the lines that import the schemes."""
    text = f"{uses}\n{textwrap.dedent(blocks)}\nblock net({inputs}) {{\n{textwrap.dedent(body)}\n}}\n"
    return archlang.build(text, entry="net").double().eval()


def whole(text: str) -> Any:
    """The block `net` of a text, built."""
    return archlang.build(text, entry="net").double().eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def randomised(module: Any, scale: float = 0.5) -> Any:
    """With other weights than at the start, so that what starts as 0 or 1 takes part."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(scale * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def tokens(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 5, 8)), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def equal(ours: Tensor, theirs: Tensor) -> bool:
    """Up to rounding, relative to the largest entry."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).detach().abs().max()) <= 1e-12 * float(theirs.detach().abs().max())
