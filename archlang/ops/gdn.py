"""Generalised divisive normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, spatial_rank
from archlang.ops.base import Bijection, Context, Op, Param, register
from archlang.ops.code import Call, Helper, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []

_REPARAM = ("_reparam.pedestal", "_reparam.lower_bound.bound")

_LOWER_BOUND = Helper(
    "LowerBound",
    '''\
class AtLeast(torch.autograd.Function):
    """max(x, bound); below the bound, the gradients that would raise x pass."""

    @staticmethod
    def forward(x: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
        return torch.maximum(x, bound)

    @staticmethod
    def setup_context(
        ctx: torch.autograd.Function,
        inputs: tuple[torch.Tensor, torch.Tensor],
        output: torch.Tensor,
    ) -> None:
        ctx.save_for_backward(inputs[0] >= inputs[1])

    @staticmethod
    def backward(
        ctx: torch.autograd.Function, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None]:
        (above,) = ctx.saved_tensors
        return gradient * (above | (gradient < 0)), None


class LowerBound(nn.Module):
    bound: torch.Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bounded: torch.Tensor = AtLeast.apply(x, self.bound)  # type: ignore[no-untyped-call]
        return bounded
''',
)

_GDN = Helper(
    "GDN",
    '''\
class NonNegative(nn.Module):
    """Reads a parameter as its square, which is at least `minimum`."""

    pedestal: torch.Tensor

    def __init__(self, minimum: float = 0.0) -> None:
        super().__init__()
        pedestal = 2.0**-36
        self.register_buffer("pedestal", torch.tensor([pedestal]))
        self.lower_bound = LowerBound((minimum + pedestal) ** 0.5)

    def root(self, value: torch.Tensor) -> torch.Tensor:
        return (value + self.pedestal).sqrt()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bounded: torch.Tensor = self.lower_bound(x)
        return bounded**2 - self.pedestal


class GDN(nn.Module):
    """y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2); with `inverse`, times the root.

    A linear system in the squares of x, one for each position, undoes the division.
    """

    def __init__(
        self,
        channels: int,
        inverse: bool = False,
        beta_min: float = 1e-6,
        gamma_init: float = 0.1,
    ) -> None:
        super().__init__()
        self.multiply = inverse
        self.beta_reparam = NonNegative(beta_min)
        self.beta = nn.Parameter(self.beta_reparam.root(torch.ones(channels)))
        self.gamma_reparam = NonNegative()
        gamma = gamma_init * torch.eye(channels)
        self.gamma = nn.Parameter(self.gamma_reparam.root(gamma))

    def weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gamma_reparam(self.gamma), self.beta_reparam(self.beta)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.weights()
        norm = F.conv2d(x**2, gamma[:, :, None, None], beta)
        return x * (norm.sqrt() if self.multiply else norm.rsqrt())

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.weights()
        squares = y.movedim(1, -1).unsqueeze(-1) ** 2
        one = torch.eye(len(beta), dtype=y.dtype, device=y.device)
        matrix = one - squares * gamma
        solution: torch.Tensor = torch.linalg.solve(matrix, squares * beta[:, None])
        return solution.squeeze(-1).movedim(-1, 1).sqrt() * y.sign()

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        gamma, beta = self.weights()
        last = x.movedim(1, -1)
        norm = F.linear(last**2, gamma, beta)
        one = torch.eye(len(beta), dtype=x.dtype, device=x.device)
        matrix = one - (last / norm).unsqueeze(-1) * gamma * last.unsqueeze(-2)
        log_det: torch.Tensor = torch.linalg.slogdet(matrix).logabsdet
        return (log_det - norm.log().sum(-1) / 2).flatten(1).sum(1)
''',
    (_LOWER_BOUND,),
)


@register
class GDN(Op):
    """`x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)` over the channels of [B, C, H, W], or with `inverse`, times the root
    (Balle et al., 2016). Names as in CompressAI: both are kept as roots of what they stand for."""

    name = "gdn"
    params = (
        Param("inverse", "bool", False),
        Param("beta_min", "float", 1e-6),
        Param("gamma_init", "float", 0.1),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        spatial_rank(self.name, ins[0], (2,))
        for name in ("beta_min", "gamma_init"):
            in_range(self.name, name, args[name], least=0)
        return {**args, "channels": channels(self.name, ins[0], cx)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        spatial_rank(self.name, ins[0], (2,))
        same_channels(self.name, ins[0], attrs["channels"], cx)
        return (ins[0],)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        n = attrs["channels"]
        buffers = [name + rest for name in ("beta", "gamma") for rest in _REPARAM]
        return (
            WeightDecl("beta", (n,)),
            WeightDecl("gamma", (n, n)),
            *(WeightDecl(name, (1,), kind="buffer", trainable=False) for name in buffers),
        )

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        channel = ins[0][1]
        return cx.says(ins[0], weights={"beta": (channel,), "gamma": (channel, channel)})

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["channels"])

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return 2 * self.macs(ins, outs, attrs) + prod(outs[0].shape, start=3)

    def window(self, attrs: Attrs) -> tuple[()]:
        return ()

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(*((p.name, attrs[p.name], p.default) for p in self.params))
        return Call("GDN", (Lit(attrs["channels"]),), named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_GDN,)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        return None if attrs["inverse"] else Bijection(hypotheses=("what is undone lies in the image",))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        read = []
        for name in ("gamma", "beta"):
            bounded = tape.apply((weights[name],), weights[name].shape)
            tape.extra(bounded, bounded.shape, "bool")  # where the bound does not hold
            read.append(tape.apply((bounded,), bounded.shape, saves="in"))
        squares = tape.pointwise((x,), x.shape, x.dtype, "in")
        norm = tape.apply((squares, read[0]), x.shape, x.dtype, "in", squares.channels_last)
        root = tape.pointwise((norm,), x.shape, x.dtype, "out")
        return (tape.mul(x, root, x.shape, x.dtype),)

    def read(self, name: str, weights: Mapping[str, Any]) -> Any:
        """A parameter as its users see it, for `run`."""
        import torch

        x, pedestal, bound = (weights[f"{name}{rest}"] for rest in ("", *_REPARAM))
        bounded = torch.maximum(x, bound).detach() + (x - x.detach())
        if bounded.requires_grad:
            bounded.register_hook(lambda g: g * ((x >= bound) | (g < 0)))
        return bounded**2 - pedestal

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        (x,) = ins
        gamma, beta = (self.read(name, weights) for name in ("gamma", "beta"))
        norm = F.conv2d(x**2, gamma[:, :, None, None], beta)
        return x * (norm.sqrt() if attrs["inverse"] else norm.rsqrt())

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """x_i^2 = y_i^2 (beta_i + sum_j gamma_ij x_j^2) is linear in the squares of x."""
        import torch

        gamma, beta = (self.read(name, weights) for name in ("gamma", "beta"))
        squares = torch.einsum("bchw->bhwc", outs[0] ** 2)
        matrix = torch.eye(len(beta), dtype=gamma.dtype, device=gamma.device) - torch.einsum(
            "bhwc,cd->bhwcd", squares, gamma
        )
        solution = torch.linalg.solve(matrix, squares * beta)
        return torch.einsum("bhwc->bchw", solution).sqrt() * outs[0].sign()

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        gamma, beta = (self.read(name, weights) for name in ("gamma", "beta"))
        x = torch.einsum("bchw->bhwc", ins[0])
        norm = torch.einsum("cd,bhwd->bhwc", gamma, x**2) + beta
        cross = torch.einsum("bhwc,cd,bhwd->bhwcd", x * norm ** (-1.5), gamma, x)
        jacobian = torch.diag_embed(norm.rsqrt()) - cross
        return torch.linalg.slogdet(jacobian).logabsdet.flatten(1).sum(1)
