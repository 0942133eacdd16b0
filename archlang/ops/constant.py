"""Wires without inputs: full, arange, linspace, eye, and the random bernoulli, rand, randint and randn.

Such a wire must land on the module's device, and a floating one in the module's element type, also after `.to(...)`.
The code takes both from a reference tensor: the wire `like` where there is one (`x.new_full(...)`, `torch.arange(n,
device=x.device)`), else the empty buffer of a small module, which `.to()` moves with the rest and which no state dict
lists. Values are computed when they are needed, so symbolic sizes work and a later `.double()` loses nothing.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Buffer, Call, Expr, Fixed, Get, Helper, In, Kw, Lit, Method, Self
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import DTYPES, check_sizes, kind_of_scalar, torch_dtype
from archlang.shapes.dim import Dim, Size, ceil_div, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__ = ["REFERENCE"]

REFERENCE = WeightDecl("reference", (0,), kind="buffer", trainable=False, persistent=False)

HELPER = Helper(
    "Reference",
    '''class Reference(nn.Module):
    """An empty tensor that shows where the module's constants belong: its device and floating-point type."""

    reference: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("reference", torch.empty(0), persistent=False)
''',
)


class _Constant(Op):
    """Base of the ops without inputs: `arguments` are those of torch's function `maker`, `shape` is the result's."""

    inputs = (Input("like", optional=True),)
    maker: ClassVar[str]

    @abstractmethod
    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        """Sizes of the result."""

    @abstractmethod
    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        """Positional arguments of torch's function."""

    def element_type(self, args: Attrs) -> str:
        """dtype where the author names none."""
        return "float"

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        attrs = dict(args)
        if attrs.get("dtype") is None:
            attrs["dtype"] = self.element_type(args)
        if attrs["dtype"] not in DTYPES:
            raise OpError("ARC0243", f"`{self.name}`: `{attrs['dtype']}` is not an element type", param="dtype")
        if ins and attrs["dtype"] == "float" and ins[0].dtype != "float":
            message = f"`{self.name}` is to have the module's floating type, and `like` is {ins[0]}"
            raise OpError("ARC0244", message, inputs=(0,), help="leave out `like`, or name the dtype")
        attrs["like"] = bool(ins)
        attrs["same"] = attrs["dtype"] == (ins[0].dtype if ins else "float")  # as the reference tensor
        if "shape" in attrs:
            attrs["shape"] = attrs["shape"] if isinstance(attrs["shape"], tuple) else (attrs["shape"],)
            check_sizes(self.name, attrs["shape"], free=False)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(self.shape(attrs, cx), attrs["dtype"]),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return () if attrs["like"] else (REFERENCE,)

    def module(self, attrs: Attrs) -> Call | None:
        return None if attrs["like"] else Call("Reference")

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return () if attrs["like"] else (HELPER,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        return cx.says(tuple(cx.fixed(size, f"`{self.name}` is a constant") for size in outs[0].shape))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.new(outs[0].shape, outs[0].dtype),)

    def like(self, attrs: Attrs) -> Expr:
        """The tensor that shows device and element type."""
        return In(0) if attrs["like"] else Buffer(Self(), "reference")

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        like, dtype = self.like(attrs), attrs["dtype"]
        args = tuple(Lit(a) for a in self.arguments(attrs))
        wanted = Get(like, "dtype") if dtype == "float" else Fixed(f"torch.{dtype}")
        return Call(self.maker, args, (Kw("dtype", wanted), Kw("device", Get(like, "device"))))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        like = ins[0] if ins else weights["reference"]
        return self.value(attrs, torch_dtype(attrs["dtype"], like), like.device)

    @abstractmethod
    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        """The tensor, for `run`."""


@register
class Full(_Constant):
    """A tensor filled with one value; element type as in torch from the value, unless `dtype` says otherwise."""

    name, maker = "full", "torch.full"
    params = (Param("shape", "sizes"), Param("value", "any"), Param("dtype", "dtype?", None))

    def element_type(self, args: Attrs) -> str:
        return kind_of_scalar(args["value"])

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        if isinstance(args["value"], str | tuple):
            raise OpError("ARC0242", "`full`: value is a number", param="value")
        return super().resolve(ins, args, cx)

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        return tuple(attrs["shape"])

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        return attrs["shape"], attrs["value"]

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        axes = tuple(cx.free(size) for size in outs[0].shape)  # all alike, in any order
        return cx.says(axes, sizes={"shape": axes})

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["same"]:
            return Method(self.like(attrs), "new_full", tuple(Lit(a) for a in self.arguments(attrs)))
        return super().call(attrs, inputs)

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        return torch.empty(attrs["shape"], dtype=dtype, device=device).fill_(attrs["value"])


@register
class Arange(_Constant):
    """start, start + step, ... below end. `arange(n)` counts from 0; integers unless an argument is a float."""

    name, maker = "arange", "torch.arange"
    params = (
        Param("start", "float"),
        Param("end", "float?", None),
        Param("step", "float", 1),
        Param("dtype", "dtype?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        attrs = dict(args)
        if attrs["end"] is None:
            attrs["start"], attrs["end"] = 0, attrs["start"]
        if attrs["step"] == 0:
            raise OpError("ARC0242", "`arange`: step cannot be 0", param="step")
        numbers = {name: attrs[name] for name in ("start", "end", "step")}
        for name, value in numbers.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise OpError("ARC0242", f"`arange`: {name} cannot be {value}", param=name)
            if isinstance(value, Dim) and any(isinstance(other, float) for other in numbers.values()):
                message = f"`arange` with a symbolic size, {value}, takes whole numbers only"
                raise OpError("ARC0242", message, param=name)
        return super().resolve(ins, attrs, cx)

    def element_type(self, args: Attrs) -> str:
        floats = any(isinstance(args[p], float) for p in ("start", "end", "step"))
        return "float" if floats else "int64"

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        start, end, step = attrs["start"], attrs["end"], attrs["step"]
        if any(isinstance(v, float) for v in (start, end, step)):
            length: Size = math.ceil((end - start) / step)
        else:
            length = ceil_div(end - start, step)
        reason = f"`arange` from {size_str(start)} to {size_str(end)} by {size_str(step)} has a length"
        cx.at_least(length, 0, reason)
        return (length,)

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        if attrs["step"] != 1:
            return attrs["start"], attrs["end"], attrs["step"]
        return (attrs["end"],) if attrs["start"] == 0 else (attrs["start"], attrs["end"])

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        return torch.arange(attrs["start"], attrs["end"], attrs["step"], dtype=dtype, device=device)


@register
class Linspace(_Constant):
    """`steps` evenly spaced numbers from `start` to `end`, both included."""

    name, maker = "linspace", "torch.linspace"
    params = (
        Param("start", "float"),
        Param("end", "float"),
        Param("steps", "size"),
        Param("dtype", "dtype?", None),
    )

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        check_sizes(self.name, (attrs["steps"],), free=False, param="steps")
        return (attrs["steps"],)

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        return attrs["start"], attrs["end"], attrs["steps"]

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        return torch.linspace(attrs["start"], attrs["end"], attrs["steps"], dtype=dtype, device=device)


@register
class Eye(_Constant):
    """The identity matrix, n by n or n by m."""

    name, maker = "eye", "torch.eye"
    params = (Param("n", "size"), Param("m", "size?", None), Param("dtype", "dtype?", None))

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        sizes = (attrs["n"], attrs["n"] if attrs["m"] is None else attrs["m"])
        check_sizes(self.name, sizes, free=False, param="n")
        return sizes

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        return (attrs["n"],) if attrs["m"] is None else (attrs["n"], attrs["m"])

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        columns = attrs["n"] if attrs["m"] is None else attrs["m"]
        return torch.zeros(attrs["n"], columns, dtype=dtype, device=device).fill_diagonal_(1)


@register
class Randint(_Constant):
    """Integers drawn evenly from low to high - 1."""

    name, maker = "randint", "torch.randint"
    random = True
    params = (Param("low", "int"), Param("high", "int"), Param("shape", "sizes"), Param("dtype", "dtype?", None))

    def element_type(self, args: Attrs) -> str:
        return "int64"

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        if attrs["low"] >= attrs["high"]:
            message = f"`randint`: low = {attrs['low']} must be below high = {attrs['high']}"
            raise OpError("ARC0242", message, param="high")
        return tuple(attrs["shape"])

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        return attrs["low"], attrs["high"], attrs["shape"]

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        return torch.empty(attrs["shape"], dtype=dtype, device=device).random_(attrs["low"], attrs["high"])


class _Drawn(_Constant):
    """Base of random floats: the method `method` fills a fresh tensor."""

    random = True
    maker = "torch.empty"
    method: ClassVar[str]
    params: ClassVar[tuple[Param, ...]] = (Param("shape", "sizes"), Param("dtype", "dtype?", None))

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        return tuple(attrs["shape"])

    def arguments(self, attrs: Attrs) -> tuple[Attr, ...]:
        return (attrs["shape"],)

    def filling(self, attrs: Attrs) -> tuple[Attr, ...]:
        """Arguments of the method."""
        return ()

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        empty = super().call(attrs, inputs)
        if attrs["same"]:
            empty = Method(self.like(attrs), "new_empty", (Lit(attrs["shape"]),))
        return Method(empty, self.method, tuple(Lit(a) for a in self.filling(attrs)))

    def value(self, attrs: Attrs, dtype: Any, device: Any) -> Any:
        import torch

        empty = torch.zeros(attrs["shape"], dtype=dtype, device=device)
        return getattr(empty, self.method)(*self.filling(attrs))


@register
class Rand(_Drawn):
    """Numbers drawn evenly from [0, 1), in training and in evaluation."""

    name, method = "rand", "uniform_"


@register
class Randn(_Drawn):
    """Numbers drawn from the standard normal distribution, in training and in evaluation."""

    name, method = "randn", "normal_"


@register
class Bernoulli(_Drawn):
    """Ones with probability p, else zeros: `bernoulli(0.9, [B, 1, 1, 1])` keeps nine samples of ten."""

    name, method = "bernoulli", "bernoulli_"
    params = (Param("p", "float"), Param("shape", "sizes", ()), Param("dtype", "dtype?", None))

    def shape(self, attrs: Attrs, cx: Context) -> tuple[Size, ...]:
        if not 0 <= attrs["p"] <= 1:
            raise OpError("ARC0242", f"`bernoulli`: p is {attrs['p']}, and lies between 0 and 1", param="p")
        return super().shape(attrs, cx)

    def filling(self, attrs: Attrs) -> tuple[Attr, ...]:
        return (attrs["p"],)
