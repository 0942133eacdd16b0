"""Putting wires together and taking them apart along a dimension: concat, stack, split, chunk, unbind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Ins, Kw, Lit
from archlang.ops.rules import agree, dim_of, nth, promote, same_rank
from archlang.shapes.dim import Size, size_str

__all__: list[str] = []


def _sizes_beside(op: str, ins: Sequence[TensorType], skip: int | None, cx: Context) -> list[Size]:
    """The common sizes of wires that must agree in every dimension but `skip`."""
    same_rank(op, ins)
    shape = list(ins[0].shape)
    for i, x in enumerate(ins[1:], 1):
        for d, size in enumerate(x.shape):
            if d == skip:
                continue
            along = "" if skip is None else f" along dimension {skip}"
            what = f"`{op}`{along} needs equal sizes in dimension {d}"
            clash = (
                f"`{op}`{along} needs the other sizes equal: dimension {d} is {size_str(shape[d])} in the first and "
                f"{size_str(size)} in the {nth(i)}, in {ins[0]} and {x}"
            )
            if skip is None:
                clash = clash.replace("the other sizes equal", "equal shapes")
            shape[d] = agree(cx, shape[d], size, what, clash, inputs=(0, i), code="ARC0356")
    return shape


@register
class Concat(Op):
    """Joins wires end to end along an existing dimension."""

    name = "concat"
    inputs = (Input("xs", variadic=True),)
    params = (Param("dim", "int", 1),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        same_rank(self.name, ins)
        if ins[0].rank == 0:
            raise OpError("ARC0353", "`concat` needs wires with dimensions", inputs=(0,), help="`stack` joins scalars")
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        dim = attrs["dim"]
        shape = _sizes_beside(self.name, ins, dim, cx)
        total: Size = 0
        for x in ins:
            total = total + x.shape[dim]
        shape[dim] = total
        return (TensorType(tuple(shape), reduce(promote, (x.dtype for x in ins))),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.cat", (Ins(),), (Kw("dim", Lit(attrs["dim"])),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.concatenate(list(ins), dim=attrs["dim"])


@register
class Stack(Op):
    """Joins equal-shaped wires along a new dimension."""

    name = "stack"
    inputs = (Input("xs", variadic=True),)
    params = (Param("dim", "int", 0),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0], extra=1)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        shape = _sizes_beside(self.name, ins, None, cx)
        shape.insert(attrs["dim"], len(ins))
        return (TensorType(tuple(shape), reduce(promote, (x.dtype for x in ins))),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.stack", (Ins(),), (Kw("dim", Lit(attrs["dim"])),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.cat([x.unsqueeze(attrs["dim"]) for x in ins], dim=attrs["dim"])
