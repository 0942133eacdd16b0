"""Square matrices over the channels: an invertible one, as it is or as an LU product, and an orthogonal one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, kwargs, same_channels
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Call, Helper, Lit
from archlang.ops.conv import convolved
from archlang.ops.eager import Ghost, Tape
from archlang.ops.guard import REQUIRE
from archlang.ops.rules import require_float
from archlang.ops.window import Window
from archlang.shapes.dim import Size

__all__: list[str] = []

_BASE = Helper(
    "ChannelMatrix",
    '''\
class ChannelMatrix(nn.Module):
    """Base: multiplies the channels of [B, C, ...] by an invertible matrix.

    dims: the number of dimensions after the channels; 0: the last dimension is meant.
    """

    named = "weight"

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def matrix(self) -> torch.Tensor:
        raise NotImplementedError

    def mix(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        if self.dims == 0:
            return F.linear(x, matrix)
        return F.conv1d(x.flatten(2), matrix.unsqueeze(2)).view_as(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x, self.matrix())

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        matrix = self.matrix()
        inverse = torch.linalg.inv_ex(matrix).inverse
        condition = matrix.norm() * inverse.norm()
        regular = condition < 1 / torch.finfo(matrix.dtype).eps
        require(regular, f"`{self.named}` makes a matrix that is singular")
        return self.mix(y, inverse)

    def log_abs_det(self) -> torch.Tensor:
        log_abs_det: torch.Tensor = torch.linalg.slogdet(self.matrix()).logabsdet
        return log_abs_det

    def log_det(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1] if self.dims else x.shape[-1]
        return (x[0].numel() // channels * self.log_abs_det()).expand(x.shape[0])
''',
    (REQUIRE,),
)

_PLAIN = Helper(
    "InvertibleMatrix",
    '''\
class InvertibleMatrix(ChannelMatrix):
    """A free matrix; it begins as a random rotation."""

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__(dims)
        self.weight = nn.Parameter(torch.empty(channels, channels, *[1] * dims))
        nn.init.orthogonal_(self.weight)

    def matrix(self) -> torch.Tensor:
        return self.weight.flatten(1)
''',
    (_BASE,),
)

_LU = Helper(
    "InvertibleMatrixLU",
    '''\
class InvertibleMatrixLU(ChannelMatrix):
    """P L (U + diag(s)): s keeps its signs, w_s is the logarithm of its size."""

    named = "w_s"
    w_p: torch.Tensor
    u_mask: torch.Tensor
    l_mask: torch.Tensor
    s_sign: torch.Tensor
    l_eye: torch.Tensor

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__(dims)
        rotation = nn.init.orthogonal_(torch.empty(channels, channels))
        p, lower, upper = torch.linalg.lu(rotation)
        scale = upper.diagonal()
        above = torch.ones(channels, channels).triu(1)
        self.w_l = nn.Parameter(lower)
        self.w_s = nn.Parameter(scale.abs().log())
        self.w_u = nn.Parameter(upper.triu(1))
        self.register_buffer("w_p", p)
        self.register_buffer("u_mask", above)
        self.register_buffer("l_mask", above.T.contiguous())
        self.register_buffer("s_sign", scale.sign())
        self.register_buffer("l_eye", torch.eye(channels))

    def matrix(self) -> torch.Tensor:
        lower = self.w_l * self.l_mask + self.l_eye
        scale = self.s_sign * self.w_s.exp()
        return self.w_p @ lower @ (self.w_u * self.u_mask + torch.diag(scale))

    def log_abs_det(self) -> torch.Tensor:
        return self.w_s.sum()
''',
    (_BASE,),
)

_ORTHOGONAL = {
    "householder": Helper(
        "HouseholderMatrix",
        '''\
class HouseholderMatrix(ChannelMatrix):
    """A product of reflections along the columns below the diagonal, with its signs."""

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__(dims)
        self.weight = nn.Parameter(torch.randn(channels, channels))

    def matrix(self) -> torch.Tensor:
        below = self.weight.tril(-1)
        tau = 2 / (1 + below.square().sum(0))
        product: torch.Tensor = torch.linalg.householder_product(below, tau)
        return product * self.weight.detach().diagonal().sign()

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return self.mix(y, self.matrix().T)
''',
        (_BASE,),
    ),
    "cayley": Helper(
        "CayleyMatrix",
        '''\
class CayleyMatrix(ChannelMatrix):
    """(I - A)^-1 (I + A), A skew-symmetric with half the weight below the diagonal."""

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__(dims)
        self.weight = nn.Parameter(torch.randn(channels, channels) / channels**0.5)

    def matrix(self) -> torch.Tensor:
        below = self.weight.tril(-1)
        half = (below - below.T) / 2
        one = torch.eye(*half.shape, dtype=half.dtype, device=half.device)
        rotation: torch.Tensor = torch.linalg.solve(one - half, one + half)
        return rotation

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return self.mix(y, self.matrix().T)
''',
        (_BASE,),
    ),
    "matrix_exp": Helper(
        "ExponentialMatrix",
        '''\
class ExponentialMatrix(ChannelMatrix):
    """exp(A), A skew-symmetric with the weight below the diagonal."""

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__(dims)
        self.weight = nn.Parameter(torch.randn(channels, channels) / channels**0.5)

    def matrix(self) -> torch.Tensor:
        below = self.weight.tril(-1)
        return torch.matrix_exp(below - below.T)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return self.mix(y, self.matrix().T)
''',
        (_BASE,),
    ),
}


class _ChannelMatrix(Op):
    """Base: a square matrix over dimension 1 of [B, C, ...] (`_Conv`) or over the last one."""

    last: ClassVar[bool]

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        require_float(self.name, ins)
        least = 1 if self.last else 3
        if x.rank < least:
            form = "[..., features]" if self.last else "[B, C, ...] with a spatial dimension"
            raise OpError("ARC0310", f"`{self.name}` takes {form}, and this is {x}", inputs=(0,))
        dims = 0 if self.last else x.rank - 2
        return {**args, "channels": channels(self.name, x, cx, -1 if self.last else 1), "dims": dims}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if not self.last and x.rank - 2 != attrs["dims"]:
            message = f"this `{self.name}` was made for {attrs['dims'] + 2} dimensions, and this is {x}"
            raise OpError("ARC0310", message, inputs=(0,))
        same_channels(self.name, x, attrs["channels"], cx, dim=-1 if self.last else 1)
        return (x,)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["channels"])

    def layers(self, attrs: Attrs) -> int:
        return 1

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return None if self.last else ()

    def module(self, attrs: Attrs) -> Call:
        (helper,) = self.helpers(attrs)
        return Call(helper.name, (Lit(attrs["channels"]),), kwargs(("dims", attrs["dims"], 2)))

    def matrix_trace(self, tape: Tape, weights: Mapping[str, Ghost], attrs: Attrs) -> Ghost:
        """The matrix without values, and what its computation keeps."""
        raise NotImplementedError

    def matrix(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        """[C, C], for `run`."""
        raise NotImplementedError

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), matrix = ins, self.matrix_trace(tape, weights, attrs)
        if self.last:
            y = tape.linear(x, matrix)
            if x.grad:
                tape.keep(matrix)
            return (y,)
        flat = tape.flatten(x, 2)
        kernel = tape.unsqueeze(matrix, 2)
        y = convolved(tape, (flat, kernel), TensorType(flat.shape, x.dtype), {"groups": 1, "kernel_size": (1,)})
        return (tape.reshape(y, x.shape),)

    def mix(self, x: Any, matrix: Any) -> Any:
        """`matrix` times the channels of x."""
        import torch.nn.functional as F

        return F.linear(x, matrix) if self.last else F.conv1d(x.flatten(2), matrix.unsqueeze(2)).view_as(x)

    def inverse_of(self, matrix: Any) -> Any:
        import torch

        return torch.linalg.inv(matrix)

    def log_abs_det(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        import torch

        return torch.linalg.slogdet(self.matrix(weights, attrs)).logabsdet

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return self.mix(ins[0], self.matrix(weights, attrs))

    def inverse_run(self, outs: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return self.mix(outs[0], self.inverse_of(self.matrix(weights, attrs)))

    def log_det_run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        positions = ins[0][0].numel() // attrs["channels"]
        return (positions * self.log_abs_det(weights, attrs)).expand(len(ins[0]))


class _Invertible(_ChannelMatrix):
    """A matrix with a determinant other than 0."""

    params = (Param("lu", "bool", False),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        hypothesis = "`w_s` is finite" if attrs["lu"] else "det `weight` is not 0"
        return Bijection(hypotheses=(hypothesis,))

    def fault(self, weights: Mapping[str, Any], attrs: Attrs) -> str | None:
        import torch

        matrix = self.matrix(weights, attrs)
        condition = matrix.norm() * torch.linalg.inv_ex(matrix).inverse.norm()
        if bool(condition < 1 / torch.finfo(matrix.dtype).eps):
            return None
        return f"`{'w_s' if attrs['lu'] else 'weight'}` makes a matrix that is singular"

    def log_abs_det(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        return weights["w_s"].sum() if attrs["lu"] else super().log_abs_det(weights, attrs)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        products = 2 * attrs["channels"] ** 3 if attrs["lu"] else 0
        return super().macs(ins, outs, attrs) + products

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        n = attrs["channels"]
        if not attrs["lu"]:
            return (WeightDecl("weight", (n, n, *[1] * attrs["dims"])),)
        parameters = (WeightDecl("w_l", (n, n)), WeightDecl("w_s", (n,)), WeightDecl("w_u", (n, n)))
        shapes = (("w_p", (n, n)), ("u_mask", (n, n)), ("l_mask", (n, n)), ("s_sign", (n,)), ("l_eye", (n, n)))
        return (*parameters, *(WeightDecl(name, shape, kind="buffer") for name, shape in shapes))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_LU if attrs["lu"] else _PLAIN,)

    def matrix_trace(self, tape: Tape, weights: Mapping[str, Ghost], attrs: Attrs) -> Ghost:
        n = attrs["channels"]
        square = (n, n)
        if not attrs["lu"]:
            return tape.flatten(weights["weight"], 1)
        lower = tape.apply((weights["w_l"],), square)
        exp = tape.apply((weights["w_s"],), (n,), saves="out")
        scale = tape.apply((exp,), (n,))
        upper = tape.apply((weights["w_u"], scale), square)
        left = tape.matmul(weights["w_p"], lower, square)
        return tape.matmul(left, upper, square)

    def matrix(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        if not attrs["lu"]:
            return weights["weight"].view(attrs["channels"], -1)
        lower = weights["w_l"] * weights["l_mask"] + weights["l_eye"]
        upper = weights["w_u"] * weights["u_mask"] + (weights["s_sign"] * weights["w_s"].exp()).diag()
        return weights["w_p"] @ lower @ upper


@register
class InvertibleConv(_Invertible):
    """A 1x1 convolution of [B, C, ...] with an invertible matrix, free (`weight`) or P L U (Kingma and Dhariwal,
    2018)."""

    name, last = "invertible_conv", False


@register
class InvertibleLinear(_Invertible):
    """A product of the last dimension with an invertible matrix, free (`weight`) or P L U."""

    name, last = "invertible_linear", True


class _Orthogonal(_ChannelMatrix):
    """A rotation: the square matrices of torch.nn.utils.parametrizations.orthogonal."""

    params = (Param("orthogonal_map", "str", "householder", choices=("householder", "cayley", "matrix_exp")),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(volume=True)

    def inverse_of(self, matrix: Any) -> Any:
        return matrix.T

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return (WeightDecl("weight", (attrs["channels"], attrs["channels"])),)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_ORTHOGONAL[attrs["orthogonal_map"]],)

    def matrix_trace(self, tape: Tape, weights: Mapping[str, Ghost], attrs: Attrs) -> Ghost:
        n = attrs["channels"]
        square = (n, n)
        below = tape.apply((weights["weight"],), square)
        if attrs["orthogonal_map"] == "householder":
            squares = tape.apply((below,), square, saves="in")
            inverse = tape.apply((squares,), (n,), saves="out")
            tau = tape.apply((inverse,), (n,))
            product = tape.apply((below, tau), square, saves="in out")
            tape.extra(product, (n,))  # the signs
            return tape.apply((product,), square)
        skew = tape.apply((below,), square)
        if attrs["orthogonal_map"] == "matrix_exp":
            return tape.apply((skew,), square, saves="in")
        result = tape.apply((tape.apply((skew,), square),), square, saves="in out")  # A and A^-1 B
        tape.extra(result, square)  # LU of A
        tape.extra(result, (n,), "int32")  # pivots
        return result

    def matrix(self, weights: Mapping[str, Any], attrs: Attrs) -> Any:
        import torch

        below = weights["weight"].tril(-1)
        if attrs["orthogonal_map"] == "householder":
            product = torch.linalg.householder_product(below, 2 / (1 + below.square().sum(0)))
            return product * weights["weight"].detach().diagonal().sign()
        skew = below - below.T
        if attrs["orthogonal_map"] == "matrix_exp":
            return torch.linalg.matrix_exp(skew)
        one = torch.eye(attrs["channels"], dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(one - skew / 2, one + skew / 2)


@register
class OrthogonalConv(_Orthogonal):
    """A 1x1 convolution of [B, C, ...] with a rotation of the channels, as in torch's parametrization `orthogonal`;
    below the diagonal lie its free numbers."""

    name, last = "orthogonal_conv", False


@register
class OrthogonalLinear(_Orthogonal):
    """A rotation of the last dimension, as in torch's parametrization `orthogonal`."""

    name, last = "orthogonal_linear", True
