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
    names = [key for key in state if key == at + old or key.startswith(f"{at}{old}.")]
    moved = {key: state.pop(key) for key in names}
    for key, tensor in moved.items():  # new names may be old ones of others
        state[at + new + key.removeprefix(at + old)] = tensor


def drop(state: dict[str, Tensor], at: str, *names: str) -> None:
    """Takes tensors, and all of a module, away."""
    for name in names:
        for key in list(state):
            if key == at + name or key.startswith(f"{at}{name}."):
                del state[key]


def scale_of_batchnorm(
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    *,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """A scale and a shift a channel: what batch normalisation is in evaluation."""
    scale = torch.rsqrt(var + eps)
    scale = scale if gamma is None else scale * gamma
    return scale, -mean * scale if beta is None else beta - mean * scale


def scales(scale: Tensor | None, factor: float, width: int, like: Tensor) -> Tensor:
    """For each of `width` channels; scale None: 1."""
    if scale is None:
        return like.new_full((width,), factor)
    return (scale.flatten() * factor).expand(width)


def shifts(shift: Tensor | None, offset: float, width: int, like: Tensor) -> Tensor:
    """For each of `width` channels; shift None: 0."""
    if shift is None:
        return like.new_full((width,), offset)
    return (shift.flatten() + offset).expand(width)


def scale_outputs(
    weight: Tensor | None,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    factor: float = 1.0,
    offset: float = 0.0,
    groups: int = 0,
) -> tuple[Tensor, ...]:
    """A layer whose outputs are scaled and shifted afterwards, with its bias if any.

    weight: [out, ...]; groups > 0: of a transposed convolution, [in, out / groups, *k];
    None: of a normalisation without one. scale, shift: [out] or one number.
    """
    if weight is None:
        given = shift if scale is None else scale
        assert given is not None
        width = given.numel()
        made = scales(scale, factor, width, given)
        return made, shifts(shift, offset, width, given)
    width = groups * weight.shape[1] if groups else len(weight)
    by = scales(scale, factor, width, weight)
    if groups:
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        made = parts * by.reshape(groups, 1, -1, *[1] * (weight.dim() - 2))
        made = made.flatten(0, 1)
    else:
        made = weight * by.reshape(-1, *[1] * (weight.dim() - 1))
    if shift is None and not offset:
        return (made,) if bias is None else (made, bias * by)
    added = shifts(shift, offset, width, weight)
    return made, added if bias is None else bias * by + added


def scale_inputs(
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    factor: float = 1.0,
    offset: float = 0.0,
    groups: int = 1,
) -> tuple[Tensor, ...]:
    """A layer whose inputs are scaled and shifted before, with its bias if any.

    weight: [out, in / groups, ...]; scale, shift: [in] or one number.
    """
    out, inner = weight.shape[:2]
    by = scales(scale, factor, inner * groups, weight).reshape(groups, inner)
    rows = by.repeat_interleave(out // groups, 0)
    made = weight * rows.reshape(out, inner, *[1] * (weight.dim() - 2))
    if shift is None and not offset:
        return (made,) if bias is None else (made, bias)
    added = shifts(shift, offset, inner * groups, weight)
    rows = added.reshape(groups, inner).repeat_interleave(out // groups, 0)
    through = (weight.reshape(out, inner, -1).sum(2) * rows).sum(1)
    return made, through if bias is None else bias + through


def share(
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    parts: tuple[tuple[int, int, bool, int, int], ...],
    zeros: tuple[tuple[int, int], ...] = (),
) -> tuple[Tensor, ...]:
    """Scale and shift of each part: from a channel to another, and whether it shifts.

    All of it so many times, each of its channels so many times. zeros: so many before
    and after the channels of each.
    """
    made: list[Tensor] = []
    around = zeros or ((0, 0),) * len(parts)
    for (start, stop, shifted, outer, inner), pad in zip(parts, around, strict=True):
        for given in (scale, shift if shifted else None):
            if given is not None:
                part = torch.nn.functional.pad(given.flatten()[start:stop], pad)
                made.append(part.repeat_interleave(inner).repeat(outer))
    return tuple(made)


def spread(
    weight: Tensor,
    kernel: tuple[int, ...],
    start: tuple[int, ...],
    step: tuple[int, ...],
) -> Tensor:
    """A kernel among zeros: its taps, each `step`, from `start` on."""
    wide = weight.new_zeros(*weight.shape[:2], *kernel)
    taps = tuple(
        slice(first, first + by * (n - 1) + 1, by)
        for first, by, n in zip(start, step, weight.shape[2:], strict=True)
    )
    wide[(slice(None), slice(None), *taps)] = weight
    return wide


def embed(
    weight: Tensor,
    *,
    groups: int = 1,
    fewer: int = 1,
    kernel: tuple[int, ...] = (),
    start: tuple[int, ...] = (),
    step: tuple[int, ...] = (),
) -> tuple[Tensor]:
    """A convolution as part of a larger one, whose other weights are 0.

    Of a larger kernel, as `spread`, and of fewer groups, which hold several of its own.
    """
    if kernel:
        weight = spread(weight, kernel, start, step)
    if groups == fewer:
        return (weight,)
    many = groups // fewer
    parts = weight.reshape(fewer, many, -1, *weight.shape[1:])
    blocks = parts.new_zeros(*parts.shape[:3], many, *parts.shape[3:])
    for i in range(many):
        blocks[:, i, :, i] = parts[:, i]
    return (blocks.flatten(0, 2).flatten(1, 2),)


def add_layers(
    weight: Tensor,
    bias: Tensor | None,
    other: Tensor,
    other_bias: Tensor | None,
) -> tuple[Tensor, ...]:
    """Two layers of one shape that read the same and whose results are added."""
    if bias is None or other_bias is None:
        bias = other_bias if bias is None else bias
    else:
        bias = bias + other_bias
    return (weight + other,) if bias is None else (weight + other, bias)


def add_identity(
    weight: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    groups: int = 1,
    tap: tuple[int, ...] = (),
    factor: float = 1.0,
    offset: float = 0.0,
) -> tuple[Tensor, ...]:
    """A layer to whose result its input is added, scaled and shifted by channel.

    tap: what reads the input at the output's own place.
    """
    width = len(weight)
    rows = torch.arange(width, device=weight.device)
    made = weight.clone()
    place: tuple[Tensor | int, ...] = (rows, rows % (width // groups), *tap)
    made[place] += scales(scale, factor, width, weight)
    if shift is None and not offset:
        return (made,) if bias is None else (made, bias)
    added = shifts(shift, offset, width, weight)
    return made, added if bias is None else bias + added


def add_to_batchnorm(
    gamma: Tensor | None,
    beta: Tensor | None,
    mean: Tensor,
    var: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    *,
    eps: float,
    factor: float = 1.0,
    offset: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch normalisation, in evaluation, to whose result its input is added.

    The input is scaled and shifted by channel.
    """
    by = scales(scale, factor, len(mean), mean)
    added = shifts(shift, offset, len(mean), mean)
    gamma = torch.ones_like(mean) if gamma is None else gamma
    beta = torch.zeros_like(mean) if beta is None else beta
    return gamma + by * torch.sqrt(var + eps), beta + added + by * mean, mean, var


def chain_layers(
    first: Tensor,
    bias: Tensor | None,
    last: Tensor,
    last_bias: Tensor | None,
    *,
    groups: int = 1,
    first_step: tuple[int, ...] = (),
    last_step: tuple[int, ...] = (),
) -> tuple[Tensor, ...]:
    """One layer after another as one, of two that have the same groups.

    Taps of the result lie at sums of those of the two, which lie each `first_step` and
    each `last_step`.
    """
    by = last.reshape(groups, -1, *last.shape[1:])  # [groups, out, middle, *k]
    if first_step:
        sizes = tuple(first.shape[2:])
        reach = (d * (n - 1) + 1 for d, n in zip(first_step, sizes, strict=True))
        start = (0,) * len(sizes)
        image = spread(first.transpose(0, 1), tuple(reach), start, first_step)
        convolve = getattr(torch, f"conv_transpose{len(sizes)}d")
        taps = by.transpose(1, 2).flatten(0, 1)
        weight = convolve(image, taps, groups=groups, dilation=last_step)
        weight = weight.transpose(0, 1).contiguous()
    else:
        weight = last @ first
    if bias is None:
        return (weight,) if last_bias is None else (weight, last_bias)
    sums = by.reshape(*by.shape[:3], -1).sum(3)
    through = (sums @ bias.reshape(groups, -1, 1)).flatten()
    return weight, through if last_bias is None else last_bias + through


def stack_outputs(*layers: Tensor | None) -> tuple[Tensor, ...]:
    """Layers side by side, whose outputs are joined; weights and biases in turn."""
    weights = [w for w in layers[::2] if w is not None]
    weight = torch.cat(weights)
    biases = [b for b in layers[1::2] if b is not None]
    if not biases:
        return (weight,)
    pairs = zip(weights, layers[1::2], strict=True)
    return weight, torch.cat(
        [w.new_zeros(len(w)) if b is None else b for w, b in pairs]
    )


def stack_inputs(*layers: Tensor | None) -> tuple[Tensor, ...]:
    """Layers side by side, whose outputs are added; weights and biases in turn."""
    weight = torch.cat([w for w in layers[::2] if w is not None], 1)
    biases = [b for b in layers[1::2] if b is not None]
    return (weight, torch.stack(biases).sum(0)) if biases else (weight,)


def join_members(
    *tensors: Tensor, members: int, dim: int = 0, point: int = 0
) -> tuple[Tensor, ...]:
    """Tensors of several networks, each of them all given together, end to end.

    dim: of kernels, along which they are joined, -1 a new one before all others; a
    count of steps is the first's.
    point: matrices become kernels of convolutions with so many dimensions of size 1.
    """
    made = []
    for i in range(0, len(tensors), members):
        one = tensors[i : i + members]
        rank = one[0].dim()
        if dim < 0:
            joined = torch.stack(one)
        else:
            joined = torch.cat(one, dim if rank > 1 else 0) if rank else one[0]
        ones = (1,) * (point if rank == 2 else 0)
        made.append(joined.reshape((*joined.shape, *ones)))
    return tuple(made)


def add_convolution(
    weight: Tensor,
    bias: Tensor | None,
    kernel: Tensor,
    kernel_bias: Tensor | None,
    *,
    size: tuple[int, ...],
    pad: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    blocks: int,
) -> tuple[Tensor, ...]:
    """A matrix of all pixels of an image, to which a convolution is added.

    The matrix consists of so many blocks. Each pixel in turn is 1, the others 0: what
    the convolution makes of it is a column of its matrix. size: the image's; pad: as of
    torch.nn.functional.pad.
    """
    inner = kernel.shape[1] * groups // blocks
    count = inner * kernel.new_empty(size).numel()
    pixels = torch.eye(count, dtype=kernel.dtype, device=kernel.device)
    images = pixels.reshape(count, inner, *size).repeat(1, blocks, *[1] * len(size))
    images = torch.nn.functional.pad(images, pad)
    convolve = getattr(torch, f"conv{len(size)}d")
    made = convolve(
        images, kernel, stride=stride, dilation=dilation, groups=groups
    )  # [pixels, out, *size]
    columns = made.reshape(count, blocks, -1).permute(1, 2, 0)
    weight = weight + columns.reshape(weight.shape)
    if kernel_bias is None:
        return (weight,) if bias is None else (weight, bias)
    added = kernel_bias.repeat_interleave(made[0, 0].numel())
    return weight, added if bias is None else bias + added


def split_low_rank(
    weight: Tensor,
    bias: Tensor | None,
    *,
    rank: int,
) -> tuple[Tensor, ...]:
    """A layer as two, by the largest singular values of its weight, [out, rest]."""
    matrix = weight.flatten(1).double()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = values[:rank].sqrt()
    first = (root[:, None] * right[:rank]).reshape(rank, *weight.shape[1:])
    last = (left[:, :rank] * root).reshape(-1, rank, *[1] * (weight.dim() - 2))
    made = first.to(weight.dtype), last.to(weight.dtype)
    return made if bias is None else (*made, bias)


def low_rank_error(weight: Tensor, *, rank: int) -> float:
    """What `split_low_rank` leaves out, relative to the weight's (Frobenius) norm."""
    squares = torch.linalg.svdvals(weight.flatten(1).double()).square()
    return float((squares[rank:].sum() / squares.sum().clamp(min=1e-300)).sqrt())


def rank_within(weight: Tensor, tolerance: float) -> int:
    """The least rank, from 1 on, at which `low_rank_error` is within the tolerance."""
    squares = torch.linalg.svdvals(weight.flatten(1).double()).square()
    left_out = squares.flip(0).cumsum(0).flip(0)  # by rank, from 0 on
    return max(1, int((left_out > tolerance**2 * squares.sum()).sum()))


def keep_rows(
    *tensors: Tensor,
    rows: tuple[tuple[tuple[tuple[int, int], ...] | None, ...], ...],
) -> tuple[Tensor, ...]:
    """Parts of tensors.

    rows: of each tensor and dimension the runs that are kept, from and to; None: all.
    """
    made = []
    for tensor, dims in zip(tensors, rows, strict=True):
        for dim, runs in enumerate(dims):
            if runs is not None:
                parts = [tensor.narrow(dim, a, b - a) for a, b in runs]
                tensor = torch.cat(parts, dim)
        made.append(tensor)
    return tuple(made)


def assume_zero(tensor: Tensor) -> tuple[Tensor]:
    """A tensor that the network is written without: it should be 0."""
    return (tensor,)
