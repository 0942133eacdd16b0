"""Weights of an optimised network from those of the trained one.

`convert_state_dict` of a generated file holds the functions that it needs, so each
stands by itself. Shapes are torch's: kernels are [out, in / groups, *k].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def rewrite(
    state: dict[str, Tensor],
    at: str,
    function: Callable[..., tuple[Tensor, ...]],
    reads: tuple[str | None, ...],
    writes: tuple[str, ...],
    drops: tuple[str, ...] = (),
    **options: object,
) -> None:
    """Puts function(*reads) in place of what it is made of, and takes modules away.

    at: what all names begin with.
    """
    given = (None if name is None else state.pop(at + name) for name in reads)
    made = function(*given, **options)
    drop(state, at, *drops)
    state |= {at + name: tensor for name, tensor in zip(writes, made, strict=True)}


def move(state: dict[str, Tensor], at: str, old: str, new: str) -> None:
    """Gives a tensor, or all of a module, another name."""
    for key in list(state):
        if key == at + old or key.startswith(f"{at}{old}."):
            state[at + new + key.removeprefix(at + old)] = state.pop(key)


def drop(state: dict[str, Tensor], at: str, *names: str) -> None:
    """Takes tensors, and all of a module, away."""
    for name in names:
        for key in list(state):
            if key == at + name or key.startswith(f"{at}{name}."):
                del state[key]


def fold_batchnorm(
    weight: Tensor,
    bias: Tensor | None,
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    *,
    eps: float,
    groups: int = 0,
) -> tuple[Tensor, Tensor]:
    """A layer and the batch normalisation after it as one layer.

    weight: [out, ...]; groups > 0: of a transposed convolution, [in, out / groups, *k].
    """
    scale = torch.rsqrt(var + eps)
    scale = scale if gamma is None else scale * gamma
    shift = -mean * scale if beta is None else beta - mean * scale
    if groups:
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        by_group = scale.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (parts * by_group).flatten(0, 1)
    else:
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return weight, shift if bias is None else bias * scale + shift
