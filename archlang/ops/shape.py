"""The same elements in the same order under another shape: flatten, reshape, unflatten, squeeze, unsqueeze."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, as_dims, check_sizes, dim_of, numel, sizes_str
from archlang.shapes.dim import Size, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def reshaped(op: str, total: Size, sizes: Sequence[Size], source: str, cx: Context, param: str) -> tuple[Size, ...]:
    """`sizes` with its -1 worked out such that the product is `total`; `source` names what is reshaped."""
    check_sizes(op, sizes, free=True, param=param)
    rest = numel([s for s in sizes if s != -1])
    wanted = sizes_str(sizes)
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


class _SameOrder(Op):
    """The same elements in the same row-major order: a reshape to its input's shape undoes it."""

    def keeps_order(self, attrs: Attrs) -> bool:
        return True

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("reshape", {"shape": ins[0].shape}), volume=True)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.reshape(ins[0], outs[0].shape),)


@register
class Flatten(_SameOrder):
    """Merges the dimensions from `start_dim` to `end_dim` into one. `start_dim` is 1, as in nn.Flatten."""

    name = "flatten"
    params = (Param("start_dim", "int", 1), Param("end_dim", "int", -1))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        start = dim_of(self.name, args["start_dim"], x, param="start_dim")
        end = dim_of(self.name, args["end_dim"], x, param="end_dim")
        if start > end:
            message = f"`flatten`: start_dim {start} comes after end_dim {end}"
            raise OpError("ARC0351", message, param="start_dim", inputs=(0,))
        return {"start_dim": start, "end_dim": -1 if end >= x.rank - 1 else end}

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
class Reshape(_SameOrder):
    """The same elements in row-major order under new sizes; one of them may be -1."""

    name = "reshape"
    params = (Param("shape", "sizes"),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        shape = args["shape"]
        return {"shape": shape if isinstance(shape, tuple) else (shape,)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        return (TensorType(reshaped(self.name, numel(x.shape), attrs["shape"], str(x), cx, "shape"), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        axes = cx.reshape(ins[0], outs[0].shape)
        return cx.says(axes, sizes={"shape": axes})

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        sizes = tuple(Lit(s) for s in attrs["shape"])
        return Method(In(0), "reshape", sizes or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.reshape(ins[0], attrs["shape"])


@register
class Unflatten(_SameOrder):
    """Splits dimension `dim` into `sizes`; one of them may be -1."""

    name = "unflatten"
    params = (Param("dim", "int"), Param("sizes", "sizes"))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        sizes = args["sizes"] if isinstance(args["sizes"], tuple) else (args["sizes"],)
        if not sizes:
            raise OpError("ARC0354", "`unflatten` needs at least one size", param="sizes")
        return {"dim": dim_of(self.name, args["dim"], ins[0]), "sizes": sizes}

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

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.unflatten", (In(0), Lit(attrs["dim"]), Lit(attrs["sizes"])))  # the method has no types

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        dim = attrs["dim"]
        return x.reshape(*x.shape[:dim], *attrs["sizes"], *x.shape[dim + 1 :])


@register
class Squeeze(_SameOrder):
    """Removes the dimensions `dim`, whose size is 1; without `dim`, all whose size is literally 1."""

    name = "squeeze"
    params = (Param("dim", "ints?", None),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        if args["dim"] is None:
            return {"dim": tuple(i for i, size in enumerate(x.shape) if size == 1)}
        return {"dim": as_dims(self.name, args["dim"], x)}

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
class Unsqueeze(_SameOrder):
    """Inserts a dimension of size 1 at `dim`."""

    name = "unsqueeze"
    params = (Param("dim", "int"),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0], extra=1)}

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
