"""Activation normalisation: a learned affine map of each channel, set by the first batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, kwargs, same_channels
from archlang.ops.base import Bijection, Context, Op, OpError, register
from archlang.ops.code import Call, Helper, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.guard import REQUIRE
from archlang.ops.rules import require_float

__all__: list[str] = []

_ACT_NORM = Helper(
    "ActNorm",
    '''\
class ActNorm(nn.Module):
    """`scale * (x + loc)` for each channel of [B, C, ...].

    The first batch in training sets both, so that its results have mean 0 and
    variance 1. That happens eagerly: run one batch before `torch.compile`.
    """

    initialized: torch.Tensor

    def __init__(self, num_features: int, dims: int = 2) -> None:
        super().__init__()
        shape = (1, num_features, *[1] * dims)
        self.loc = nn.Parameter(torch.zeros(shape))
        self.scale = nn.Parameter(torch.ones(shape))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.prepare(x)
        return self.scale * (x + self.loc)

    @torch.no_grad()
    def prepare(self, x: torch.Tensor) -> None:
        if not self.training or torch.compiler.is_compiling() or self.initialized:
            return
        dims = [0, *range(2, x.dim())]
        std, mean = torch.std_mean(x, dims, keepdim=True)
        self.loc.copy_(-mean)
        self.scale.copy_(1 / (std + 1e-6))
        self.initialized.fill_(1)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        require(self.scale.ne(0).all(), "`scale` of a normalisation has a 0")
        return y / self.scale - self.loc

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        self.prepare(x)
        positions = x[0, 0].numel()
        return (positions * self.scale.abs().log().sum()).expand(x.shape[0])
''',
    (REQUIRE,),
)


@register
class ActNorm(Op):
    """`scale * (x + loc)` for each channel of [B, C, ...]; the first batch in training sets both, so that its results
    have mean 0 and variance 1 (Kingma and Dhariwal, 2018)."""

    name = "actnorm"
    local, per_element = True, 2

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        require_float(self.name, ins)
        if x.rank < 2:
            raise OpError("ARC0310", f"`actnorm` takes [B, C, ...], and this is {x}", inputs=(0,))
        return {"num_features": channels(self.name, x, cx), "dims": x.rank - 2}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.rank - 2 != attrs["dims"]:
            message = f"this `actnorm` was made for {attrs['dims'] + 2} dimensions, and this is {x}"
            raise OpError("ARC0310", message, inputs=(0,))
        same_channels(self.name, x, attrs["num_features"], cx)
        return (x,)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        shape = (1, attrs["num_features"], *[1] * attrs["dims"])
        return (
            WeightDecl("loc", shape),
            WeightDecl("scale", shape),
            WeightDecl("initialized", (), dtype="uint8", kind="buffer"),
        )

    def written(self, attrs: Attrs) -> tuple[str, ...]:
        return ("initialized",)

    def module(self, attrs: Attrs) -> Call:
        return Call("ActNorm", (Lit(attrs["num_features"]),), kwargs(("dims", attrs["dims"], 2)))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_ACT_NORM,)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        hypotheses = ("`scale` has no 0", "it is initialised")
        return Bijection(hypotheses=hypotheses, effects=("the first batch in training sets the weights",))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        moved = tape.pointwise((x, weights["loc"]), x.shape, x.dtype)
        return (tape.mul(weights["scale"], moved, x.shape, x.dtype),)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        _prepare(x, weights, training)
        return weights["scale"] * (x + weights["loc"])

    def fault(self, weights: Mapping[str, Any], attrs: Attrs) -> str | None:
        return None if bool(weights["scale"].ne(0).all()) else "`scale` has a 0"

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return outs[0] / weights["scale"] - weights["loc"]

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,) = ins
        _prepare(x, weights, training)
        return (x[0, 0].numel() * weights["scale"].abs().log().sum()).expand(len(x))


def _prepare(x: Any, weights: Mapping[str, Any], training: bool) -> None:
    """The first batch in training sets the weights."""
    import torch

    loc, scale = weights["loc"], weights["scale"]
    if training and not bool(weights["initialized"]):
        with torch.no_grad():
            flat = x.transpose(0, 1).flatten(1)  # [C, B * positions]
            std, mean = torch.std_mean(flat, 1)
            loc.copy_(-mean.view_as(loc))
            scale.copy_(1 / (std.view_as(scale) + 1e-6))
            weights["initialized"].fill_(1)
