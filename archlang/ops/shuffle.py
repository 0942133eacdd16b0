"""Patches of pixels moved into channels and back, and channels among groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attrs, TensorType
from archlang.ops._args import in_range
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register, registry
from archlang.ops.code import Call, Expr, In, Lit
from archlang.ops.window import Window
from archlang.shapes.dim import Size, exact_div

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def _last_three(op: str, x: TensorType) -> None:
    if x.rank < 3:
        raise OpError("ARC0310", f"`{op}` takes [..., C, H, W], and this is {x}", inputs=(0,))


@register
class PixelShuffle(Op):
    """[..., C * r * r, H, W] -> [..., C, H * r, W * r]."""

    name = "pixel_shuffle"
    memory = "format"
    params = (Param("upscale_factor", "int"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["upscale_factor"] == 1)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("pixel_unshuffle", {"downscale_factor": attrs["upscale_factor"]}), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        return registry()["pixel_unshuffle"].infer(outs, {"downscale_factor": args["upscale_factor"]}, Context())

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        return (Window.enlarging(attrs["upscale_factor"]),) * 2

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        _last_three(self.name, x)
        r = attrs["upscale_factor"]
        in_range(self.name, "upscale_factor", r, least=1)
        *lead, c, h, w = x.shape
        fewer = cx.divides(r * r, c, f"`pixel_shuffle` by {r} divides the channels by {r * r}", inputs=(0,))
        return (TensorType((*lead, fewer, h * r, w * r), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        *lead, c, h, w = ins[0]
        size = outs[0].shape[-3]
        kept, *moved = cx.factor(c, (size, attrs["upscale_factor"], attrs["upscale_factor"]))
        spatial, _ = cx.window(self.name, (h, w, *moved), outs[0].shape[-2:])
        return cx.says((*lead, kept, *spatial))

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.PixelShuffle", (Lit(attrs["upscale_factor"]),))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.pixel_shuffle", (In(0), Lit(attrs["upscale_factor"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        r = attrs["upscale_factor"]
        *lead, c, h, w = x.shape
        blocks = x.reshape(*lead, c // (r * r), r, r, h, w)
        n = len(lead) + 1
        order = (*range(n), n + 2, n, n + 3, n + 1)
        return blocks.permute(order).reshape(*lead, c // (r * r), h * r, w * r)


@register
class PixelUnshuffle(Op):
    """[..., C, H * r, W * r] -> [..., C * r * r, H, W]."""

    name = "pixel_unshuffle"
    memory = "format"
    params = (Param("downscale_factor", "int"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["downscale_factor"] == 1)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("pixel_shuffle", {"upscale_factor": attrs["downscale_factor"]}), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        return registry()["pixel_shuffle"].infer(outs, {"upscale_factor": args["downscale_factor"]}, Context())

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        return (Window.sliding(attrs["downscale_factor"], attrs["downscale_factor"], 0, 1),) * 2

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        _last_three(self.name, x)
        r = attrs["downscale_factor"]
        in_range(self.name, "downscale_factor", r, least=1)
        *lead, c, h, w = x.shape
        low, narrow = (
            cx.divides(r, size, f"`pixel_unshuffle` by {r} divides the {what}", inputs=(0,), param="downscale_factor")
            for size, what in ((h, "height"), (w, "width"))
        )
        return (TensorType((*lead, c * r * r, low, narrow), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        *lead, c, h, w = ins[0]
        spatial, patch = cx.window(self.name, (h, w), outs[0].shape[-2:], (attrs["downscale_factor"],) * 2)
        return cx.says((*lead, cx.product(c, *patch), *spatial))

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.PixelUnshuffle", (Lit(attrs["downscale_factor"]),))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.pixel_unshuffle", (In(0), Lit(attrs["downscale_factor"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        r = attrs["downscale_factor"]
        *lead, c, h, w = x.shape
        blocks = x.reshape(*lead, c, h // r, r, w // r, r)
        n = len(lead) + 1
        return blocks.permute(*range(n), n + 1, n + 3, n, n + 2).reshape(*lead, c * r * r, h // r, w // r)


@register
class ChannelShuffle(Op):
    """Interleaves `groups` groups of channels."""

    name = "channel_shuffle"
    local, memory = True, "format"
    params = (Param("groups", "int"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return attrs["groups"] in (1, ins[0].shape[1])

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        count = ins[0].shape[1]
        if not isinstance(count, int):
            return None
        return Bijection(inverse=(self.name, {"groups": count // attrs["groups"]}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.rank < 3:
            raise OpError("ARC0310", f"`{self.name}` takes [B, C, ...], and this is {x}", inputs=(0,))
        in_range(self.name, "groups", attrs["groups"], least=1)
        cx.divides(attrs["groups"], x.shape[1], "`channel_shuffle`: `groups` must divide the channels", inputs=(0,))
        return (x,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), groups = ins, attrs["groups"]
        count = exact_div(outs[0].shape[1], groups)
        if count is None:
            return cx.opaque(self.name, ins, outs)
        group, inner = cx.factor(x[1], (groups, count))
        return cx.says((x[0], cx.product(inner, group), *x[2:]), sizes={"groups": group})

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.ChannelShuffle", (Lit(attrs["groups"]),))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.channel_shuffle", (In(0), Lit(attrs["groups"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].unflatten(1, (attrs["groups"], -1)).transpose(1, 2).flatten(1, 2)


class _ByBlock(Op):
    """Moves block x block patches between space and channels; channel c of a patch element (i, j) is c*block² + i*block
    + j, as in nn.PixelShuffle."""

    memory = "format"
    params = (Param("block", "int"),)
    function: ClassVar[str]
    other: ClassVar[str]
    verb: ClassVar[str]  # of torch's argument

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["block"] == 1)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.other, attrs), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        return registry()[self.other].infer(outs, args, Context())

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return registry()[self.function].channels(cx, ins, outs, {f"{self.verb}scale_factor": attrs["block"]})

    def _shape(self, x: TensorType, block: int, cx: Context) -> tuple[Size, ...]:
        raise NotImplementedError

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.rank < 3:
            raise OpError("ARC0353", f"`{self.name}` takes [B, C, H, W], not {x}", inputs=(0,))
        if attrs["block"] < 1:
            raise OpError("ARC0242", f"`{self.name}`: block is {attrs['block']}, not positive", param="block")
        return (TensorType(self._shape(x, attrs["block"], cx), x.dtype),)

    def module(self, attrs: Attrs) -> Call:
        return Call("nn." + self.function.title().replace("_", ""), (Lit(attrs["block"]),))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(f"F.{self.function}", (In(0), Lit(attrs["block"])))


@register
class SpaceToDepth(_ByBlock):
    """[B, C, H, W] -> [B, C * block², H / block, W / block], as nn.PixelUnshuffle."""

    name, function, other, verb = "space_to_depth", "pixel_unshuffle", "depth_to_space", "down"

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        return (Window.sliding(attrs["block"], attrs["block"], 0, 1),) * 2

    def _shape(self, x: TensorType, block: int, cx: Context) -> tuple[Size, ...]:
        *batch, channels, height, width = x.shape
        h, w = (
            cx.divides(block, size, f"`space_to_depth`: block {block} must divide the {side} of {x}", inputs=(0,))
            for side, size in (("height", height), ("width", width))
        )
        return (*batch, channels * (block * block), h, w)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,), b = ins, attrs["block"]
        parts = torch.stack([x[..., i::b, j::b] for i in range(b) for j in range(b)], dim=-3)
        return parts.flatten(-4, -3)


@register
class DepthToSpace(_ByBlock):
    """[B, C * block², H, W] -> [B, C, H * block, W * block], as nn.PixelShuffle; the inverse of space_to_depth."""

    name, function, other, verb = "depth_to_space", "pixel_shuffle", "space_to_depth", "up"

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        return (Window.enlarging(attrs["block"]),) * 2

    def _shape(self, x: TensorType, block: int, cx: Context) -> tuple[Size, ...]:
        *batch, channels, height, width = x.shape
        what = f"`depth_to_space`: block² = {block * block} must divide the channels of {x}"
        return (*batch, cx.divides(block * block, channels, what, inputs=(0,)), height * block, width * block)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,), b = ins, attrs["block"]
        *batch, channels, height, width = x.shape
        out = x.new_empty(*batch, channels // (b * b), height * b, width * b)
        for i in range(b):
            for j in range(b):
                out[..., i::b, j::b] = x[..., i * b + j :: b * b, :, :]
        return out
