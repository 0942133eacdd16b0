"""Functions of each element: what undoes the increasing ones, the logarithm of their slope, bounds of slopes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Bijection, Op
from archlang.ops.code import Bin, Call, Expr, In, Lit, Method, Un
from archlang.ops.rules import is_float
from archlang.records import dataclass

__all__ = ["MONOTONE", "Elementwise", "Monotone", "per_sample", "per_sample_value"]

_X = In(0)
_POSITIVE, _UNIT, _OPEN = "greater than 0", "between 0 and 1", "between -1 and 1"


@dataclass(frozen=True, slots=True)
class Monotone:
    """A function f of each element.

    image: where f's values lie, None for everywhere. slope, slope_value: log f'(x), as an expression and with torch.
    inverse: the op that undoes f, with its attributes; None: `undo`, `undo_value` do.
    """

    slope: Callable[[Attrs], Expr]
    slope_value: Callable[[Any, Attrs], Any]
    image: str | None = None
    inverse: Callable[[Attrs], tuple[str, Attrs]] | None = None
    undo: Callable[[Attrs], Expr] | None = None
    undo_value: Callable[[Any, Attrs], Any] | None = None
    increasing: Callable[[Attrs], bool] = lambda _: True

    def bijection(self, attrs: Attrs) -> Bijection | None:
        """None where the attributes make the function constant somewhere."""
        if not self.increasing(attrs):
            return None
        hypotheses = () if self.image is None else (f"what is undone is {self.image}",)
        return Bijection(hypotheses=hypotheses, inverse=self.inverse(attrs) if self.inverse else None)


def per_sample(value: Expr) -> Expr:
    """The sum over all dimensions but the first."""
    return _torch("sum", _torch("flatten", value, Lit(1)), Lit(1))


def per_sample_value(x: Any) -> Any:
    return x.reshape(len(x), -1).sum(1)


def _f(name: str, *args: Expr) -> Expr:
    return Call(f"F.{name}", args)


def _torch(name: str, *args: Expr) -> Expr:
    return Call(f"torch.{name}", args)


def _times(a: float, b: Expr) -> Expr:
    return b if a == 1 else Bin("*", Lit(a), b)


def _below(slope: float) -> Expr:
    """log of a slope below 0, and 0 above."""
    return Method(_torch("where", Bin("<", _X, Lit(0)), Lit(slope), _torch("ones_like", _X)), "log")


def _below_value(x: Any, slope: float) -> Any:
    return math.log(slope) * (x < 0).to(x.dtype)


def _log_softplus_undo(y: Any, beta: float) -> Any:
    import torch

    return y + torch.log(-torch.expm1(-beta * y)) / beta


def _softplus_undo(attrs: Attrs) -> Expr:
    beta, scaled = attrs["beta"], _times(attrs["beta"], _X)
    log = _torch("log", Un("-", _torch("expm1", Un("-", scaled))))
    curved = Bin("+", _X, log if beta == 1 else Bin("/", log, Lit(beta)))
    return _torch("where", Bin(">", scaled, Lit(attrs["threshold"])), _X, curved)


def _softplus_undo_value(y: Any, attrs: Attrs) -> Any:
    import torch

    linear = attrs["beta"] * y > attrs["threshold"]
    return torch.where(linear, y, _log_softplus_undo(y, attrs["beta"]))


def _elu_undo(inner: Callable[[Expr, float], Expr]) -> Callable[[Attrs], Expr]:
    def undo(attrs: Attrs) -> Expr:
        alpha = attrs["alpha"]
        scaled = _X if alpha == 1 else Bin("/", _X, Lit(alpha))
        return _torch("where", Bin(">", _X, Lit(0)), _X, inner(_torch("log1p", scaled), alpha))

    return undo


def _where_positive(y: Any, other: Any) -> Any:
    import torch

    return torch.where(y > 0, y, other)


def _pair(other: str) -> Callable[[Attrs], tuple[str, Attrs]]:
    return lambda _: (other, {})


def _log_sigmoid(x: Any) -> Any:
    import torch.nn.functional as F

    return F.logsigmoid(x)


def _log_cosh(x: Expr) -> Expr:
    return Bin("-", Bin("-", x, _f("logsigmoid", Bin("*", Lit(2), x))), Lit(math.log(2)))


def _log_cosh_value(x: Any) -> Any:
    return x.abs() - _log_sigmoid(2 * x.abs()) - math.log(2)


MONOTONE: Mapping[str, Monotone] = {
    "leaky_relu": Monotone(
        lambda a: _below(a["negative_slope"]),
        lambda x, a: _below_value(x, a["negative_slope"]),
        inverse=lambda a: ("leaky_relu", {"negative_slope": 1 / a["negative_slope"]}),
        increasing=lambda a: a["negative_slope"] > 0,
    ),
    "elu": Monotone(
        lambda a: (
            Bin("+", Method(_X, "clamp", (Lit(None), Lit(0))), _below(a["alpha"]))
            if a["alpha"] != 1
            else Method(_X, "clamp", (Lit(None), Lit(0)))
        ),
        lambda x, a: x.clamp(max=0) + (0 if a["alpha"] == 1 else _below_value(x, a["alpha"])),
        image="greater than -alpha",
        undo=_elu_undo(lambda log, _: log),
        undo_value=lambda y, a: _where_positive(y, (y / a["alpha"]).log1p()),
        increasing=lambda a: a["alpha"] > 0,
    ),
    "celu": Monotone(
        lambda a: Method(Bin("/", _X, Lit(a["alpha"])), "clamp", (Lit(None), Lit(0))),
        lambda x, a: (x / a["alpha"]).clamp(max=0),
        image="greater than -alpha",
        undo=_elu_undo(lambda log, alpha: _times(alpha, log)),
        undo_value=lambda y, a: _where_positive(y, a["alpha"] * (y / a["alpha"]).log1p()),
        increasing=lambda a: a["alpha"] > 0,
    ),
    "softplus": Monotone(
        lambda a: _f("logsigmoid", _times(a["beta"], _X)),
        lambda x, a: _log_sigmoid(a["beta"] * x),
        image=_POSITIVE,
        undo=_softplus_undo,
        undo_value=_softplus_undo_value,
        increasing=lambda a: a["beta"] > 0 and a["threshold"] >= 20,  # a lower threshold is a visible step
    ),
    "softsign": Monotone(
        lambda _: Bin("*", Lit(-2), _torch("log1p", _torch("abs", _X))),
        lambda x, _: -2 * x.abs().log1p(),
        image=_OPEN,
        undo=lambda _: Bin("/", _X, Bin("-", Lit(1), _torch("abs", _X))),
        undo_value=lambda y, _: y / (1 - y.abs()),
    ),
    "logsigmoid": Monotone(
        lambda _: _f("logsigmoid", Un("-", _X)),
        lambda x, _: _log_sigmoid(-x),
        image="less than 0",
        undo=lambda _: Bin("-", _X, _torch("log", Un("-", _torch("expm1", _X)))),
        undo_value=lambda y, _: y - (-y.expm1()).log(),
    ),
    "sigmoid": Monotone(
        lambda _: Bin("+", _f("logsigmoid", _X), _f("logsigmoid", Un("-", _X))),
        lambda x, _: _log_sigmoid(x) + _log_sigmoid(-x),
        image=_UNIT,
        inverse=_pair("logit"),
    ),
    "logit": Monotone(
        lambda _: Bin("-", Un("-", _torch("log", _X)), _torch("log1p", Un("-", _X))),
        lambda x, _: -x.log() - (-x).log1p(),
        inverse=_pair("sigmoid"),
    ),
    "tanh": Monotone(
        lambda _: Bin("*", Lit(-2), _log_cosh(_X)),
        lambda x, _: -2 * _log_cosh_value(x),
        image=_OPEN,
        inverse=_pair("atanh"),
    ),
    "atanh": Monotone(
        lambda _: Un("-", _torch("log1p", Un("-", _torch("square", _X)))),
        lambda x, _: -(-x.square()).log1p(),
        inverse=_pair("tanh"),
    ),
    "sinh": Monotone(
        lambda _: _log_cosh(_X),
        lambda x, _: _log_cosh_value(x),
        inverse=_pair("asinh"),
    ),
    "asinh": Monotone(
        lambda _: Bin("/", _torch("log1p", _torch("square", _X)), Lit(-2)),
        lambda x, _: -x.square().log1p() / 2,
        inverse=_pair("sinh"),
    ),
    "exp": Monotone(lambda _: _X, lambda x, _: x, image=_POSITIVE, inverse=_pair("log")),
    "log": Monotone(lambda _: Un("-", _torch("log", _X)), lambda x, _: -x.log(), inverse=_pair("exp")),
    "expm1": Monotone(lambda _: _X, lambda x, _: x, image="greater than -1", inverse=_pair("log1p")),
    "log1p": Monotone(lambda _: Un("-", _torch("log1p", _X)), lambda x, _: -x.log1p(), inverse=_pair("expm1")),
}

_SLOPES: Mapping[str, Callable[[Attrs], float]] = {  # bounds of |f'|, rounded up
    **dict.fromkeys(("relu", "relu6", "hardtanh", "tanh", "softsign", "logsigmoid"), lambda _: 1.0),
    **dict.fromkeys(("abs", "asinh", "atan", "cos", "sin", "softshrink", "tanhshrink"), lambda _: 1.0),
    "leaky_relu": lambda a: max(1.0, abs(a["negative_slope"])),
    "elu": lambda a: max(1.0, abs(a["alpha"])),
    "celu": lambda a: 1.0 if a["alpha"] > 0 else math.inf,
    "sigmoid": lambda _: 0.25,
    "softplus": lambda a: 1.0 if a["beta"] > 0 and a["threshold"] >= 20 else math.inf,
    "hardsigmoid": lambda _: 0.166667,
    "selu": lambda _: 1.7581,
    "silu": lambda _: 1.09984,
    "gelu": lambda _: 1.13,
    "mish": lambda _: 1.0892,
    "hardswish": lambda _: 1.5,
}


class Elementwise(Op):
    """Base of functions of one wire, element by element; those of the table can be undone."""

    @property
    def _monotone(self) -> Monotone:
        return MONOTONE[self.name]

    def lipschitz(self, attrs: Attrs) -> float | None:
        return _SLOPES[self.name](attrs) if self.name in _SLOPES else None

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        if self.name not in MONOTONE or not is_float(ins[0].dtype):
            return None
        return self._monotone.bijection(attrs)

    def inverse_call(self, attrs: Attrs, outputs: int) -> Expr:
        assert self._monotone.undo is not None
        return self._monotone.undo(attrs)

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        assert self._monotone.undo_value is not None
        return self._monotone.undo_value(outs[0], attrs)

    def log_det_call(self, attrs: Attrs, inputs: int) -> Expr:
        return per_sample(self._monotone.slope(attrs))

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return per_sample_value(self._monotone.slope_value(ins[0], attrs))
