"""Reductions over dimensions, and sorting: reduce_sum ... , argmax, logsumexp, norm, cumsum, topk, sort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import as_dims, dim_of, floating, is_float, numel, refuse_bool, require_float
from archlang.ops.window import Window
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def _remaining(x: TensorType, dims: Sequence[int], keepdim: bool) -> tuple[Size, ...]:
    if keepdim:
        return tuple(1 if i in dims else size for i, size in enumerate(x.shape))
    return tuple(size for i, size in enumerate(x.shape) if i not in dims)


def _not_empty(op: str, x: TensorType, dims: Sequence[int], cx: Context) -> None:
    for dim in dims if x.rank else ():
        cx.at_least(x.shape[dim], 1, f"`{op}` needs elements in dimension {dim}", inputs=(0,))


class _Reduction(Op):
    """One number from the dimensions `dim`; without `dim`, from the whole tensor. `keepdim` leaves a size of 1."""

    params: ClassVar[tuple[Param, ...]] = (Param("dim", "ints?", None), Param("keepdim", "bool", False))
    method: ClassVar[str]  # of torch.Tensor
    refuses: ClassVar[str] = ""  # "bool" | "int": element types that torch refuses
    empty: ClassVar[bool] = True  # whether nothing can be reduced
    single: ClassVar[bool] = False  # one element is its own result
    adds: ClassVar[bool] = False  # a sum: what is left out is a term less

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(ins[0].shape)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == (1,) and attrs["keepdim"] else None

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {**args, "dim": as_dims(self.name, args["dim"], ins[0]), "all": args["dim"] is None}

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return {**super().spell(attrs), "dim": None if attrs["all"] else attrs["dim"]}

    def result(self, dtype: str) -> str:
        return dtype

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return self.single and attrs["keepdim"] and ins[0] == outs[0]

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if self.refuses == "bool":
            refuse_bool(self.name, ins)
        elif self.refuses == "int":
            require_float(self.name, ins)
        if not self.empty:
            _not_empty(self.name, x, attrs["dim"], cx)
        return (TensorType(_remaining(x, attrs["dim"], attrs["keepdim"]), self.result(x.dtype)),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        dims = attrs["dim"]
        if not self.adds:
            cx.hold((x[d] for d in dims), f"`{self.name}` is taken over it")
        left = [cx.free(1) if d in dims else axis for d, axis in enumerate(x) if attrs["keepdim"] or d not in dims]
        return cx.says(tuple(left))

    def extra(self, attrs: Attrs) -> tuple[Kw, ...]:
        return ()

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), self.method, (), (*self._where(attrs), *self.extra(attrs)))

    def _where(self, attrs: Attrs) -> tuple[Kw, ...]:
        dims = attrs["dim"]
        if attrs["all"] and not attrs["keepdim"]:
            return ()
        return (
            Kw("dim", Lit(dims[0] if len(dims) == 1 else dims)),
            Kw("keepdim", Lit(attrs["keepdim"]), False),
        )


@register
class ReduceSum(_Reduction):
    """Sum; of integers and bools in int64."""

    name, method, adds = "reduce_sum", "sum", True

    def result(self, dtype: str) -> str:
        return dtype if is_float(dtype) else "int64"

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.sum(ins[0], attrs["dim"], attrs["keepdim"])


@register
class ReduceMean(_Reduction):
    """Arithmetic mean."""

    name, method, refuses, single = "reduce_mean", "mean", "int", True

    def averages(self, attrs: Attrs) -> bool:
        return True

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.mean(ins[0], attrs["dim"], attrs["keepdim"])


class _Extreme(_Reduction):
    empty, single = False, True
    saves = "in out"

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        x = ins[0]
        for dim in reversed(attrs["dim"]):  # `max` and `min` share the gradient out as amax and amin do not
            x = getattr(x, self.method)(dim=(dim,), keepdim=True)
        return x if attrs["keepdim"] else _drop(x, attrs["dim"])


def _drop(x: Any, dims: Sequence[int]) -> Any:
    return x.reshape([size for i, size in enumerate(x.shape) if i not in dims])


@register
class ReduceMax(_Extreme):
    """Largest element."""

    name, method, maximum = "reduce_max", "amax", True


@register
class ReduceMin(_Extreme):
    """Smallest element."""

    name, method = "reduce_min", "amin"


@register
class ReduceProd(_Reduction):
    """Product; of integers and bools in int64."""

    name, method, single = "reduce_prod", "prod", True

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        if attrs["all"] and not attrs["keepdim"]:
            return (tape.apply(ins, outs[0].shape, outs[0].dtype, "in out"),)
        for dim in sorted(attrs["dim"], reverse=True):  # one after the other
            x = tape.reduce(x, dim, outs[0].dtype, "in out", attrs["keepdim"])
        return (x,)

    def result(self, dtype: str) -> str:
        return dtype if is_float(dtype) else "int64"

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["all"] and not attrs["keepdim"]:
            return Method(In(0), "prod")
        value: Expr = In(0)
        for dim in sorted(attrs["dim"], reverse=True):  # torch's takes one dimension
            value = Method(value, "prod", (), (Kw("dim", Lit(dim)), Kw("keepdim", Lit(attrs["keepdim"]), False)))
        return value

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        x = ins[0]
        if attrs["all"] and not attrs["keepdim"]:
            return torch.prod(x)
        for dim in sorted(attrs["dim"], reverse=True):
            x = torch.prod(x, dim, True)
        return x if attrs["keepdim"] else _drop(x, attrs["dim"])


class _Spread(_Reduction):
    """Mean square deviation, over the number of elements less `correction`, or its root."""

    params = (*_Reduction.params, Param("correction", "int", 1))
    refuses = "int"

    def extra(self, attrs: Attrs) -> tuple[Kw, ...]:
        return (Kw("correction", Lit(attrs["correction"]), 1),)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        pair = torch.var_mean if self.method == "var" else torch.std_mean
        return pair(ins[0], dim=attrs["dim"], correction=attrs["correction"], keepdim=attrs["keepdim"])[0]


@register
class ReduceVar(_Spread):
    """Variance, unbiased by default as in torch."""

    name, method = "reduce_var", "var"
    saves = "in"


@register
class ReduceStd(_Spread):
    """Standard deviation, of the unbiased variance by default as in torch."""

    name, method = "reduce_std", "std"
    saves = "in out"


class _Truth(_Reduction):
    def result(self, dtype: str) -> str:
        return "uint8" if dtype == "uint8" else "bool"  # torch's exception

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        count = torch.sum(x != 0, attrs["dim"], attrs["keepdim"])
        total = torch.sum(torch.ones_like(x, dtype=torch.int64), attrs["dim"], attrs["keepdim"])
        result = count > 0 if self.method == "any" else count == total
        return result.to(x.dtype) if x.dtype == torch.uint8 else result


@register
class ReduceAny(_Truth):
    """Whether any element is not 0."""

    name, method = "reduce_any", "any"


@register
class ReduceAll(_Truth):
    """Whether no element is 0."""

    name, method = "reduce_all", "all"


@register
class LogSumExp(_Reduction):
    """log(sum(exp(x))), without overflow."""

    name, method = "logsumexp", "logsumexp"
    saves = "in out"
    params = (Param("dim", "ints"), Param("keepdim", "bool", False))

    def result(self, dtype: str) -> str:
        return floating(dtype)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.special.logsumexp(ins[0], attrs["dim"], attrs["keepdim"])


@register
class Norm(_Reduction):
    """The p-norm of vectors along `dim`, by default of the whole tensor."""

    name, refuses, saves = "norm", "int", "in out"
    params = (Param("p", "float", 2), Param("dim", "ints?", None), Param("keepdim", "bool", False))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        if attrs["p"] < 0 or attrs["p"] == float("inf"):
            _not_empty(self.name, ins[0], attrs["dim"], cx)
        return super().infer(ins, attrs, cx)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        order = Kw("ord", Lit(attrs["p"]), 2)
        return Call("torch.linalg.vector_norm", (In(0),), (order, *self._where(attrs)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].norm(p=attrs["p"], dim=attrs["dim"], keepdim=attrs["keepdim"])


class _Arg(Op):
    """Index of the extreme element along `dim`; without `dim`, in the flattened tensor."""

    params = (Param("dim", "int?", None), Param("keepdim", "bool", False))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        dim = args["dim"]
        return {"dim": None if dim is None else dim_of(self.name, dim, ins[0]), "keepdim": args["keepdim"]}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        refuse_bool(self.name, ins)
        dims = as_dims(self.name, attrs["dim"], ins[0])
        _not_empty(self.name, ins[0], dims, cx)
        return (TensorType(_remaining(ins[0], dims, attrs["keepdim"]), "int64"),)

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
