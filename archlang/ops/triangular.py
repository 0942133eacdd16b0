"""Triangular convolutions: padded at one corner, so that a position sees those before it, itself last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, kwargs, per_dim, same_channels, spatial_rank
from archlang.ops.base import Bijection, Context, Op, Param, register
from archlang.ops.code import Call, Helper, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.guard import REQUIRE
from archlang.ops.window import Window
from archlang.shapes.dim import Size

__all__: list[str] = []

_SUBSTITUTE = Helper(
    "substitute",
    '''\
def substitute(y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The x whose convolution is y: padded at the top left, last tap lower triangular.

    What lies on an anti-diagonal depends on earlier ones only: one step for each.
    """
    (height, width), (rows, columns) = y.shape[2:], weight.shape[2:]
    taps = [(a, b) for a in range(rows) for b in range(columns) if a or b]
    others = [weight[:, :, rows - 1 - a, columns - 1 - b] for a, b in taps]
    stacked = torch.cat(others, 1) if taps else None
    start = rows + columns - 2  # before the first anti-diagonal there are zeros
    zeros = y.new_zeros([*y.shape[:2], rows - 1 + height])
    known = [zeros] * start  # an anti-diagonal each
    for d in range(height + width - 1):
        first, last = max(0, d - width + 1), min(height, d + 1)
        row = torch.arange(first, last, device=y.device)
        rest = y[:, :, row, d - row]
        top, end = rows - 1 + first, rows - 1 + last
        if stacked is not None:
            seen = [known[start + d - a - b][:, :, top - a : end - a] for a, b in taps]
            rest = rest - stacked @ torch.cat(seen, 1)
        x = torch.linalg.solve_triangular(weight[:, :, -1, -1], rest, upper=False)
        known.append(F.pad(x, (top, height - last)))
    row = torch.arange(height, device=y.device).unsqueeze(1)
    column = torch.arange(width, device=y.device)
    return torch.stack(known[start:], -1)[:, :, rows - 1 + row, row + column]
''',
)

_TRIANGULAR = Helper(
    "TriangularConv2d",
    '''\
class TriangularConv2d(nn.Module):
    """A convolution padded at one corner; its last tap is triangular over the channels.

    As a matrix it is triangular, too: substitution undoes it. order: the corner where
    it begins. diagonal of the last tap: "free", "one", or "exp" of the weight.
    """

    mask: torch.Tensor
    one: torch.Tensor

    def __init__(
        self,
        channels: int,
        kernel_size: tuple[int, int],
        order: str = "TL",
        diagonal: str = "free",
        bias: bool = True,
    ) -> None:
        super().__init__()
        height, width = kernel_size
        self.flips = [dim for dim, side in ((2, "B"), (3, "R")) if side in order]
        self.padding = (
            *((0, width - 1) if "R" in order else (width - 1, 0)),
            *((0, height - 1) if "B" in order else (height - 1, 0)),
        )
        self.diagonal = diagonal
        mask = torch.ones(channels, channels, height, width)
        mask[:, :, -1, -1].tril_(0 if diagonal == "free" else -1)
        one = torch.zeros_like(mask)
        one[:, :, -1, -1] = torch.eye(channels)
        weight = 0.02 * torch.randn_like(mask) + (one if diagonal == "free" else 0)
        self.weight = nn.Parameter(weight.flip(self.flips))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.register_buffer("mask", mask.flip(self.flips), persistent=False)
        self.register_buffer("one", one.flip(self.flips), persistent=False)

    def kernel(self) -> torch.Tensor:
        if self.diagonal == "free":
            return self.weight * self.mask
        if self.diagonal == "one":
            return self.weight * self.mask + self.one
        return self.weight * self.mask + self.weight.exp() * self.one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, self.padding), self.kernel(), self.bias)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        if self.bias is not None:
            y = y - self.bias[:, None, None]
        kernel = self.kernel().flip(self.flips)
        diagonal = kernel[:, :, -1, -1].diagonal()
        require(diagonal.ne(0).all(), "`weight` has a 0 on its last tap's diagonal")
        x = substitute(y.flip(self.flips), kernel)
        return x.flip(self.flips)

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        entries = self.kernel().flip(self.flips)[:, :, -1, -1].diagonal()
        return (x[0, 0].numel() * entries.abs().log().sum()).expand(x.shape[0])
''',
    (_SUBSTITUTE, REQUIRE),
)


@register
class TriangularConv(Op):
    """A convolution padded at one corner only, whose last tap is triangular over the channels: as a matrix it is
    triangular, and substitution undoes it, one step for each anti-diagonal (Nagar et al., 2021).

    order: the corner where it begins, top or bottom and left or right. diagonal: of the last tap: "free", "one" (the
    log-determinant is 0), or "exp", the exponential of the weight.
    """

    name = "triangular_conv"
    params = (
        Param("kernel_size", "ints", 3),
        Param("order", "str", "TL", choices=("TL", "TR", "BL", "BR")),
        Param("diagonal", "str", "free", choices=("free", "one", "exp")),
        Param("bias", "bool", True),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        spatial_rank(self.name, ins[0], (2,))
        kernel = per_dim(self.name, "kernel_size", args["kernel_size"], 2, least=1)
        return {**args, "kernel_size": kernel, "channels": channels(self.name, ins[0], cx)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        spatial_rank(self.name, ins[0], (2,))
        same_channels(self.name, ins[0], attrs["channels"], cx)
        return (ins[0],)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        n = attrs["channels"]
        shape = (n, n, *attrs["kernel_size"])
        fixed = {"kind": "buffer", "trainable": False, "persistent": False}
        bias = (WeightDecl("bias", (n,), attrs["bias_init"]),) if attrs["bias"] else ()
        masks = (WeightDecl(name, shape, **fixed) for name in ("mask", "one"))  # type: ignore[arg-type]
        return (WeightDecl("weight", shape, attrs["init"]), *bias, *masks)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["channels"] * prod(attrs["kernel_size"]))

    def inverse_macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Without the last tap: triangular systems are not counted."""
        return prod(outs[0].shape, start=attrs["channels"] * (prod(attrs["kernel_size"]) - 1))

    def layers(self, attrs: Attrs) -> int:
        return 1

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        sides = zip(attrs["kernel_size"], attrs["order"], strict=True)
        return tuple(Window.sliding(k, 1, 0 if side in "BR" else k - 1, 1) for k, side in sides)

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(*((name, attrs[name], default) for name, default in _DEFAULTS))
        return Call("TriangularConv2d", (Lit(attrs["channels"]), Lit(attrs["kernel_size"])), named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_TRIANGULAR,)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        hypothesis = {"free": ("the last tap has no 0 on its diagonal",)}.get(attrs["diagonal"], ())
        return Bijection(hypotheses=hypothesis, volume=attrs["diagonal"] == "one")

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        shape = (*x.shape[:2], *(size + k - 1 for size, k in zip(x.shape[2:], attrs["kernel_size"], strict=True)))
        padded = tape.pad(x, shape)
        kernel = tape.apply((weights["weight"],), weights["weight"].shape)
        if attrs["diagonal"] == "exp":
            exponential = tape.apply((weights["weight"],), kernel.shape, saves="out")
            kernel = tape.apply((kernel, exponential), kernel.shape)
        own = [weights["bias"]] if attrs["bias"] else []
        return (tape.apply((padded, kernel, *own), x.shape, x.dtype, "in", padded.channels_last),)

    def kernel(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        """The weight as the convolution uses it."""
        kernel = weights["weight"] * weights["mask"]
        if attrs["diagonal"] == "one":
            return kernel + weights["one"]
        return kernel + weights["weight"].exp() * weights["one"] if attrs["diagonal"] == "exp" else kernel

    def diagonal(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        """Of the last tap: what a position's own channels are multiplied by."""
        row, column = (0 if side in "BR" else -1 for side in attrs["order"])
        return self.kernel(weights, attrs)[:, :, row, column].diagonal()

    def fault(self, weights: Mapping[str, Any], attrs: Attrs) -> str | None:
        whole = bool(self.diagonal(weights, attrs).ne(0).all())
        return None if whole else "`weight` has a 0 on its last tap's diagonal"

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch
        import torch.nn.functional as F

        (x,), (height, width), order = ins, attrs["kernel_size"], attrs["order"]
        for dim, more, side in ((2, height - 1, order[0]), (3, width - 1, order[1])):
            zeros = x.new_zeros([more if d == dim else size for d, size in enumerate(x.shape)])
            x = torch.cat([x, zeros] if side in "BR" else [zeros, x], dim)
        return F.conv2d(x, self.kernel(weights, attrs), weights.get("bias"))

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """Position by position, in the order of a page: each needs the ones before it only."""
        import torch

        y, kernel, order = outs[0], self.kernel(weights, attrs), attrs["order"]
        flips = [dim for dim, side in ((2, order[0]), (3, order[1])) if side in "BR"]
        y, kernel = (y if "bias" not in weights else y - weights["bias"][:, None, None]).flip(flips), kernel.flip(flips)
        found: dict[tuple[int, int], Any] = {}
        rows, columns = attrs["kernel_size"]
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                rest = y[:, :, i, j]
                for a in range(rows):
                    for b in range(columns):
                        if (i - a, j - b) in found:
                            rest = rest - found[i - a, j - b] @ kernel[:, :, rows - 1 - a, columns - 1 - b].T
                corner = kernel[:, :, -1, -1]
                found[i, j] = torch.linalg.solve_triangular(corner, rest.T, upper=False).T
        return torch.stack(list(found.values()), -1).view_as(y).flip(flips)

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        entries = self.diagonal(weights, attrs)
        return (ins[0][0, 0].numel() * entries.abs().log().sum()).expand(len(ins[0]))


_DEFAULTS = (("order", "TL"), ("diagonal", "free"), ("bias", True))
