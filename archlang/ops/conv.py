"""Convolutions over any number of spatial dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Kw, Lit
from archlang.shapes.dim import Size


def spatial_rank(op: str, x: TensorType, ranks: tuple[int, ...] = (1, 2, 3)) -> int:
    """Number of spatial dimensions of a [B, C, ...] input."""
    if x.rank - 2 not in ranks:
        raise OpError("ARC0310", f"`{op}` takes [B, C, ...] with {ranks} spatial dimensions, not {x}", inputs=(0,))
    return x.rank - 2


def per_dim(op: str, name: str, value: Attr, rank: int) -> tuple[int, ...]:
    """An int or a list of ints -> one int per spatial dimension."""
    if isinstance(value, tuple):
        if len(value) != rank:
            raise OpError("ARC0311", f"`{op}`: {name} has {len(value)} entries for {rank} dimensions", param=name)
        return value
    return (value,) * rank


def collapsed(value: tuple[int, ...]) -> Lit:
    """(3, 3) -> 3: how one writes it by hand."""
    return Lit(value[0] if len(set(value)) == 1 else value)


@register
class Conv(Op):
    """Cross-correlation of [B, C, *spatial] with a learned kernel; in_channels is inferred.

    DRAFT for the shape of an entry: string / asymmetric padding and init are to be completed.
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
        attrs = dict(args)
        attrs["in_channels"] = cx.known(x.shape[1], "the channels of `conv`'s input", inputs=(0,))
        for name in ("kernel_size", "stride", "padding", "dilation"):
            attrs[name] = per_dim(self.name, name, args[name], rank)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        cx.divides(attrs["groups"], attrs["in_channels"], "groups must divide in_channels", param="groups")
        spatial: list[Size] = []
        for size, k, s, p, d in zip(
            x.shape[2:], attrs["kernel_size"], attrs["stride"], attrs["padding"], attrs["dilation"]
        ):
            reach = d * (k - 1) + 1
            cx.at_least(size + 2 * p, reach, "the kernel must fit into the padded input", inputs=(0,))
            spatial.append((size + 2 * p - reach) // s + 1)
        return (TensorType((x.shape[0], attrs["out_channels"], *spatial), x.dtype),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out = attrs["out_channels"]
        shape = (out, attrs["in_channels"] // attrs["groups"], *attrs["kernel_size"])
        weight = WeightDecl("weight", shape, attrs["init"])
        return (weight, WeightDecl("bias", (out,), attrs["bias_init"])) if attrs["bias"] else (weight,)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        per_output = attrs["in_channels"] // attrs["groups"] * prod(attrs["kernel_size"])
        return prod(outs[0].shape, start=per_output)

    def module(self, attrs: Attrs) -> Call:
        rank = len(attrs["kernel_size"])
        return Call(
            f"nn.Conv{rank}d",
            (Lit(attrs["in_channels"]), Lit(attrs["out_channels"]), collapsed(attrs["kernel_size"])),
            (
                Kw("stride", collapsed(attrs["stride"]), 1),
                Kw("padding", collapsed(attrs["padding"]), 0),
                Kw("dilation", collapsed(attrs["dilation"]), 1),
                Kw("groups", Lit(attrs["groups"]), 1),
                Kw("bias", Lit(attrs["bias"]), True),
                Kw("padding_mode", Lit(attrs["padding_mode"]), "zeros"),
            ),
        )

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[ins[0].dim() - 2]
        return conv(
            ins[0], weights["weight"], weights.get("bias"),
            attrs["stride"], attrs["padding"], attrs["dilation"], attrs["groups"],
        )  # fmt: skip
