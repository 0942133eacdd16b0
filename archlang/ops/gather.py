"""Selecting elements by wires of indices: index_select, gather, take_along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Expr, In, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import broadcast, dim_of, require_index

__all__: list[str] = []


@register
class IndexSelect(Op):
    """The entries `index` (a vector of integers) of dimension `dim`."""

    name = "index_select"

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        y = tape.apply(ins, outs[0].shape, outs[0].dtype)
        if y.grad:
            tape.keep(ins[1])
        return (y,)

    inputs = (Input("x"), Input("index"))
    params = (Param("dim", "int"),)

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x, index = ins
        require_index(self.name, index, 1)
        if index.rank != 1 or x.rank == 0:
            raise OpError("ARC0353", f"`index_select` takes a wire and a vector, not {x} and {index}", inputs=(0, 1))
        dim = attrs["dim"]
        return (TensorType((*x.shape[:dim], index.shape[0], *x.shape[dim + 1 :]), x.dtype),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "index_select", (Lit(attrs["dim"]), In(1)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0][(*[slice(None)] * attrs["dim"], ins[1].long())]


class _Gather(Op):
    saves = "in"
    inputs = (Input("x"), Input("index"))
    params = (Param("dim", "int"),)
    free: ClassVar[bool]  # whether the other dimensions of `index` may be shorter, as torch.gather's

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        name = "gather" if self.free else "take_along_dim"
        return Method(In(0), name, (Lit(attrs["dim"]), In(1)) if self.free else (In(1), Lit(attrs["dim"])))

    def _check(self, ins: Sequence[TensorType]) -> None:
        x, index = ins
        if index.dtype != "int64":
            message = f"`{self.name}` takes indices of type int64, and this is {index}"
            raise OpError("ARC0241", message, inputs=(1,), help='convert it first: `cast(x, "int64")`')
        if x.rank != index.rank or x.rank == 0:
            message = f"`{self.name}` needs wires with the same number of dimensions, not {x} and {index}"
            raise OpError("ARC0353", message, inputs=(0, 1))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        x, index = ins
        dim = attrs["dim"]
        if not self.free:
            shape = [max(a, b) if d != dim else b for d, (a, b) in enumerate(zip(x.shape, index.shape, strict=True))]
            index = index.expand(shape)
            x = x.expand([s if d != dim else x.shape[dim] for d, s in enumerate(shape)])
        grid = [
            torch.arange(size).reshape([-1 if d == i else 1 for i in range(x.dim())])
            for d, size in enumerate(index.shape)
        ]
        grid[dim] = index
        return x[tuple(grid)]


@register
class Gather(_Gather):
    """out[i][j][k] = x[i][index[i][j][k]][k] for dim 1, and so on; `index` may be shorter in the other dimensions."""

    name, free = "gather", True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        self._check(ins)
        x, index = ins
        for d, (have, want) in enumerate(zip(x.shape, index.shape, strict=True)):
            if d != attrs["dim"]:
                cx.at_least(have, want, f"`gather`: dimension {d} of the index fits into the wire's", inputs=(0, 1))
        return (TensorType(index.shape, x.dtype),)


@register
class TakeAlong(_Gather):
    """As gather, with the other dimensions broadcast; for the results of argmax and sort."""

    name, free = "take_along", False

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        index = tape.new(outs[0].shape, ins[1].dtype)  # torch writes it out, repeated
        return super().trace(tape, (ins[0], index), weights, outs, attrs)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        self._check(ins)
        x, index = ins
        dim = attrs["dim"]
        rest = [TensorType((*t.shape[:dim], 1, *t.shape[dim + 1 :])) for t in ins]
        shape = list(broadcast(self.name, rest, cx))
        shape[dim] = index.shape[dim]
        return (TensorType(tuple(shape), x.dtype),)
