"""Code of others, for blocks that are declared `extern`."""

from __future__ import annotations

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
