"""Activations: one table entry each, under the names of torch.nn.functional."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import in_range, kwargs
from archlang.ops.base import REQUIRED, Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Fixed, In, Kw
from archlang.ops.eager import Ghost, Tape
from archlang.ops.monotone import Elementwise
from archlang.ops.rules import dim_of, numel, require_float
from archlang.ops.window import Window
from archlang.records import dataclass
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def _below(small: str, large: str) -> Callable[[str, Attrs], None]:
    def check(op: str, attrs: Attrs) -> None:
        if attrs[small] >= attrs[large]:
            message = f"`{op}`: `{small}` ({attrs[small]}) must be less than `{large}` ({attrs[large]})"
            raise OpError("ARC0222", message, param=small)

    return check


def _not_zero(name: str) -> Callable[[str, Attrs], None]:
    def check(op: str, attrs: Attrs) -> None:
        if attrs[name] == 0:
            raise OpError("ARC0220", f"`{op}`: `{name}` must not be 0", param=name)

    return check


def _not_negative(name: str) -> Callable[[str, Attrs], None]:
    return lambda op, attrs: in_range(op, name, attrs[name], least=0)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An activation: name, class in torch.nn, parameters, what they must satisfy, function if not F's, what is kept,
    the order of the result (`Op.memory`)."""

    name: str
    torch_class: str
    params: tuple[Param, ...] = ()
    check: Callable[[str, Attrs], None] | None = None
    function: str = ""
    saves: str = "in"
    memory: str = ""


def _float(name: str, default: Any = REQUIRED) -> Param:
    return Param(name, "float", default)


_DIM = (Param("dim", "int"),)

_TABLE = (
    _Entry("relu", "ReLU", saves="out"),
    _Entry("relu6", "ReLU6", memory="copy"),
    _Entry("leaky_relu", "LeakyReLU", (_float("negative_slope", 0.01),)),
    _Entry("elu", "ELU", (_float("alpha", 1.0),)),
    _Entry("selu", "SELU"),
    _Entry("celu", "CELU", (_float("alpha", 1.0),), _not_zero("alpha")),
    _Entry("gelu", "GELU", (Param("approximate", "str", "none", choices=("none", "tanh")),)),
    _Entry("silu", "SiLU"),
    _Entry("mish", "Mish"),
    _Entry("hardswish", "Hardswish"),
    _Entry("hardsigmoid", "Hardsigmoid"),
    _Entry(
        "hardtanh",
        "Hardtanh",
        (_float("min_val", -1.0), _float("max_val", 1.0)),
        _below("min_val", "max_val"),
        memory="copy",
    ),
    _Entry("hardshrink", "Hardshrink", (_float("lambd", 0.5),)),
    _Entry("softshrink", "Softshrink", (_float("lambd", 0.5),), _not_negative("lambd")),
    _Entry("tanhshrink", "Tanhshrink", saves=""),
    _Entry("softplus", "Softplus", (_float("beta", 1.0), _float("threshold", 20.0))),
    _Entry("softsign", "Softsign"),
    _Entry("sigmoid", "Sigmoid", function="torch.sigmoid", saves="out"),
    _Entry("tanh", "Tanh", function="torch.tanh", saves="out"),
    _Entry("logsigmoid", "LogSigmoid", memory="rows"),
    _Entry("softmax", "Softmax", _DIM, saves="out", memory="rows"),
    _Entry("log_softmax", "LogSoftmax", _DIM, saves="out", memory="rows"),
    _Entry("softmin", "Softmin", _DIM, saves="out", memory="rows"),
    _Entry("threshold", "Threshold", (_float("threshold"), _float("value"))),
)


# In place and with the same gradient, to the bit: those of elu and its kin are computed from the result then.
_IN_PLACE = ("relu", "relu6", "leaky_relu", "silu", "mish", "hardswish", "hardsigmoid", "hardtanh")
_STEADY = ("relu", "relu6", "leaky_relu", "hardtanh", "hardshrink", "threshold")


class _Activation(Elementwise):
    """A function of the same shape."""

    entry: ClassVar[_Entry]
    per_element = 1

    def in_place(self, attrs: Attrs, inputs: int) -> tuple[int, ...]:
        falls = attrs.get("negative_slope", 0) < 0  # torch has no gradient for it
        return (0,) if self.name in _IN_PLACE and not falls else ()

    def steady(self, attrs: Attrs) -> bool:
        return self.name in _STEADY

    def rising(self, attrs: Attrs) -> bool:
        if self.name == "threshold":
            return bool(attrs["value"] <= attrs["threshold"])
        return self.steady(attrs) and attrs.get("negative_slope", 0) >= 0

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return numel(outs[0].shape) * (5 if "dim" in attrs else 1)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs.get("dim", 1) == 1 else None

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        require_float(self.name, ins)
        if self.entry.check is not None:
            self.entry.check(self.name, attrs)
        if "dim" in attrs:
            dim_of(self.name, attrs["dim"], ins[0])
        return (ins[0],)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        if "dim" in attrs:
            cx.hold((ins[0][attrs["dim"]],), f"`{self.name}` is taken over it")
            return cx.says(ins[0])
        return super().channels(cx, ins, outs, attrs)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (y,) = super().trace(tape, ins, weights, outs, attrs)
        if self.name in ("softsign", "logsigmoid", "tanhshrink"):  # |x| + 1; a buffer; tanh(x)
            tape.extra(y, y.shape, y.dtype)
        return (y,)

    def _kwargs(self, attrs: Attrs) -> tuple[Kw, ...]:
        own = kwargs(*((p.name, attrs[p.name], ... if p.default is REQUIRED else p.default) for p in self.params))
        return (*own, *kwargs(("inplace", "in_place" in attrs, False)))

    def module(self, attrs: Attrs) -> Call:
        return Call(f"nn.{self.entry.torch_class}", (), self._kwargs(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call(self.entry.function or f"F.{self.name}", (In(0),), self._kwargs(attrs))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch
        import torch.nn.functional as F

        function = getattr(torch if self.entry.function else F, self.name)
        return function(ins[0], *(attrs[p.name] for p in self.params if p.name != "approximate"), **_gelu(attrs))


def _gelu(attrs: Attrs) -> dict[str, Any]:
    return {"approximate": attrs["approximate"]} if "approximate" in attrs else {}  # keyword-only in torch


for _entry in _TABLE:
    _members = {
        "__module__": __name__,
        "name": _entry.name,
        "params": _entry.params,
        "entry": _entry,
        "local": not any(p.name == "dim" for p in _entry.params),
        "elementwise": not any(p.name == "dim" for p in _entry.params),
        "saves": _entry.saves,
        "memory": _entry.memory,
        "__doc__": f"torch's {_entry.name}.",
    }
    register(cast("type[Op]", type(_entry.torch_class, (_Activation,), _members)))


@register
class RReLU(Op):
    """Leaky relu with a slope drawn from [lower, upper] in training, and their mean in evaluation."""

    name = "rrelu"
    random = True
    local, elementwise, saves, per_element, memory = True, True, "in", 1, "rows"
    params = (_float("lower", 1 / 8), _float("upper", 1 / 3))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        require_float(self.name, ins)
        in_range(self.name, "lower", attrs["lower"], most=attrs["upper"])
        return (ins[0],)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (y,) = super().trace(tape, ins, weights, outs, attrs)
        tape.extra(y, y.shape, y.dtype)  # the slopes
        return (y,)

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.RReLU", (), kwargs(("lower", attrs["lower"], 1 / 8), ("upper", attrs["upper"], 1 / 3)))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        bounds = kwargs(("lower", attrs["lower"], 1 / 8), ("upper", attrs["upper"], 1 / 3))
        return Call("F.rrelu", (In(0),), (*bounds, Kw("training", Fixed("self.training"))))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.rrelu(ins[0], attrs["lower"], attrs["upper"], training)


@register
class GLU(Op):
    """The first half along `dim` times the sigmoid of the second."""

    name = "glu"
    per_element = 3
    params = (Param("dim", "int", -1),)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        require_float(self.name, ins)
        if x.rank < 1:
            raise OpError("ARC0310", "`glu` halves a dimension, and this wire has none", inputs=(0,))
        dim = dim_of(self.name, attrs["dim"], x)
        half = cx.divides(2, x.shape[dim], f"`glu` halves dimension {dim}", inputs=(0,))
        return (TensorType((*x.shape[:dim], half, *x.shape[dim + 1 :]), x.dtype),)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == 1 else None

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"] % len(ins[0])
        size = outs[0].shape[dim]
        half, gate = cx.cut(x[dim], (size, size))
        cx.tie(half, gate)
        return cx.says((*x[:dim], half, *x[dim + 1 :]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), (out,) = ins, outs
        half = tape.view(x, out.shape, x.strides)
        return (tape.pointwise((half, half), out.shape, out.dtype, "in"),)

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.GLU", (), kwargs(("dim", attrs["dim"], -1)))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.glu", (In(0),), kwargs(("dim", attrs["dim"], -1)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.glu(ins[0], attrs["dim"])


@register
class PReLU(Op):
    """Leaky relu with a learned slope, one for all or one a channel. `init` is the slope's (0.25 by default)."""

    name = "prelu"
    local, saves, per_element, memory = True, "in", 2, "copy"
    params = (Param("num_parameters", "int", 1), Param("init", "init?", None))

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        require_float(self.name, ins)
        slopes = attrs["num_parameters"]
        in_range(self.name, "num_parameters", slopes, least=1)
        if slopes != 1:
            have = x.shape[1] if x.rank > 1 else 1
            cx.equal(have, slopes, "channels of `prelu`'s input and `num_parameters`", inputs=(0,))
        return (x,)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return (WeightDecl("weight", (attrs["num_parameters"],), attrs["init"]),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        if attrs["num_parameters"] == 1:
            return cx.says(x)
        return cx.says(x, weights={"weight": (x[1],)}, sizes={"num_parameters": x[1]})

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.PReLU", (), kwargs(("num_parameters", attrs["num_parameters"], 1)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.prelu(ins[0], weights["weight"])


@register
class Identity(Op):
    """Its input."""

    name = "identity"
    local = elementwise = True

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (ins[0],)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        return {}

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return True

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.name, attrs), volume=True)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (ins[0],)

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.Identity")

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return In(0)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return ins[0]
