"""Changes of resolution: interpolation, sliding blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops._args import check_rank, collapsed, kwargs, per_dim, spatial_rank, window_fits, wires
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Get, In, Item, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float
from archlang.ops.window import Window
from archlang.shapes.dim import Dim, Size, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []

_RANKS = {
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3),
    "linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip
_PICKED = ("nearest", "nearest-exact", "area")
_ALIGNS = ("linear", "bilinear", "bicubic", "trilinear")


def scaled(size: Size, factor: float, cx: Context) -> Size:
    """floor(size * factor) as torch computes it, in float64.

    A symbolic size stays symbolic where the factor is a fraction whose float gives the exact floor for all sizes up to
    65,536; for others, such as 1/49 (49 * (1/49) is less than 1), the size must be known.
    """
    if isinstance(size, int):
        return int(size * factor)
    ratio = Fraction(factor).limit_denominator(1000)
    exact = ratio if float(ratio) == factor else Fraction(factor)
    p, q = exact.numerator, exact.denominator
    dyadic = q & (q - 1) == 0  # then the product is exact
    if dyadic or all(int(n * factor) == n // q * p for n in range(q, 65537, q)):  # else rounding crosses no integer
        return (size * p) // q
    return int(cx.known(size, f"`interpolate` by {factor}, whose rounding depends on the size", inputs=(0,)) * factor)


def _is_symbolic(values: Sequence[Any] | None) -> bool:
    return values is not None and any(isinstance(value, Dim) for value in values)


@register
class Interpolate(Op):
    """Resizes [B, C, ...] to `size`, by `scale_factor`, or to the spatial size of a second wire, `like`."""

    name = "interpolate"
    inputs = (Input("x"), Input("like", optional=True))
    params = (
        Param("size", "sizes?", None),
        Param("scale_factor", "floats?", None),
        Param("mode", "str", "nearest", choices=tuple(_RANKS)),
        Param("align_corners", "bool?", None),
        Param("recompute_scale_factor", "bool?", None),
        Param("antialias", "bool", False),
    )

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        if attrs["scale_factor"] is not None and set(attrs["scale_factor"]) != {1}:
            return False  # sizes may agree where places do not
        return ins[0] == outs[0] and attrs["mode"] in _PICKED  # others add 0 * x, which is NaN where x is infinite

    def moves(self, attrs: Attrs) -> bool:
        return attrs["mode"] in _PICKED[:2]

    def averages(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        rank = spatial_rank(self.name, ins[0])
        attrs: dict[str, Any] = dict(args)
        given = [name for name in ("size", "scale_factor") if args[name] is not None]
        given += ["like"] * (len(ins) > 1)
        if len(given) != 1:
            have = f"has {' and '.join(f'`{name}`' for name in given)}" if given else "has none of them"
            message = f"`interpolate` takes one of `size`, `scale_factor` and a second wire `like`, and {have}"
            raise OpError("ARC0222", message, param=given[0] if given else None)
        for name in given:
            if name != "like":
                attrs[name] = per_dim(self.name, name, args[name], rank, least=1 if name == "size" else None)
        if attrs["scale_factor"] is not None and min(attrs["scale_factor"]) <= 0:
            raise OpError("ARC0220", "`interpolate`: `scale_factor` must be greater than 0", param="scale_factor")
        self._check_mode(attrs, rank)
        return attrs

    def _check_mode(self, attrs: Attrs, rank: int) -> None:
        mode = attrs["mode"]
        if rank not in _RANKS[mode]:
            fitting = ", ".join(f'"{name}"' for name, ranks in _RANKS.items() if rank in ranks)
            message = f'`interpolate`: mode "{mode}" is not for {rank} spatial dimension{"s" * (rank != 1)}'
            raise OpError("ARC0222", message, param="mode", inputs=(0,), help=f"use one of {fitting}")
        if attrs["align_corners"] is not None and mode not in _ALIGNS:
            message = f'`interpolate`: `align_corners` has no meaning in mode "{mode}"'
            raise OpError("ARC0222", message, param="align_corners", help="leave it out")
        if attrs["antialias"] and mode not in ("bilinear", "bicubic"):
            message = '`interpolate`: `antialias` is for the modes "bilinear" and "bicubic"'
            raise OpError("ARC0222", message, param="antialias")
        if attrs["recompute_scale_factor"] and attrs["scale_factor"] is None:
            message = "`interpolate`: `recompute_scale_factor` needs `scale_factor`"
            raise OpError("ARC0222", message, param="recompute_scale_factor")

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x = ins[0]
        if len(ins) > 1:
            if ins[1].rank != x.rank:
                message = f"`interpolate` needs `like` of the input's rank, not {ins[1]} for {x}"
                raise OpError("ARC0310", message, inputs=(0, 1))
            return (TensorType((*x.shape[:2], *ins[1].shape[2:]), x.dtype),)
        given = attrs["size"] or attrs["scale_factor"]
        check_rank(self.name, x, len(given))
        if attrs["size"]:
            return (TensorType((*x.shape[:2], *given), x.dtype),)
        spatial = []
        for size, factor in zip(x.shape[2:], given, strict=True):
            result = scaled(size, factor, cx)
            if factor < 1:
                reason = f"`interpolate` by {factor} must leave something of {size_str(size)}"
                cx.at_least(result, 1, reason, inputs=(0,))
            spatial.append(result)
        return (TensorType((*x.shape[:2], *spatial), x.dtype),)

    def _rest(self, attrs: Attrs) -> tuple[Kw, ...]:
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
        return kwargs(*((p.name, attrs[p.name], p.default) for p in self.params if p.name in names))

    def module(self, attrs: Attrs) -> Call | None:
        to_like = attrs["size"] is None and attrs["scale_factor"] is None
        if to_like or attrs["antialias"] or _is_symbolic(attrs["size"]):
            return None  # nn.Upsample has no place for them
        return Call("nn.Upsample", (), self._rest(attrs))

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        taps = {"linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}.get(attrs["mode"], 0)
        if attrs["mode"] == "area":
            return prod(ins[0].shape, start=1)
        return prod(outs[0].shape, start=2 * taps)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        factors = attrs["scale_factor"]
        if factors is None or any(factor != int(factor) for factor in factors) or attrs["align_corners"]:
            return None  # the grid depends on the size
        if attrs["mode"] in ("nearest", "nearest-exact", "area"):
            return tuple(Window.enlarging(int(factor)) for factor in factors)
        return tuple(Window.interpolating(int(factor), 2 if attrs["mode"] == "bicubic" else 1) for factor in factors)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        x, *like = ins
        spatial, _ = cx.window(self.name, (*x[2:], *(axis for y in like for axis in y[2:])), outs[0].shape[2:])
        return cx.says((*x[:2], *spatial))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x, *_), shape = ins, outs[0].shape
        if attrs["mode"] == "area":  # adaptive pooling
            return (tape.pool(x, shape, "in" if any(size != 1 for size in shape[2:]) else ""),)
        return (tape.apply((x,), shape, x.dtype, last=x.channels_last),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        named = self._rest(attrs)
        if inputs > 1:
            spatial = Item(Get(In(1), "shape"), ((Lit(2), None, None),))
            named = (Kw("size", spatial), *(kw for kw in named if kw.name != "size"))
        return Call("F.interpolate", (In(0),), (*named, *kwargs(("antialias", attrs["antialias"], False))))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        size = ins[1].shape[2:] if len(ins) > 1 else attrs["size"]
        names = ("scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
        return F.interpolate(ins[0], size, *(attrs[name] for name in names))


_WINDOW = (("dilation", 1), ("padding", 0), ("stride", 1))


def _named(attrs: Attrs) -> tuple[Kw, ...]:
    return kwargs(*((name, attrs[name], default) for name, default in _WINDOW))


def _window(op: str, args: Mapping[str, Attr]) -> dict[str, Attr]:
    least = {"kernel_size": 1, "dilation": 1, "padding": 0, "stride": 1}
    return {name: per_dim(op, name, args[name], 2, least=bound) for name, bound in least.items()}


def _positions(op: str, sizes: Sequence[Size], attrs: Attrs, cx: Context) -> Size:
    """How many windows an image has."""
    total: Size = 1
    names = ("kernel_size", "dilation", "padding", "stride")
    for size, k, d, p, s in zip(sizes, *(attrs[name] for name in names), strict=True):
        reach = d * (k - 1) + 1
        window_fits(op, size, reach, cx, slack=2 * p)
        total = total * ((size + 2 * p - reach) // s + 1)
    return total


@register
class Unfold(Op):
    """The sliding windows of an image as columns: [B, C, H, W] -> [B, C * kernel, windows]."""

    name = "unfold"
    params = (
        Param("kernel_size", "ints"),
        Param("dilation", "ints", 1),
        Param("padding", "ints", 0),
        Param("stride", "ints", 1),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        spatial_rank(self.name, ins[0], (2,))
        return _window(self.name, args)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        check_rank(self.name, x, 2)
        columns = _positions(self.name, x.shape[2:], attrs, cx)
        return (TensorType((x.shape[0], x.shape[1] * prod(attrs["kernel_size"]), columns), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        (windows,), kernel = cx.window(self.name, x[2:], outs[0].shape[2:], attrs["kernel_size"])
        return cx.says((x[0], cx.product(x[1], *kernel), windows))

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.Unfold", (collapsed(attrs["kernel_size"]),), _named(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.unfold", (In(0), collapsed(attrs["kernel_size"])), _named(attrs))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.unfold(ins[0], *(attrs[name] for name in ("kernel_size", "dilation", "padding", "stride")))


@register
class Fold(Op):
    """Adds columns up into an image, the transpose of `unfold`: [B, C * kernel, windows] -> [B, C, H, W]."""

    name = "fold"
    params = (Param("output_size", "sizes"), *Unfold.params)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        if x.rank != 3:
            raise OpError("ARC0310", f"`fold` takes [B, C * kernel, windows], and this is {x}", inputs=(0,))
        require_float(self.name, ins)
        sizes = per_dim(self.name, "output_size", args["output_size"], 2, least=1)
        return {"output_size": sizes, **_window(self.name, args)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        area = prod(attrs["kernel_size"])
        fewer = cx.divides(area, x.shape[1], f"`fold`: a window of {area} must divide dimension 1", inputs=(0,))
        columns = _positions(self.name, attrs["output_size"], attrs, cx)
        cx.equal(x.shape[2], columns, "`fold`'s columns and the windows of `output_size`", inputs=(0,))
        return (TensorType((x.shape[0], fewer, *attrs["output_size"]), x.dtype),)

    def _args(self, attrs: Attrs) -> tuple[Lit, ...]:
        return collapsed(attrs["output_size"]), collapsed(attrs["kernel_size"])

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        inner, *kernel = cx.factor(x[1], (outs[0].shape[1], *attrs["kernel_size"]))
        spatial, _ = cx.window(self.name, (x[2], *kernel), outs[0].shape[2:])
        return cx.says((x[0], inner, *spatial))

    def module(self, attrs: Attrs) -> Call | None:
        return None if _is_symbolic(attrs["output_size"]) else Call("nn.Fold", self._args(attrs), _named(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.fold", (*wires(inputs), *self._args(attrs)), _named(attrs))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        names = ("output_size", "kernel_size", "dilation", "padding", "stride")
        return F.fold(ins[0], *(attrs[name] for name in names))
