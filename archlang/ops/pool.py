"""Pooling: maximum, average, p-norm; with a given window, to a given size, or over all positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops._args import check_rank, collapsed, in_range, kwargs, per_dim, spatial_rank, spelled, window_fits
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import numel
from archlang.ops.window import Window
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def pooled(op: str, size: Size, k: int, s: int, p: int, d: int, ceil_mode: bool, cx: Context) -> Size:
    """torch's output size: with ceil_mode, a last window that would start in the padding after the input is dropped.

    That is min(ceil((size + 2p - reach) / s), ceil((size + p) / s) - 1) + 1, and which of the two is smaller does not
    depend on the size.
    """
    reach = d * (k - 1) + 1
    if not ceil_mode:
        window_fits(op, size, reach, cx, slack=2 * p)
        return (size + 2 * p - reach) // s + 1
    window_fits(op, size, reach, cx, slack=2 * p + s - 1)
    if p + s <= reach:
        return (size + 2 * p - reach + s - 1) // s + 1
    return (size + p - 1) // s + 1


class _Pool(Op):
    """A window that slides over the spatial dimensions."""

    torch_name: ClassVar[str]  # "Max": nn.MaxPool2d and F.max_pool2d
    saves = "in"

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        rank = spatial_rank(self.name, ins[0])
        attrs: dict[str, Any] = dict(args)
        attrs["kernel_size"] = per_dim(self.name, "kernel_size", args["kernel_size"], rank, least=1)
        stride = attrs["kernel_size"] if args["stride"] is None else args["stride"]
        attrs["stride"] = per_dim(self.name, "stride", stride, rank, least=1)
        attrs["padding"] = per_dim(self.name, "padding", args.get("padding", 0), rank, least=0)
        attrs["dilation"] = per_dim(self.name, "dilation", args.get("dilation", 1), rank, least=1)
        for k, p, d in zip(attrs["kernel_size"], attrs["padding"], attrs["dilation"], strict=True):
            reach = d * (k - 1) + 1
            if p > reach // 2:
                message = f"`{self.name}`: padding {p} is more than half of the window, {reach}"
                raise OpError("ARC0222", message, param="padding", help="pad the input itself for more")
        return attrs

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return spelled(super().spell(attrs), "kernel_size", "stride", "padding", "dilation")

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, len(attrs["kernel_size"]))
        windows = zip(*(attrs[n] for n in ("kernel_size", "stride", "padding", "dilation")), strict=True)
        sizes = [
            pooled(self.name, size, k, s, p, d, attrs["ceil_mode"], cx)
            for size, (k, s, p, d) in zip(x.shape[2:], windows, strict=True)
        ]
        if len(sizes) == 3 and not self.maximum:  # torch's avg_pool3d has it fit without its padding
            for size, k in zip(x.shape[2:], attrs["kernel_size"], strict=True):
                window_fits(self.name, size, k, cx)
        return (TensorType((*x.shape[:2], *sizes), x.dtype),)

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=prod(attrs["kernel_size"]))

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        names = ("kernel_size", "stride", "padding", "dilation")
        return tuple(starmap(Window.sliding, zip(*(attrs[n] for n in names), strict=True)))

    def named(self, attrs: Attrs) -> tuple[Kw, ...]:
        """The keyword arguments after the kernel size, for the class and the function alike."""
        stride = () if attrs["stride"] == attrs["kernel_size"] else (Kw("stride", collapsed(attrs["stride"])),)
        given = {param.name for param in self.params}
        rest = (("padding", 0), ("dilation", 1), ("ceil_mode", False))
        return (*stride, *kwargs(*((name, attrs[name], default) for name, default in rest if name in given)))

    def leading(self, attrs: Attrs) -> tuple[Lit, ...]:
        return (collapsed(attrs["kernel_size"]),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        spatial, _ = cx.window(self.name, x[2:], outs[0].shape[2:])
        return cx.says((*x[:2], *spatial))

    def module(self, attrs: Attrs) -> Call:
        rank = len(attrs["kernel_size"])
        return Call(f"nn.{self.torch_name}Pool{rank}d", self.leading(attrs), self.named(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        rank = len(attrs["kernel_size"])
        function = f"F.{self.torch_name.lower()}_pool{rank}d"
        return Call(function, (In(0), *self.leading(attrs)), self.named(attrs))


def _is_point(attrs: Attrs) -> bool:
    """Whether each window is one element, and each element has one."""
    names = (("kernel_size", 1), ("stride", 1), ("padding", 0))
    return all(set(attrs[name]) == {value} for name, value in names)


def _function(name: str, x: Any) -> Any:
    import torch.nn.functional as F

    return getattr(F, f"{name}{x.dim() - 2}d")


@register
class MaxPool(_Pool):
    """Maximum of each window."""

    name = "maxpool"
    torch_name = "Max"
    maximum = True
    params = (
        Param("kernel_size", "ints"),
        Param("stride", "ints?", None),
        Param("padding", "ints", 0),
        Param("dilation", "ints", 1),
        Param("ceil_mode", "bool", False),
    )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        y = tape.pool(ins[0], outs[0].shape, volumes=True)
        tape.extra(y, y.shape, "int64")
        return (y,)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return _is_point(attrs)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return _function("max_pool", ins[0])(ins[0], *(attrs[name] for name in names))


@register
class AvgPool(_Pool):
    """Mean of each window; count_include_pad says whether padding counts as zeros."""

    name = "avgpool"
    torch_name = "Avg"
    params = (
        Param("kernel_size", "ints"),
        Param("stride", "ints?", None),
        Param("padding", "ints", 0),
        Param("ceil_mode", "bool", False),
        Param("count_include_pad", "bool", True),
        Param("divisor_override", "int?", None),
    )

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return _is_point(attrs) and attrs["divisor_override"] in (None, 1)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        attrs = super().resolve(ins, args, cx)
        if args["divisor_override"] is not None:
            in_range(self.name, "divisor_override", args["divisor_override"], least=1)
            if ins[0].rank == 3:
                help = "multiply the result instead"
                message = "`avgpool`: torch has no `divisor_override` over one dimension"
                raise OpError("ARC0222", message, param="divisor_override", help=help)
        return attrs

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.pool(ins[0], outs[0].shape),)

    def averages(self, attrs: Attrs) -> bool:
        padded = any(attrs["padding"]) and attrs["count_include_pad"]
        return not padded and attrs["divisor_override"] is None

    def named(self, attrs: Attrs) -> tuple[Kw, ...]:
        own = kwargs(("count_include_pad", attrs["count_include_pad"], True))
        if attrs["divisor_override"] is not None:
            own += (Kw("divisor_override", Lit(attrs["divisor_override"])),)
        return super().named(attrs) + own

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        given = (attrs[name] for name in names if attrs[name] is not None)
        return _function("avg_pool", ins[0])(ins[0], *given)


@register
class LPPool(_Pool):
    """p-norm of each window, p = norm_type."""

    name = "lppool"
    torch_name = "LP"
    params = (
        Param("norm_type", "float"),
        Param("kernel_size", "ints"),
        Param("stride", "ints?", None),
        Param("ceil_mode", "bool", False),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        if args["norm_type"] == 0:
            raise OpError("ARC0220", "`lppool`: `norm_type` must not be 0", param="norm_type")
        return super().resolve(ins, args, cx)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        y = tape.pool(tape.pointwise(ins, x.shape, x.dtype, "in"), outs[0].shape)  # means of powers
        for _ in range(4):  # their mean, its sign, its absolute value, the sum
            tape.extra(y, y.shape, y.dtype)
        return (tape.pointwise((y,), y.shape, y.dtype),)

    def leading(self, attrs: Attrs) -> tuple[Lit, ...]:
        return (Lit(attrs["norm_type"]), collapsed(attrs["kernel_size"]))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        kernel, stride = attrs["kernel_size"], attrs["stride"]
        if len(kernel) == 1:  # F.lp_pool1d takes a number
            kernel, stride = kernel[0], stride[0]
        return _function("lp_pool", x)(x, attrs["norm_type"], kernel, stride, attrs["ceil_mode"])


def _adaptive(tape: Tape, x: Ghost, out: TensorType, kind: str) -> Ghost:
    """torch's adaptive pooling; to one mean it is a plain reduction."""
    mean = kind == "Avg" and all(size == 1 for size in out.shape[2:])
    y = tape.pool(x, out.shape, "" if mean else "in", volumes=mean)
    if kind == "Max":
        tape.extra(y, y.shape, "int64")
    return y


class _Adaptive(Op):
    """Windows of nearly equal size that cover the input, `output_size` of them; none keeps a dimension's size."""

    params = (Param("output_size", "any"),)
    torch_name: ClassVar[str]

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return ins[0] == outs[0]  # each window is one element

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(ins[0].shape)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        spatial, _ = cx.window(self.name, x[2:], outs[0].shape[2:])
        return cx.says((*x[:2], *spatial))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (_adaptive(tape, ins[0], outs[0], self.torch_name),)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        rank = spatial_rank(self.name, ins[0])
        sizes = per_dim(self.name, "output_size", args["output_size"], rank, least=1)
        for size in sizes:
            if isinstance(size, bool | float | str):
                help = "give a number, or a list with a number or `none` for each dimension"
                raise OpError("ARC0221", f"`{self.name}`: `output_size` is {size!r}", param="output_size", help=help)
        return {"output_size": sizes}

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return spelled(super().spell(attrs), "output_size")

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, len(attrs["output_size"]))
        pairs = zip(x.shape[2:], attrs["output_size"], strict=True)
        return (TensorType((*x.shape[:2], *(size if out is None else out for size, out in pairs)), x.dtype),)

    def module(self, attrs: Attrs) -> Call | None:
        sizes = attrs["output_size"]
        if not all(size is None or isinstance(size, int) for size in sizes):
            return None  # a symbolic size is known in `forward` only
        return Call(f"nn.Adaptive{self.torch_name}Pool{len(sizes)}d", (collapsed(sizes),))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        sizes = attrs["output_size"]
        function = f"F.adaptive_{self.torch_name.lower()}_pool{len(sizes)}d"
        return Call(function, (In(0), collapsed(sizes)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        sizes = [out or size for size, out in zip(x.shape[2:], attrs["output_size"], strict=True)]
        return _function(f"adaptive_{self.torch_name.lower()}_pool", x)(x, sizes)


@register
class AdaptiveAvgPool(_Adaptive):
    """Means of nearly equal windows."""

    name = "adaptive_avgpool"
    torch_name = "Avg"

    def averages(self, attrs: Attrs) -> bool:
        return True


@register
class AdaptiveMaxPool(_Adaptive):
    """Maxima of nearly equal windows."""

    name = "adaptive_maxpool"
    torch_name = "Max"
    maximum = True


class _Global(Op):
    """[B, C, ...] -> [B, C], or [B, C, 1, ...] with keepdim."""

    params = (Param("keepdim", "bool", False),)
    torch_name: ClassVar[str]

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return ins[0] == outs[0]

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(ins[0].shape)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.hold(ins[0][2:], f"`{self.name}` is taken over it")
        return cx.says((*ins[0][:2], *(cx.free(1) for _ in outs[0].shape[2:])))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        ones = TensorType((*outs[0].shape[:2], *(1,) * attrs["spatial"]), outs[0].dtype)
        y = _adaptive(tape, ins[0], ones, self.torch_name)
        return (y if attrs["keepdim"] else tape.flatten(y, 1),)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        return {**args, "spatial": spatial_rank(self.name, ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, attrs["spatial"])
        kept = (1,) * attrs["spatial"] if attrs["keepdim"] else ()
        return (TensorType((*x.shape[:2], *kept), x.dtype),)

    def module(self, attrs: Attrs) -> Call | None:
        if not attrs["keepdim"]:
            return None  # torch has no class that flattens as well
        return Call(f"nn.Adaptive{self.torch_name}Pool{attrs['spatial']}d", (Lit(1),))

    def adaptive(self, attrs: Attrs) -> Expr:
        return Call(f"F.adaptive_{self.torch_name.lower()}_pool{attrs['spatial']}d", (In(0), Lit(1)))


@register
class GlobalAvgPool(_Global):
    """Mean over all positions. Bit for bit torch's AdaptiveAvgPool(1), which takes the same mean."""

    name = "global_avgpool"
    torch_name = "Avg"

    def averages(self, attrs: Attrs) -> bool:
        return True

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["keepdim"]:
            return self.adaptive(attrs)
        return Method(In(0), "mean", (Lit(tuple(range(2, 2 + attrs["spatial"]))),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].mean(tuple(range(2, ins[0].dim())), keepdim=attrs["keepdim"])


@register
class GlobalMaxPool(_Global):
    """Maximum over all positions. Of equal maxima the first takes the gradient, as in torch's pooling."""

    name = "global_maxpool"
    torch_name = "Max"
    maximum = True

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["keepdim"]:
            return self.adaptive(attrs)
        return Method(self.adaptive(attrs), "flatten", (Lit(1),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        peak = x.flatten(2).max(2).values
        return peak.unflatten(1, (-1, *(1,) * attrs["spatial"])) if attrs["keepdim"] else peak
