"""The same elements with the dimensions in another order: permute, transpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Expr, In, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import as_dims, dim_of

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


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
