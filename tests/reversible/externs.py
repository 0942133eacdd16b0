"""Code of others, for blocks that are declared `extern`."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Doubles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Counts(nn.Module):
    """Gives something else each time."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.calls * x


class Turns(nn.Module):
    """A product with a matrix, and what undoes it."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(features) + 0.1 * torch.randn(features, features))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight

    def back(self, y: Tensor) -> Tensor:
        return torch.linalg.solve(self.weight.T, y.T).T

    def wrong(self, y: Tensor) -> Tensor:
        return y @ self.weight


def cubed(x: Tensor, y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return scale * x**3, y


def rooted(x: Tensor, y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    x = x / scale
    return x.sign() * x.abs() ** (1 / 3), y
