"""How a tensor of several members starts: the part of each as its own tensor would."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from archlang.ir.graph import Init
from archlang.ops.init import INITIALISERS

__all__ = ["joins", "several"]

_ALIKE = ("constant", "normal", "ones", "trunc_normal", "uniform", "zeros")  # which know nothing of a shape
_SCALED = ("kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform")
_GAINS = {"tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}  # of torch.nn.init.calculate_gain; others are 1


def joins(init: Init | None, layer: bool = True) -> bool:
    """Whether tensors that start so, end to end, are one tensor with an initial value of its own.

    layer: as weights of a layer, of which vectors are those of channels.
    """
    return init is None or init.name in _ALIKE or (layer and init.name in (*_SCALED, "dirac", "values"))


def several(init: Init | None, shape: Sequence[int], count: int, dim: int = 0) -> Init | None:
    """The initial value of `count` tensors of one shape, end to end in a dimension. init: of each, see `joins`."""
    if init is None or init.name in _ALIKE:
        return init
    args = {p.name: p.default for p in INITIALISERS[init.name].params} | dict(init.args)
    if init.name == "values":
        return Init("values", (("numbers", tuple(args["numbers"]) * count),))
    if init.name == "dirac":
        return Init("dirac", (("groups", args["groups"] * count),))
    if dim == 0 and args.get("mode") == "fan_in":
        return init
    area = prod(shape[2:], start=1)
    fan_in, fan_out = shape[1] * area, shape[0] * area
    if init.name.startswith("xavier"):
        spread = args["gain"] * sqrt(2 / (fan_in + fan_out))
    else:
        gain = sqrt(2 / (1 + args["a"] ** 2)) if args["nonlinearity"] == "leaky_relu" else None
        gain = _GAINS.get(args["nonlinearity"], 1.0) if gain is None else gain
        spread = gain / sqrt(fan_in if args["mode"] == "fan_in" else fan_out)
    if init.name.endswith("normal"):
        return Init("normal", (("std", spread),))
    return Init("uniform", (("a", -sqrt(3) * spread), ("b", sqrt(3) * spread)))
