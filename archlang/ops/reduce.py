"""Reductions over dimensions: reduce_sum and its kin, logsumexp, norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Context, Op, Param, register
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import as_dims, floating, is_float, not_empty, numel, refuse_bool, remaining, require_float
from archlang.ops.window import Window
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


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
            not_empty(self.name, x, attrs["dim"], cx)
        return (TensorType(remaining(x, attrs["dim"], attrs["keepdim"]), self.result(x.dtype)),)

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
            not_empty(self.name, ins[0], attrs["dim"], cx)
        return super().infer(ins, attrs, cx)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        order = Kw("ord", Lit(attrs["p"]), 2)
        return Call("torch.linalg.vector_norm", (In(0),), (order, *self._where(attrs)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0].norm(p=attrs["p"], dim=attrs["dim"], keepdim=attrs["keepdim"])
