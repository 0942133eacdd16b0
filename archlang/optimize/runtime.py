"""Weights of an optimised network from those of the trained one: functions of tensors, in torch.

`convert_state_dict` of a generated file holds those that it needs, so each stands by itself. Shapes are torch's:
convolution kernels are [out, in / groups, *k].
"""

from __future__ import annotations

import torch
from torch import Tensor

State = dict[str, Tensor]


def move(state: State, at: str, old: str, new: str) -> None:
    """Gives all tensors under one name another."""
    old, new = f"{at}{old}.", f"{at}{new}."
    for key in [k for k in state if k.startswith(old)]:
        state[new + key.removeprefix(old)] = state.pop(key)


def drop() -> tuple[Tensor, ...]:
    """Of tensors that nothing reads any more."""
    return ()


def replace(
    state: State,
    at: str,
    function: object,
    reads: tuple[str | None, ...],
    writes: tuple[str, ...],
    drops: tuple[str, ...] = (),
    keeps: tuple[str, ...] = (),
    **attrs: object,
) -> None:
    """Puts function(*reads) in place of what it was made of; `at` is the prefix of all names, `drops` are modules."""
    given = [None if name is None else state[at + name] for name in reads]
    made = function(*given, **attrs)  # type: ignore[operator]
    for name in reads:
        if name is not None and name not in keeps:
            state.pop(at + name, None)
    for key in [k for k in state for name in drops if k == at + name or k.startswith(f"{at}{name}.")]:
        state.pop(key, None)
    for name, tensor in zip(writes, made, strict=True):
        state[at + name] = tensor


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
        size = (weight.shape[0] // groups, *weight.shape[1:])
        by_group = weight.reshape(groups, *size) * scale.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = by_group.reshape(weight.shape)
    else:
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    return weight, shift if bias is None else bias * scale + shift
