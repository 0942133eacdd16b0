"""Places and order along a dimension: argmax, argmin, topk, sort; and running sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import as_dims, dim_of, is_float, not_empty, refuse_bool, remaining

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


class _Arg(Op):
    """Index of the extreme element along `dim`; without `dim`, in the flattened tensor."""

    params = (Param("dim", "int?", None), Param("keepdim", "bool", False))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        dim = args["dim"]
        return {"dim": None if dim is None else dim_of(self.name, dim, ins[0]), "keepdim": args["keepdim"]}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        refuse_bool(self.name, ins)
        dims = as_dims(self.name, attrs["dim"], ins[0])
        not_empty(self.name, ins[0], dims, cx)
        return (TensorType(remaining(ins[0], dims, attrs["keepdim"]), "int64"),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        dims = range(len(x)) if dim is None else (dim,)
        cx.fix((x[d] for d in dims), f"`{self.name}` goes by its order")
        left = [cx.free(1) if d in dims else axis for d, axis in enumerate(x) if attrs["keepdim"] or d not in dims]
        return cx.says(tuple(left))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(
            In(0), self.name, (), (Kw("dim", Lit(attrs["dim"]), None), Kw("keepdim", Lit(attrs["keepdim"]), False))
        )

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,), dim, keepdim = ins, attrs["dim"], attrs["keepdim"]
        flat = x.reshape(-1) if dim is None else x
        method = flat.max if self.name == "argmax" else flat.min
        index = method(0 if dim is None else dim, keepdim=dim is not None and keepdim)[1]
        return index.reshape([1] * x.dim()) if dim is None and keepdim else index


for _name, _what in (("argmax", "largest"), ("argmin", "smallest")):
    _doc = f"Index of the {_what} element along `dim`; without `dim`, in the flattened tensor."
    register(type(_name.capitalize(), (_Arg,), {"name": _name, "discontinuous": True, "__doc__": _doc}))


@register
class CumSum(Op):
    """Running sum along `dim`; of integers and bools in int64."""

    name = "cumsum"
    params = (Param("dim", "int"),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        return (TensorType(x.shape, x.dtype if is_float(x.dtype) else "int64"),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix((ins[0][attrs["dim"]],), f"`{self.name}` goes by its order")
        return cx.says(*(ins[0] for _ in outs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "cumsum", (Lit(attrs["dim"]),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.cumsum(ins[0], dim=attrs["dim"])


def _trace_sorted(
    self: Op,
    tape: Tape,
    ins: Sequence[Ghost],
    weights: Mapping[str, Ghost],
    outs: Sequence[TensorType],
    attrs: Attrs,
) -> tuple[Ghost, ...]:
    """Values and indices; autograd keeps the latter."""
    values, indices = (
        tape.copy(ins, out.dtype) if self.name == "sort" else tape.apply(ins, out.shape, out.dtype) for out in outs
    )
    if values.grad:
        tape.keep(indices)
    return values, indices


@register
class TopK(Op):
    """The k largest (or smallest) entries along `dim`, in order: values and indices."""

    name = "topk"
    discontinuous = True
    trace = _trace_sorted
    params = (
        Param("k", "size"),
        Param("dim", "int", -1),
        Param("largest", "bool", True),
        Param("sorted", "bool", True),
    )

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        if isinstance(args["k"], int) and args["k"] < 0:
            raise OpError("ARC0242", f"`topk`: k is {args['k']}, and cannot be negative", param="k")
        return {**args, "dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dim, k = ins, attrs["dim"], attrs["k"]
        refuse_bool(self.name, ins)
        shape = list(x.shape)
        cx.at_least(shape[dim] if shape else 1, k, f"`topk` takes k entries of dimension {dim} of {x}", inputs=(0,))
        if shape:
            shape[dim] = k
        return TensorType(tuple(shape), x.dtype), TensorType(tuple(shape), "int64")

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        cx.fix((x[dim],), "`topk` goes by its order")
        best = cx.fixed(outs[0].shape[dim], "`topk` gives the largest first")
        return cx.says(*((*x[:dim], best, *x[dim + 1 :]) for _ in outs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        flags = tuple(Kw(p, Lit(attrs[p]), True) for p in ("largest", "sorted"))
        return Method(In(0), "topk", (Lit(attrs["k"]),), (Kw("dim", Lit(attrs["dim"])), *flags))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return tuple(torch.topk(ins[0], attrs["k"], attrs["dim"], attrs["largest"], attrs["sorted"]))


@register
class Sort(Op):
    """The entries along `dim` in order, and their indices."""

    name = "sort"
    discontinuous = True
    trace = _trace_sorted
    params = (Param("dim", "int", -1), Param("descending", "bool", False), Param("stable", "bool", False))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {**args, "dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return ins[0], TensorType(ins[0].shape, "int64")

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix((ins[0][attrs["dim"]],), f"`{self.name}` goes by its order")
        return cx.says(*(ins[0] for _ in outs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        dim, flags = attrs["dim"], tuple(Kw(p, Lit(attrs[p]), False) for p in ("descending", "stable"))
        return Method(In(0), "sort", (), (Kw("dim", Lit(dim)), *flags))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        x, dim = ins[0], attrs["dim"]
        indices = torch.argsort(x, dim=dim, descending=attrs["descending"], stable=attrs["stable"])
        return (x.gather(dim, indices) if x.dim() else x), indices
