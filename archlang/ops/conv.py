"""Convolutions and transposed convolutions over one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, check_rank, collapsed, in_range, kwargs, per_dim, same_channels, spatial_rank
from archlang.ops._args import spelled as written_once
from archlang.ops._args import window_fits as fits
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Helper, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.strides import sample
from archlang.ops.window import Window
from archlang.shapes.dim import Size, ceil_div

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__ = ["convolved"]

_SAME = '''\
class Conv{n}dSame(nn.Conv{n}d):
    """Pads by what gives ceil(size / stride) outputs, an odd rest at the end."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        pad: list[int] = []
        for i in reversed(range({n})):
            size, step = input.shape[2 + i], self.stride[i]
            reach = (-(-size // step) - 1) * step + 1
            reach += self.dilation[i] * (self.kernel_size[i] - 1)
            total = max(reach - size, 0)
            pad += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pad))
'''

_PADDED = '''\
class PaddedConv{n}d(nn.Conv{n}d):
    """Pads by different amounts before and after: `pad` as in F.pad."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: {size},
        pad: tuple[int, ...],
        stride: {size} = 1,
        dilation: {size} = 1,
        groups: int = 1,
        bias: bool = True,
        mode: str = "constant",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.pad = pad
        self.mode = mode

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(F.pad(input, self.pad, self.mode))
'''


def _helper(template: str, name: str, n: int) -> Helper:
    size = f"int | tuple[{', '.join(['int'] * n)}]"
    return Helper(name.format(n=n), template.replace("{n}", str(n)).replace("{size}", size))


def _flat(pads: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """(before, after) per dimension -> F.pad's order: last dimension first."""
    return tuple(amount for pair in reversed(pads) for amount in pair)


def _torch_mode(padding_mode: str) -> str:
    return "constant" if padding_mode == "zeros" else padding_mode


def _functional(name: str, rank: int) -> Any:
    import torch.nn.functional as F

    return getattr(F, f"{name}{rank}d")


def _padding(op: str, value: Attr, rank: int) -> Attr:
    """ "same" / "tf_same", ints per dimension, or (before, after) pairs per dimension where some differ."""
    if type(value) is int:  # as most are
        in_range(op, "padding", value, least=0)
        return (value,) * rank
    if value == "valid":
        return (0,) * rank
    if isinstance(value, str):
        if value not in ("same", "tf_same"):
            raise OpError(
                "ARC0221",
                f'`{op}`: `padding` is "{value}"',
                param="padding",
                help='use a number, a list, "same", "tf_same" (TensorFlow\'s, which works with a stride) or "valid"',
            )
        return value
    entries = per_dim(op, "padding", value, rank)
    pairs = [entry if isinstance(entry, tuple) else (entry, entry) for entry in entries]
    for pair in pairs:
        if len(pair) != 2 or not all(type(amount) is int for amount in pair):
            help = "give a number, or a list with a number or a [before, after] pair for each dimension"
            raise OpError("ARC0221", f"`{op}`: `padding` is not made of whole numbers", param="padding", help=help)
        for amount in pair:
            in_range(op, "padding", amount, least=0)
    if all(before == after for before, after in pairs):
        return tuple(before for before, _ in pairs)
    return tuple(pairs)


def _sized(op: str, args: Mapping[str, Attr], in_channels: int, rank: int, cx: Context) -> dict[str, Attr]:
    """The attributes that both directions share."""
    attrs = dict(args)
    attrs["in_channels"] = in_channels
    for name in ("kernel_size", "stride", "dilation"):
        attrs[name] = per_dim(op, name, args[name], rank, least=1)
    for name in ("out_channels", "groups"):
        in_range(op, name, args[name], least=1)
    groups: Any = attrs["groups"]
    out_channels: Any = attrs["out_channels"]
    cx.divides(groups, in_channels, f"`{op}`: `groups` must divide the input's channels", inputs=(0,), param="groups")
    cx.divides(groups, out_channels, f"`{op}`: `groups` must divide `out_channels`", param="groups")
    return attrs


def _same_padding(size: Size, k: int, s: int, d: int) -> Size:
    """What "tf_same" adds to a size in all."""
    reach = d * (k - 1) + 1
    if reach == 1:
        return 0
    total = (ceil_div(size, s) - 1) * s + reach - size
    if isinstance(total, int):
        return max(total, 0)
    if reach < s:  # max(reach - 1 - (size - 1) % s, 0), as a sum of the comparisons (size - 1) % s < j
        return sum(((size - 1) // s - (size - 1 - j) // s for j in range(1, reach)), start=0)
    return total


def convolved(tape: Tape, ins: Sequence[Ghost], out: TensorType, attrs: Attrs) -> Ghost:
    """The result; its memory has the channels last where those of the input or of the kernel are."""
    x, kernel, shape, lone = ins[0], ins[1], out.shape, ins[0].rank == 3
    if lone:  # two dimensions, the first of size 1, and a row-major copy of the input
        x, kernel = tape.unsqueeze(tape.contiguous(x), 2), tape.unsqueeze(kernel, 2)
        shape = (*shape[:2], 1, *shape[2:])
    last = (x.channels_last or kernel.channels_last) and (x.rank < 5 or _is_fused(x, attrs))
    y = tape.apply(ins, shape, out.dtype, last=last)
    if y.grad:
        tape.keep(*ins[:2])
    return tape.squeeze(y, 2) if lone else y


def _is_fused(x: Ghost, attrs: Attrs) -> bool:
    """Whether torch has oneDNN convolve three dimensions, on more than one thread; its own kernel does not know of
    channels that are last."""
    groups, kernel = attrs["groups"], attrs["kernel_size"]
    if "output_padding" in attrs:
        over = any(more >= step for more, step in zip(attrs["output_padding"], attrs["stride"], strict=True))
        if over or x.shape[1] == groups > 1:
            return False
    large = x.shape[0] != 1 or sample(prod(x.shape[:4], start=1)) > 20480
    return groups > 1 or large or min(kernel[-2:]) > 3


@register
class Conv(Op):
    """Cross-correlation of [B, C, *spatial] with a learned kernel; in_channels is inferred.

    padding: a number; one for each dimension; a [before, after] pair for each dimension; "valid"; "same" (torch's,
    stride 1 only); or "tf_same", which gives ceil(size / stride) outputs.
    """

    name = "conv"
    params = (
        Param("out_channels", "int"),
        Param("kernel_size", "ints"),
        Param("stride", "ints", 1),
        Param("padding", "any", 0),
        Param("dilation", "ints", 1),
        Param("groups", "int", 1),
        Param("bias", "bool", True),
        Param("padding_mode", "str", "zeros", choices=("zeros", "reflect", "replicate", "circular")),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        rank = spatial_rank(self.name, x)
        attrs: dict[str, Any] = _sized(self.name, args, channels(self.name, x, cx), rank, cx)
        attrs["padding"] = _padding(self.name, args["padding"], rank)
        if attrs["padding"] == "same" and set(attrs["stride"]) != {1}:
            help = 'use "tf_same" for ceil(size / stride) outputs, or `padding=kernel_size // 2` for an odd kernel'
            raise OpError("ARC0222", '`conv`: padding "same" needs stride 1, as in torch', param="padding", help=help)
        if attrs["padding"] == "tf_same" and attrs["padding_mode"] != "zeros":
            raise OpError("ARC0222", '`conv`: padding "tf_same" pads with zeros only', param="padding_mode")
        return attrs

    def pads(self, attrs: Attrs) -> list[tuple[int, int]]:
        """(before, after) per dimension; not for "tf_same", which depends on the size."""
        padding = attrs["padding"]
        if padding == "same":
            totals = [d * (k - 1) for k, d in zip(attrs["kernel_size"], attrs["dilation"], strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [p if isinstance(p, tuple) else (p, p) for p in padding]

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return written_once(super().spell(attrs), "kernel_size", "stride", "padding", "dilation")

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, len(attrs["kernel_size"]))
        same_channels(self.name, x, attrs["in_channels"], cx)
        spatial: list[Size] = []
        if attrs["padding"] == "tf_same":
            spatial = [ceil_div(size, s) for size, s in zip(x.shape[2:], attrs["stride"], strict=True)]
        else:
            windows = zip(attrs["kernel_size"], attrs["stride"], attrs["dilation"], strict=True)
            for size, pad, (k, s, d) in zip(x.shape[2:], self.pads(attrs), windows, strict=True):
                self._check_mode(size, max(pad), attrs["padding_mode"], cx)
                reach = d * (k - 1) + 1
                fits(self.name, size, reach, cx, slack=sum(pad))
                spatial.append((size + sum(pad) - reach) // s + 1)
        return (TensorType((x.shape[0], attrs["out_channels"], *spatial), x.dtype),)

    def _check_mode(self, size: Size, pad: int, mode: str, cx: Context) -> None:
        need = {"reflect": pad + 1, "circular": pad}.get(mode, 0)
        if need > 1:
            cx.at_least(
                size, need, f'`conv`: padding mode "{mode}" with padding {pad} needs a larger input', inputs=(0,)
            )

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out = attrs["out_channels"]
        shape = (out, attrs["in_channels"] // attrs["groups"], *attrs["kernel_size"])
        weight = WeightDecl("weight", shape, attrs["init"])
        return (weight, WeightDecl("bias", (out,), attrs["bias_init"])) if attrs["bias"] else (weight,)

    def layers(self, attrs: Attrs) -> int:
        return 1

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        names = ("kernel_size", "stride", "dilation")
        same = attrs["padding"] == "tf_same"  # where the padding lies depends on the size; this is the usual case
        before = [max(d * (k - 1) + 1 - s, 0) // 2 for k, s, d in zip(*(attrs[n] for n in names), strict=True)]
        pads = before if same else [pad for pad, _ in self.pads(attrs)]
        return tuple(
            Window.sliding(k, s, pad, d) for k, s, d, pad in zip(*(attrs[n] for n in names), pads, strict=True)
        )

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), groups = ins, attrs["groups"]
        group, inner = cx.factor(x[1], (groups, attrs["in_channels"] // groups))
        outer = cx.product(group, cx.free(attrs["out_channels"] // groups))
        spatial, kernel = cx.window(self.name, x[2:], outs[0].shape[2:], attrs["kernel_size"])
        weights = {"weight": (outer, inner, *kernel), "bias": (outer,)}
        return cx.says((x[0], outer, *spatial), weights=weights, sizes={"out_channels": outer, "groups": group})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        added = self._added(x.shape[2:], attrs)
        if added is not None:
            shape = (*x.shape[:2], *(size + more for size, more in zip(x.shape[2:], added, strict=True)))
            x = tape.pad(x, shape, attrs["padding_mode"], not any(added))
        return (convolved(tape, (x, *weights.values()), outs[0], attrs),)

    def _added(self, sizes: Sequence[Size], attrs: Attrs) -> list[Size] | None:
        """By how much a copy of the input is padded before the kernel runs; None where the kernel does it itself."""
        padding = attrs["padding"]
        windows = list(zip(attrs["kernel_size"], attrs["stride"], attrs["dilation"], strict=True))
        if padding == "tf_same":
            return [_same_padding(size, *window) for size, window in zip(sizes, windows, strict=True)]
        if attrs["padding_mode"] != "zeros" or isinstance(padding[0], tuple):
            return [before + after for before, after in self.pads(attrs)]
        if padding == "same" and any(before != after for before, after in self.pads(attrs)):
            return [after - before for before, after in self.pads(attrs)]
        return None

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        per_output = attrs["in_channels"] // attrs["groups"] * prod(attrs["kernel_size"])
        return prod(outs[0].shape, start=per_output)

    def module(self, attrs: Attrs) -> Call:
        rank = len(attrs["kernel_size"])
        args = (Lit(attrs["in_channels"]), Lit(attrs["out_channels"]), collapsed(attrs["kernel_size"]))
        padding, mode = attrs["padding"], attrs["padding_mode"]
        stride = ("stride", attrs["stride"], 1)
        rest = (("dilation", attrs["dilation"], 1), ("groups", attrs["groups"], 1), ("bias", attrs["bias"], True))
        if padding == "tf_same":
            return Call(f"Conv{rank}dSame", args, kwargs(stride, *rest))
        if isinstance(padding[0], tuple):
            pad = Kw("pad", Lit(_flat(padding)))
            return Call(
                f"PaddedConv{rank}d", args, (pad, *kwargs(stride, *rest, ("mode", _torch_mode(mode), "constant")))
            )
        named = kwargs(stride, ("padding", padding, 0), *rest, ("padding_mode", mode, "zeros"))
        return Call(f"nn.Conv{rank}d", args, named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        rank = len(attrs["kernel_size"])
        if attrs["padding"] == "tf_same":
            return (_helper(_SAME, "Conv{n}dSame", rank),)
        if isinstance(attrs["padding"][0], tuple):
            return (_helper(_PADDED, "PaddedConv{n}d", rank),)
        return ()

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        (x,) = ins
        padding, mode = attrs["padding"], attrs["padding_mode"]
        if padding == "tf_same":
            pads: list[tuple[int, int]] = []
            for size, k, s, d in zip(
                x.shape[2:], attrs["kernel_size"], attrs["stride"], attrs["dilation"], strict=True
            ):
                outputs = (size + s - 1) // s
                total = max(0, s * (outputs - 1) + d * (k - 1) + 1 - size)
                pads.append((total // 2, (total + 1) // 2))
            x, padding = F.pad(x, _flat(pads)), 0
        elif mode != "zeros" or isinstance(padding[0], tuple):
            x, padding = F.pad(x, _flat(self.pads(attrs)), _torch_mode(mode)), 0
        conv = _functional("conv", x.dim() - 2)
        shape = attrs["stride"], padding, attrs["dilation"], attrs["groups"]
        return conv(x, weights["weight"], weights.get("bias"), *shape)


@register
class ConvTranspose(Op):
    """Transposed convolution of [B, C, *spatial]: the gradient of `conv` with respect to its input."""

    name = "conv_transpose"
    params = (
        Param("out_channels", "int"),
        Param("kernel_size", "ints"),
        Param("stride", "ints", 1),
        Param("padding", "ints", 0),
        Param("output_padding", "ints", 0),
        Param("groups", "int", 1),
        Param("bias", "bool", True),
        Param("dilation", "ints", 1),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        rank = spatial_rank(self.name, x)
        attrs: dict[str, Any] = _sized(self.name, args, channels(self.name, x, cx), rank, cx)
        attrs["padding"] = per_dim(self.name, "padding", args["padding"], rank, least=0)
        attrs["output_padding"] = per_dim(self.name, "output_padding", args["output_padding"], rank, least=0)
        for extra, s, d in zip(attrs["output_padding"], attrs["stride"], attrs["dilation"], strict=True):
            if extra >= max(s, d):
                message = (
                    f"`{self.name}`: `output_padding` {extra} must be less than the stride {s} or the dilation {d}"
                )
                raise OpError("ARC0222", message, param="output_padding")
        return attrs

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return written_once(super().spell(attrs), "kernel_size", "stride", "padding", "output_padding", "dilation")

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, len(attrs["kernel_size"]))
        same_channels(self.name, x, attrs["in_channels"], cx)
        names = ("kernel_size", "stride", "padding", "output_padding", "dilation")
        spatial: list[Size] = []
        for size, k, s, p, extra, d in zip(x.shape[2:], *(attrs[name] for name in names), strict=True):
            grown = d * (k - 1) + extra + 1 - 2 * p
            if grown < 1:
                reason = f"`{self.name}`: padding {p} must leave something of the output"
                cx.at_least((size - 1) * s + grown, 1, reason, inputs=(0,))
            spatial.append((size - 1) * s + grown)
        return (TensorType((x.shape[0], attrs["out_channels"], *spatial), x.dtype),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out = attrs["out_channels"]
        shape = (attrs["in_channels"], out // attrs["groups"], *attrs["kernel_size"])
        weight = WeightDecl("weight", shape, attrs["init"])
        return (weight, WeightDecl("bias", (out,), attrs["bias_init"])) if attrs["bias"] else (weight,)

    def layers(self, attrs: Attrs) -> int:
        return 1

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        names = ("kernel_size", "stride", "padding", "dilation")
        return tuple(Window.spreading(k, s, p, d) for k, s, p, d in zip(*(attrs[n] for n in names), strict=True))

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), groups = ins, attrs["groups"]
        group, _ = cx.factor(x[1], (groups, attrs["in_channels"] // groups))
        outer = cx.free(attrs["out_channels"] // groups)
        spatial, kernel = cx.window(self.name, x[2:], outs[0].shape[2:], attrs["kernel_size"])
        every = cx.product(group, outer)
        weights = {"weight": (x[1], outer, *kernel), "bias": (every,)}
        return cx.says((x[0], every, *spatial), weights=weights, sizes={"out_channels": every, "groups": group})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (convolved(tape, (*ins, *weights.values()), outs[0], attrs),)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        per_input = attrs["out_channels"] // attrs["groups"] * prod(attrs["kernel_size"])
        return prod(ins[0].shape, start=per_input)

    def module(self, attrs: Attrs) -> Call:
        return Call(
            f"nn.ConvTranspose{len(attrs['kernel_size'])}d",
            (Lit(attrs["in_channels"]), Lit(attrs["out_channels"]), collapsed(attrs["kernel_size"])),
            kwargs(
                ("stride", attrs["stride"], 1),
                ("padding", attrs["padding"], 0),
                ("output_padding", attrs["output_padding"], 0),
                ("groups", attrs["groups"], 1),
                ("bias", attrs["bias"], True),
                ("dilation", attrs["dilation"], 1),
            ),
        )

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        conv = _functional("conv_transpose", ins[0].dim() - 2)
        return conv(ins[0], weights["weight"], weights.get("bias"), *(attrs[name] for name in names))
