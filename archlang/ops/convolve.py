"""Convolution with a kernel that is a wire: what a hypernetwork made, or what several layers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Attrs, TensorType
from archlang.ops._args import in_range, kwargs, per_dim, spatial_rank, window_fits, wires
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call
from archlang.ops.conv import convolved
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float
from archlang.shapes.dim import Size

__all__: list[str] = []


@register
class Convolve(Op):
    """Cross-correlation of [B, C, *spatial] with a wire, [O, C / groups, *kernel], and a bias [O]; as `conv` else."""

    name = "convolve"
    inputs = (Input("x"), Input("weight"), Input("bias", optional=True))
    params = (
        Param("stride", "ints", 1),
        Param("padding", "ints", 0),
        Param("dilation", "ints", 1),
        Param("groups", "int", 1),
    )

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Any]:
        x, weight = ins[:2]
        rank = spatial_rank(self.name, x)
        require_float(self.name, ins)
        if weight.rank != x.rank:
            message = f"`convolve`: the kernel of {x} has as many dimensions, and this is {weight}"
            raise OpError("ARC0310", message, inputs=(1,), help="its sizes are [out, channels / groups, *kernel]")
        if len(ins) > 2 and ins[2].rank != 1:
            raise OpError("ARC0310", f"`convolve`: a bias is [channels], and this is {ins[2]}", inputs=(2,))
        reason = "`convolve` needs to know the window of its kernel"
        attrs = dict(args)
        attrs["kernel_size"] = tuple(cx.known(size, reason, inputs=(1,)) for size in weight.shape[2:])
        for name, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
            attrs[name] = per_dim(self.name, name, args[name], rank, least=least)
        in_range(self.name, "groups", args["groups"], least=1)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x, weight = ins[:2]
        out, groups = weight.shape[0], attrs["groups"]
        cx.equal(
            x.shape[1], weight.shape[1] * groups, "channels of `convolve`'s input and of its kernel", inputs=(0, 1)
        )
        cx.divides(groups, out, "`convolve`: `groups` must divide the kernel's outputs", inputs=(1,), param="groups")
        for bias in ins[2:]:
            cx.equal(bias.shape[0], out, "outputs of `convolve`'s kernel and its bias", inputs=(1, 2))
        spatial: list[Size] = []
        names = ("kernel_size", "stride", "padding", "dilation")
        for size, k, s, p, d in zip(x.shape[2:], *(attrs[name] for name in names), strict=True):
            reach = d * (k - 1) + 1
            window_fits(self.name, size, reach, cx, slack=2 * p)
            spatial.append((size + 2 * p - reach) // s + 1)
        return (TensorType((x.shape[0], out, *spatial), x.dtype),)

    def layers(self, attrs: Attrs) -> int:
        return 1

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod((*outs[0].shape, *ins[1].shape[1:]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (convolved(tape, ins, outs[0], attrs),)

    def call(self, attrs: Attrs, inputs: int) -> Call:
        names = (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
        named = kwargs(*((name, attrs[name], default) for name, default in names))
        return Call(f"F.conv{len(attrs['kernel_size'])}d", wires(inputs), named)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        bias = ins[2] if len(ins) > 2 else None
        rest = (attrs["stride"], attrs["padding"], attrs["dilation"], False, (0,) * len(attrs["stride"]))
        return torch.convolution(ins[0], ins[1], bias, *rest, attrs["groups"])
