"""Changes of shape that keep every element: flatten, reshape, permute, squeeze, expand and their kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register, registry
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, as_dims, dim_of, numel
from archlang.ops.window import Window
from archlang.shapes.dim import Size, size_str

if TYPE_CHECKING:
    from archlang.ops.channels import Axes, Tied, Ties

__all__ = ["reshaped"]


def _sizes_str(sizes: Sequence[Size]) -> str:
    return "[" + ", ".join(size_str(s) for s in sizes) + "]"


def check_sizes(op: str, sizes: Sequence[Size], *, free: bool, param: str = "shape") -> None:
    """Sizes an author wrote: none negative, at most one -1 (none where `free` is false)."""
    for size in sizes:
        if isinstance(size, int) and (size < -1 or (size == -1 and not free)):
            raise OpError("ARC0354", f"`{op}`: {size} is not a size", param=param)
    if sum(1 for s in sizes if s == -1) > 1:
        raise OpError("ARC0354", f"`{op}`: {_sizes_str(sizes)} has more than one -1", param=param)


def reshaped(op: str, total: Size, sizes: Sequence[Size], source: str, cx: Context, param: str) -> tuple[Size, ...]:
    """`sizes` with its -1 worked out such that the product is `total`; `source` names what is reshaped."""
    check_sizes(op, sizes, free=True, param=param)
    rest = numel([s for s in sizes if s != -1])
    wanted = _sizes_str(sizes)
    if -1 not in sizes:
        clash = f"`{op}`: {source} has {size_str(total)} elements and {wanted} has {size_str(rest)}"
        agree(cx, total, rest, f"`{op}` to {wanted} keeps the number of elements", clash, inputs=(0,), code="ARC0355")
        return tuple(sizes)
    if rest == 0:
        raise OpError("ARC0354", f"`{op}`: the -1 of {wanted} is undetermined beside a 0", param=param)
    quotient = total // rest
    left_over = total - quotient * rest
    if isinstance(left_over, int) and left_over != 0:
        message = f"`{op}`: {size_str(rest)}, the product of the sizes of {wanted}, does not divide the "
        raise OpError("ARC0355", f"{message}{size_str(total)} elements of {source}", param=param, inputs=(0,))
    what = f"`{op}`: the sizes of {wanted} must divide the number of elements of {source}"
    cx.divides(rest, total, what, inputs=(0,), param=param)
    return tuple(quotient if s == -1 else s for s in sizes)


@register
class Flatten(Op):
    """Merges the dimensions from `start_dim` to `end_dim` into one. `start_dim` is 1, as in nn.Flatten."""

    name = "flatten"
    params = (Param("start_dim", "int", 1), Param("end_dim", "int", -1))

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        start = dim_of(self.name, args["start_dim"], x, param="start_dim")
        end = dim_of(self.name, args["end_dim"], x, param="end_dim")
        if start > end:
            message = f"`flatten`: start_dim {start} comes after end_dim {end}"
            raise OpError("ARC0351", message, param="start_dim", inputs=(0,))
        return {"start_dim": start, "end_dim": -1 if end >= x.rank - 1 else end}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        start = attrs["start_dim"]
        stop = x.rank if attrs["end_dim"] == -1 else attrs["end_dim"] + 1
        return (TensorType((*x.shape[:start], numel(x.shape[start:stop]), *x.shape[stop:]), x.dtype),)

    def module(self, attrs: Attrs) -> Call:
        dims = (Kw("start_dim", Lit(attrs["start_dim"]), 1), Kw("end_dim", Lit(attrs["end_dim"]), -1))
        return Call("nn.Flatten", (), dims)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says(cx.reshape(ins[0], outs[0].shape))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.reshape(ins[0], outs[0].shape),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        start, end = attrs["start_dim"], attrs["end_dim"]
        return Method(In(0), "flatten", (Lit(start),) if end == -1 else (Lit(start), Lit(end)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        shape = list(x.shape)
        stop = len(shape) if attrs["end_dim"] == -1 else attrs["end_dim"] + 1
        merged = 1
        for size in shape[attrs["start_dim"] : stop]:
            merged *= size
        return x.reshape(*shape[: attrs["start_dim"]], merged, *shape[stop:])


@register
class Reshape(Op):
    """The same elements in row-major order under new sizes; one of them may be -1."""

    name = "reshape"
    params = (Param("shape", "sizes"),)

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        shape = args["shape"]
        return {"shape": shape if isinstance(shape, tuple) else (shape,)}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        return (TensorType(reshaped(self.name, numel(x.shape), attrs["shape"], str(x), cx, "shape"), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        axes = cx.reshape(ins[0], outs[0].shape)
        return cx.says(axes, sizes={"shape": axes})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.reshape(ins[0], outs[0].shape),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        sizes = tuple(Lit(s) for s in attrs["shape"])
        return Method(In(0), "reshape", sizes or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.reshape(ins[0], attrs["shape"])


@register
class Unflatten(Op):
    """Splits dimension `dim` into `sizes`; one of them may be -1."""

    name = "unflatten"
    params = (Param("dim", "int"), Param("sizes", "sizes"))

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        sizes = args["sizes"] if isinstance(args["sizes"], tuple) else (args["sizes"],)
        if not sizes:
            raise OpError("ARC0354", "`unflatten` needs at least one size", param="sizes")
        return {"dim": dim_of(self.name, args["dim"], ins[0]), "sizes": sizes}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        dim = attrs["dim"]
        sizes = reshaped(self.name, x.shape[dim], attrs["sizes"], f"dimension {dim} of {x}", cx, "sizes")
        return (TensorType((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]), x.dtype),)

    def module(self, attrs: Attrs) -> Call | None:
        if not all(isinstance(s, int) for s in attrs["sizes"]):
            return None  # a constructor has no input to read a symbolic size from
        return Call("nn.Unflatten", (Lit(attrs["dim"]), Lit(attrs["sizes"])))

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        count = len(outs[0].shape) - len(x) + 1
        split = tuple(cx.factor(x[dim], outs[0].shape[dim : dim + count]))
        return cx.says((*x[:dim], *split, *x[dim + 1 :]), sizes={"sizes": split})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.reshape(ins[0], outs[0].shape),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.unflatten", (In(0), Lit(attrs["dim"]), Lit(attrs["sizes"])))  # the method has no types

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        dim = attrs["dim"]
        return x.reshape(*x.shape[:dim], *attrs["sizes"], *x.shape[dim + 1 :])


@register
class Permute(Op):
    """Reorders the dimensions: output dimension i is input dimension `dims[i]`."""

    name = "permute"
    params = (Param("dims", "ints"),)

    def order(self, attrs: Attrs, rank: int) -> tuple[int, ...] | None:
        return tuple(attrs["dims"])

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["dims"] == tuple(range(ins[0].rank)))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        dims = as_dims(self.name, args["dims"], x, param="dims")
        if len(dims) != x.rank:
            message = f"`permute` of {x} needs all {x.rank} dimensions, and has {len(dims)}"
            raise OpError("ARC0352", message, param="dims", inputs=(0,))
        return {"dims": dims}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(tuple(ins[0].shape[d] for d in attrs["dims"]), ins[0].dtype),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        dims = attrs["dims"]
        inverse = {"dims": tuple(dims.index(d) for d in range(len(dims)))}
        return Bijection(inverse=(self.name, inverse), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        (y,) = outs
        dims = [d % y.rank for d in args["dims"]]
        return (TensorType(tuple(y.shape[dims.index(d)] for d in range(y.rank)), y.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says(tuple(ins[0][d] for d in attrs["dims"]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.permute(ins[0], *attrs["dims"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "permute", tuple(Lit(d) for d in attrs["dims"]) or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.permute(ins[0], attrs["dims"])


@register
class Transpose(Op):
    """Swaps two dimensions."""

    name = "transpose"
    params = (Param("dim0", "int"), Param("dim1", "int"))

    def order(self, attrs: Attrs, rank: int) -> tuple[int, ...] | None:
        swap = {attrs["dim0"]: attrs["dim1"], attrs["dim1"]: attrs["dim0"]}
        return tuple(swap.get(d, d) for d in range(rank))

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["dim0"] == attrs["dim1"])

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {p: dim_of(self.name, args[p], ins[0], param=p) for p in ("dim0", "dim1")}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        shape = list(ins[0].shape)
        if shape:
            i, j = attrs["dim0"], attrs["dim1"]
            shape[i], shape[j] = shape[j], shape[i]
        return (TensorType(tuple(shape), ins[0].dtype),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.name, attrs), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        return self.infer(outs, self.resolve(outs, args, Context()), Context())

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        axes = list(ins[0])
        i, j = attrs["dim0"], attrs["dim1"]
        if axes:
            axes[i], axes[j] = axes[j], axes[i]
        return cx.says(tuple(axes))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.transpose(ins[0], attrs["dim0"], attrs["dim1"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "transpose", (Lit(attrs["dim0"]), Lit(attrs["dim1"])))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.swapaxes(ins[0], attrs["dim0"], attrs["dim1"])


@register
class Squeeze(Op):
    """Removes the dimensions `dim`, whose size is 1; without `dim`, all whose size is literally 1."""

    name = "squeeze"
    params = (Param("dim", "ints?", None),)

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        if args["dim"] is None:
            return {"dim": tuple(i for i, size in enumerate(x.shape) if size == 1)}
        return {"dim": as_dims(self.name, args["dim"], x)}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        for dim in attrs["dim"]:
            if x.shape[dim] != 1:
                message = f"`squeeze`: dimension {dim} of {x} is {size_str(x.shape[dim])}, not 1"
                raise OpError("ARC0357", message, param="dim", inputs=(0,))
        return (TensorType(tuple(s for i, s in enumerate(x.shape) if i not in attrs["dim"]), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says(tuple(axis for d, axis in enumerate(ins[0]) if d not in attrs["dim"]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.squeeze(ins[0], attrs["dim"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        dims = attrs["dim"]
        return Method(In(0), "squeeze", (Lit(dims[0] if len(dims) == 1 else dims),)) if dims else In(0)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        return x.reshape([s for i, s in enumerate(x.shape) if i not in attrs["dim"]])


@register
class Unsqueeze(Op):
    """Inserts a dimension of size 1 at `dim`."""

    name = "unsqueeze"
    params = (Param("dim", "int"),)

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0], extra=1)}

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        dim = attrs["dim"]
        return (TensorType((*x.shape[:dim], 1, *x.shape[dim:]), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        return cx.says((*x[:dim], cx.free(1), *x[dim:]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.unsqueeze(ins[0], attrs["dim"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "unsqueeze", (Lit(attrs["dim"]),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        shape = list(ins[0].shape)
        return ins[0].reshape([*shape[: attrs["dim"]], 1, *shape[attrs["dim"] :]])


@register
class Expand(Op):
    """Repeats dimensions of size 1 up to `sizes`; -1 keeps a size; further sizes in front add dimensions."""

    name = "expand"
    params = (Param("sizes", "sizes"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return ins[0] == outs[0]

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"sizes": args["sizes"] if isinstance(args["sizes"], tuple) else (args["sizes"],)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        sizes = attrs["sizes"]
        new = len(sizes) - x.rank
        if new < 0:
            message = f"`expand` of {x} needs at least {x.rank} sizes, and {_sizes_str(sizes)} has {len(sizes)}"
            raise OpError("ARC0353", message, param="sizes", inputs=(0,))
        check_sizes(self.name, [s for i, s in enumerate(sizes) if i < new or s != -1], free=False, param="sizes")
        shape = list(sizes[:new])
        for dim, (have, want) in enumerate(zip(x.shape, sizes[new:], strict=True)):
            if want == -1 or have == want:
                shape.append(have)
            elif have == 1:
                shape.append(want)
            else:
                clash = f"`expand`: dimension {dim} of {x} is {size_str(have)}, and only a 1 becomes {size_str(want)}"
                what = f"`expand` keeps dimension {dim}"
                shape.append(agree(cx, have, want, what, clash, inputs=(0,), code="ARC0357", rule="broadcast"))
        return (TensorType(tuple(shape), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        shape, (x,) = outs[0].shape, ins
        grown = [cx.free(size) for size in shape[: len(shape) - len(x)]]  # copies, in any order
        grown += [
            axis if axis.size != 1 or size == 1 else cx.free(size)
            for axis, size in zip(x, shape[len(shape) - len(x) :], strict=True)
        ]
        return cx.says(tuple(grown), sizes={"sizes": tuple(grown)})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.expand(ins[0], *attrs["sizes"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "expand", tuple(Lit(s) for s in attrs["sizes"]) or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        new = len(attrs["sizes"]) - x.dim()
        sizes = [
            *attrs["sizes"][:new],
            *(h if w == -1 else w for h, w in zip(x.shape, attrs["sizes"][new:], strict=True)),
        ]
        return torch.broadcast_to(x, sizes)


class _Shuffle(Op):
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
class SpaceToDepth(_Shuffle):
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
class DepthToSpace(_Shuffle):
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
