"""Functions of one wire, element by element: a table of torch's, conversions of the element type, clamp."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Fixed, Get, Helper, In, Kw, Lit, Method, Self
from archlang.ops.constant import REFERENCE
from archlang.ops.eager import Ghost, Tape
from archlang.ops.monotone import Elementwise
from archlang.ops.rules import DTYPES, floating, promote_scalar, refuse_bool, torch_dtype

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


class _Function(Elementwise):
    """`torch.<name>(x)`. Subclasses come from the tables below."""

    local, elementwise, per_element = True, True, 1
    result: Callable[[str], str] | None = None  # element type of the result; None: the input's, which is not bool

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        result = type(self).result
        if result is None:
            refuse_bool(self.name, ins)
            return (x,)
        return (TensorType(x.shape, result(x.dtype)),)

    def steady(self, attrs: Attrs) -> bool:
        return self.name in _STEADY

    def rising(self, attrs: Attrs) -> bool:
        return self.name in _STEPS

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(f"torch.{self.name}", (In(0),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return getattr(ins[0], self.name)()


_STEPS = ("ceil", "floor", "round", "trunc")
_STEADY = (*_STEPS, "abs", "sign", "sqrt", "square")


def _same(dtype: str) -> str:
    return dtype


def _number(dtype: str) -> str:
    return "int64" if dtype == "bool" else dtype


_FLOATING = (
    "asinh", "atan", "atanh", "cos", "erf", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "logit",
    "reciprocal", "rsqrt", "sin", "sinh", "sqrt", "tan",
)  # fmt: skip
_TABLE: dict[str, Callable[[str], str] | None] = {
    **dict.fromkeys(_FLOATING, floating),
    **dict.fromkeys(("abs", "ceil", "floor", "round", "trunc")),
    "sign": _same,
    "square": _number,
}
_SAVES = {
    **dict.fromkeys(("abs", "asinh", "atan", "atanh", "cos", "erf", "log", "log10", "log1p", "log2"), "in"),
    **dict.fromkeys(("logit", "sin", "sinh", "square"), "in"),
    **dict.fromkeys(("exp", "exp2", "expm1", "reciprocal", "rsqrt", "sqrt", "tan"), "out"),
}
for _name, _result in _TABLE.items():
    _doc = f"`torch.{_name}`, element by element."
    _jumps = _name in ("ceil", "floor", "round", "sign", "trunc")
    _saved = _SAVES.get(_name, "")
    _members = {"name": _name, "result": _result, "saves": _saved, "discontinuous": _jumps, "__doc__": _doc}
    register(type(_name.capitalize(), (_Function,), _members))


@register
class Cast(Op):
    """Converts the element type. To "float", the module's own type: that of `like`, else of a reference buffer."""

    name = "cast"
    local = elementwise = True

    def effects(self, attrs: Attrs) -> tuple[str, ...]:
        return ("discontinuous",) if attrs["how"] == "named" and "float" not in attrs["dtype"] else ()

    inputs = (Input("x"), Input("like", optional=True))
    params = (Param("dtype", "dtype"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["how"] == "same")

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        dtype = args["dtype"]
        if dtype not in DTYPES:
            raise OpError("ARC0243", f"`cast`: `{dtype}` is not an element type", param="dtype")
        if len(ins) > 1 and ins[1].dtype != dtype:
            message = f"`cast` to {dtype}, but `like` is {ins[1]}"
            raise OpError("ARC0244", message, inputs=(1,), help="leave out `like`")
        how = "same" if ins[0].dtype == dtype else "like" if len(ins) > 1 else "own" if dtype == "float" else "named"
        return {"dtype": dtype, "how": how}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(ins[0].shape, attrs["dtype"]),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return (REFERENCE,) if attrs["how"] == "own" else ()

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says(ins[0])

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x, *_), (out,) = ins, outs
        one = {"float": "float32"}  # a module's own type, unless somebody converts the module
        if one.get(x.dtype, x.dtype) == one.get(out.dtype, out.dtype):
            return (x,)
        return (tape.pointwise((x,), out.shape, out.dtype),)

    def module(self, attrs: Attrs) -> Call | None:
        return Call("Cast") if attrs["how"] == "own" else None

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (CAST,) if attrs["how"] == "own" else ()

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        match attrs["how"]:
            case "same":
                return In(0)
            case "like":
                return Method(In(0), "to", (Get(In(1), "dtype"),))
            case "own":
                return Call(Self(), (In(0),))
            case _:
                return Method(In(0), "to", (Fixed(f"torch.{attrs['dtype']}"),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        if attrs["how"] == "same":
            return ins[0]
        like = ins[1] if len(ins) > 1 else weights.get("reference")
        return ins[0].type(torch_dtype(attrs["dtype"], like))


CAST = Helper(
    "Cast",
    '''class Cast(nn.Module):
    """Converts a tensor to the module's floating-point type."""

    reference: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("reference", torch.empty(0), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(self.reference.dtype)
''',
)


class _Plain(Op):
    """`x.<name>()`: the values stay as they are."""

    local = elementwise = True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (ins[0],)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), self.name)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return getattr(ins[0], self.name)()


@register
class Detach(_Plain):
    """Stops the gradient."""

    name = "detach"

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return not training

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        return (Ghost(x.shape, x.strides, x.dtype, x.storage, False),)


@register
class Contiguous(_Plain):
    """The same values in row-major memory."""

    name = "contiguous"

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.contiguous(ins[0]),)


@register
class Clamp(Op):
    """Limits the values to [min, max]; either may be left out."""

    name = "clamp"
    local, elementwise, saves, per_element = True, True, "in", 1
    params = (Param("min", "float?", None), Param("max", "float?", None))

    def steady(self, attrs: Attrs) -> bool:
        return True

    def rising(self, attrs: Attrs) -> bool:
        return True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        refuse_bool(self.name, ins)
        limits = [attrs[p] for p in ("min", "max") if attrs[p] is not None]
        if not limits:
            raise OpError("ARC0240", "`clamp` needs `min` or `max`")
        return (TensorType(ins[0].shape, reduce(promote_scalar, limits, ins[0].dtype)),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "clamp", (), tuple(Kw(p, Lit(attrs[p]), None) for p in ("min", "max")))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.clip(ins[0], attrs["min"], attrs["max"])
