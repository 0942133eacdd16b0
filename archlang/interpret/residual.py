"""Residual maps `s + f(s)` whose branch contracts: the inverse by iteration, log det(I + J) exactly and estimated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["estimated_log_det", "exact_log_det", "solve_residual"]

_CERTAIN = 2  # terms of the series that every estimate has


def solve_residual(branch: Callable[[Any], Any], y: Any, constant: float, tolerance: float) -> Any:
    """The s with s + f(s) = y, to a relative error of `tolerance`.

    f contracts by `constant`: constant / (1 - constant) times the last change bounds the error, and so many steps
    reach the tolerance.
    """
    steps = math.ceil(math.log(tolerance * (1 - constant) / 2) / math.log(constant)) if constant else 1
    s = y
    for _ in range(steps + 1):
        before = s
        s = y - branch(s)
        change = float((s - before).detach().norm())
        if change * constant <= (1 - constant) * tolerance * float(s.detach().norm()):
            break
    return s


def _at(branch: Callable[[Any], Any], s: Any) -> tuple[Any, Any]:
    """A point whose gradient is at hand, and f there."""
    if not s.requires_grad:
        s = s.detach().requires_grad_()
    return s, branch(s)


def exact_log_det(branch: Callable[[Any], Any], s: Any) -> Any:
    """log det(I + J) for each sample, [B], from the whole Jacobian: a backward pass for each entry of a sample."""
    import torch

    with torch.enable_grad():
        s, value = _at(branch, s)
        columns = value.flatten(1).unbind(1)
        rows = [torch.autograd.grad(c.sum(), s, create_graph=True)[0].flatten(1) for c in columns]
    jacobian = torch.stack(rows, 1)
    return torch.linalg.slogdet(torch.eye(len(columns), dtype=s.dtype, device=s.device) + jacobian).logabsdet


def estimated_log_det(branch: Callable[[Any], Any], s: Any) -> Any:
    """An estimate without bias: the series sum_k (-1)^(k+1) / k tr J^k, with traces from one random vector, cut off at
    a random place and weighted by how rarely it gets that far (Chen et al., 2019)."""
    import torch

    extra = int(torch.empty((), device="cpu").geometric_(0.5)) - 1
    with torch.enable_grad():
        s, value = _at(branch, s)
        noise = torch.randn_like(s)
        product, total = noise, noise.new_zeros(len(s))
        for k in range(1, _CERTAIN + extra + 1):
            (product,) = torch.autograd.grad(value, s, product, create_graph=True)
            reached = 0.5 ** max(k - _CERTAIN, 0)
            total = total + (-1) ** (k + 1) / k / reached * (product * noise).flatten(1).sum(1)
    return total
