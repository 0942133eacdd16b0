"""Layers with a bounded Lipschitz constant: the weight is scaled down where its norm is larger than `coeff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, spatial_rank
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Helper, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float
from archlang.ops.window import Window
from archlang.shapes.dim import Size

__all__: list[str] = []

_BASE = Helper(
    "Bounded",
    '''\
class Bounded(nn.Module):
    """Base: the weight divided by max(1, norm / coeff), the norm being that of the map.

    norm: "1" and "inf" (largest sums of sizes, exact), or "2": a power iteration, one
    step in each forward pass in training, begun with many.
    """

    def __init__(self, shape: tuple[int, ...], norm: str, coeff: float) -> None:
        super().__init__()
        self.norm = norm
        self.coeff = coeff
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def start(self, inputs: int, outputs: int) -> None:
        if self.norm != "2":
            return
        self.register_buffer("u", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(inputs), dim=0))
        for _ in range(0 if self.weight.is_meta else 30):
            self.iterate()

    def apply_to(self, v: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def transposed(self, u: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def iterate(self) -> None:
        u, v = self.get_buffer("u"), self.get_buffer("v")
        u.copy_(F.normalize(self.apply_to(v), dim=0))
        v.copy_(F.normalize(self.transposed(u), dim=0))

    def bounded(self) -> torch.Tensor:
        sizes = self.weight.abs().reshape(*self.weight.shape[:2], -1)
        if self.norm == "2":
            if self.training:
                self.iterate()
            u, v = self.get_buffer("u").clone(), self.get_buffer("v").clone()
            norm = torch.dot(u, self.apply_to(v))
        elif self.norm == "1":
            norm = sizes.sum((0, 2)).amax()
        else:
            norm = sizes.sum((1, 2)).amax()
        return self.weight / (norm / self.coeff).clamp(min=1)
''',
)

_LINEAR = Helper(
    "BoundedLinear",
    '''\
class BoundedLinear(Bounded):
    """A linear layer whose Lipschitz constant is at most `coeff`."""

    def __init__(
        self, inputs: int, outputs: int, norm: str = "2", coeff: float = 0.97
    ) -> None:
        super().__init__((outputs, inputs), norm, coeff)
        self.start(inputs, outputs)

    def apply_to(self, v: torch.Tensor) -> torch.Tensor:
        return self.weight @ v

    def transposed(self, u: torch.Tensor) -> torch.Tensor:
        return self.weight.T @ u

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.bounded(), self.bias)
''',
    (_BASE,),
)

_CONV = Helper(
    "BoundedConv2d",
    '''\
class BoundedConv2d(Bounded):
    """A convolution that keeps the size; its Lipschitz constant is at most `coeff`.

    size: height and width of the inputs that the norm "2" is taken for.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        norm: str = "2",
        coeff: float = 0.97,
        size: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__((outputs, inputs, kernel_size, kernel_size), norm, coeff)
        self.padding = kernel_size // 2
        self.size = size
        self.start(inputs * size[0] * size[1], outputs * size[0] * size[1])

    def apply_to(self, v: torch.Tensor) -> torch.Tensor:
        x = v.view(1, -1, *self.size)
        return F.conv2d(x, self.weight, padding=self.padding).flatten()

    def transposed(self, u: torch.Tensor) -> torch.Tensor:
        y = u.view(1, -1, *self.size)
        return F.conv_transpose2d(y, self.weight, padding=self.padding).flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.bounded(), self.bias, padding=self.padding)
''',
    (_BASE,),
)

_NORMS = Param("norm", "str", "2", choices=("1", "2", "inf"))


class _Bounded(Op):
    """Base of both: the scaled weight."""

    carries = True

    def lipschitz(self, attrs: Attrs, norm: str) -> float | None:
        return float(attrs["coeff"]) if attrs["norm"] == norm else None

    def check(self, args: Mapping[str, Attr], size: str) -> None:
        in_range(self.name, size, args[size], least=1)
        coeff: Any = args["coeff"]
        if coeff <= 0:
            raise OpError("ARC0220", f"`{self.name}`: `coeff` is {coeff}, and must be positive", param="coeff")

    def layers(self, attrs: Attrs) -> int:
        return 1

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """As in evaluation: two a MAC; for each element of the weight one to scale it, and two to measure the norm, but
        for the norm "2" of a convolution, which is a convolution."""
        counted = attrs["norm"] == "2" and len(self.shape(attrs)) > 2
        return 2 * self.macs(ins, outs, attrs) + prod(self.shape(attrs), start=1 if counted else 3)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), weight = ins, weights["weight"]
        norm = tape.new((), parents=(weight,))
        if attrs["norm"] == "2":
            for name in ("u", "v"):
                tape.extra(norm, weights[name].shape)
        else:
            tape.extra(norm, (weight.shape[0 if attrs["norm"] == "inf" else 1],))  # the sums
            tape.extra(norm, ())  # the largest
        for _ in range(2):  # norm / coeff, before and after it is limited
            tape.extra(norm, ())
        scaled = tape.new(weight.shape, parents=(weight,))
        if weight.rank > 2:
            return (tape.apply((x, scaled, weights["bias"]), outs[0].shape, outs[0].dtype, "in"),)
        y = tape.linear(x, scaled, weights["bias"])
        if x.grad:
            tape.keep(scaled)
        return (y,)

    def shape(self, attrs: Attrs) -> tuple[int, ...]:
        """The weight's."""
        raise NotImplementedError

    def positions(self, attrs: Attrs) -> int:
        """How many of the input that the norm "2" is taken for."""
        return 1

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out, into = self.shape(attrs)[:2]
        vectors = (("u", out), ("v", into)) if attrs["norm"] == "2" else ()
        return (
            WeightDecl("weight", self.shape(attrs)),
            WeightDecl("bias", (out,)),
            *(WeightDecl(name, (n * self.positions(attrs),), kind="buffer", trainable=False) for name, n in vectors),
        )

    def written(self, attrs: Attrs) -> tuple[str, ...]:
        return ("u", "v") if attrs["norm"] == "2" else ()

    def mapped(self, x: Any, weight: Any, attrs: Attrs) -> Any:
        """The layer without its bias."""
        raise NotImplementedError

    def scaled(self, weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """The weight as the layer uses it; moves `u` and `v` in training."""
        import torch
        import torch.nn.functional as F

        weight = weights["weight"]
        if attrs["norm"] != "2":
            dims = [d for d in range(weight.dim()) if d != (1 if attrs["norm"] == "1" else 0)]
            norm = weight.abs().sum(dims).amax()
        else:
            u, v = weights["u"], weights["v"]
            shape = (1, self.shape(attrs)[1], *attrs.get("size", ()))
            if training:
                with torch.enable_grad():
                    x = v.clone().view(shape).requires_grad_()
                    y = self.mapped(x, weight.detach(), attrs)
                u.copy_(F.normalize(y.detach().flatten(), dim=0))
                v.copy_(F.normalize(torch.autograd.grad(y, x, u.view_as(y))[0].flatten(), dim=0))
            norm = torch.dot(u.clone(), self.mapped(v.clone().view(shape), weight, attrs).flatten())
        return weight / (norm / attrs["coeff"]).clamp(min=1)


@register
class LipschitzLinear(_Bounded):
    """A linear layer with a Lipschitz constant of at most `coeff`, from a norm to the same norm: "1", "inf", or "2" by
    power iteration (Behrmann et al., 2019)."""

    name = "lipschitz_linear"
    params = (Param("out_features", "int"), _NORMS, Param("coeff", "float", 0.97))

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        self.check(args, "out_features")
        if ins[0].rank < 1:
            raise OpError("ARC0310", f"`{self.name}` takes [..., features], and this is {ins[0]}", inputs=(0,))
        return {**args, "in_features": channels(self.name, ins[0], cx, -1)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        same_channels(self.name, ins[0], attrs["in_features"], cx, dim=-1)
        return (TensorType((*ins[0].shape[:-1], attrs["out_features"]), ins[0].dtype),)

    def shape(self, attrs: Attrs) -> tuple[int, ...]:
        return attrs["out_features"], attrs["in_features"]

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["in_features"])

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(("norm", attrs["norm"], "2"), ("coeff", attrs["coeff"], 0.97))
        return Call("BoundedLinear", (Lit(attrs["in_features"]), Lit(attrs["out_features"])), named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_LINEAR,)

    def mapped(self, x: Any, weight: Any, attrs: Attrs) -> Any:
        return x @ weight.T

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.linear(ins[0], self.scaled(weights, attrs, training), weights["bias"])


@register
class LipschitzConv(_Bounded):
    """A convolution of [B, C, H, W] that keeps the size, with a Lipschitz constant of at most `coeff`: from a norm to
    the same norm, "1", "inf", or "2" by power iteration over images of the input's size, which must be known (Gouk et
    al., 2018)."""

    name = "lipschitz_conv"
    params = (
        Param("out_channels", "int"),
        Param("kernel_size", "int", 3),
        _NORMS,
        Param("coeff", "float", 0.97),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        spatial_rank(self.name, ins[0], (2,))
        self.check(args, "out_channels")
        kernel: Any = args["kernel_size"]
        if kernel < 1 or kernel % 2 == 0:
            message = f"`{self.name}`: `kernel_size` is {kernel}, and must be odd"
            raise OpError("ARC0220", message, param="kernel_size")
        attrs: dict[str, Attr] = {**args, "in_channels": channels(self.name, ins[0], cx)}
        if args["norm"] == "2":
            why = '`lipschitz_conv` measures the norm "2" over images of a known size'
            attrs["size"] = tuple(cx.known(s, why, inputs=(0,)) for s in ins[0].shape[2:])
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        spatial_rank(self.name, x, (2,))
        same_channels(self.name, x, attrs["in_channels"], cx)
        for have, want in zip(x.shape[2:], attrs.get("size", x.shape[2:]), strict=True):
            cx.equal(have, want, "size of `lipschitz_conv`'s input and the one it was measured for", inputs=(0,))
        return (TensorType((x.shape[0], attrs["out_channels"], *x.shape[2:]), x.dtype),)

    def shape(self, attrs: Attrs) -> tuple[int, ...]:
        return attrs["out_channels"], attrs["in_channels"], attrs["kernel_size"], attrs["kernel_size"]

    def positions(self, attrs: Attrs) -> int:
        return prod(attrs["size"])

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Those of the convolution, and of the one that measures the norm "2"."""
        each: int = attrs["in_channels"] * attrs["kernel_size"] ** 2
        measured: int = self.positions(attrs) * attrs["out_channels"] if attrs["norm"] == "2" else 0
        return prod(outs[0].shape, start=each) + measured * each

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        kernel = attrs["kernel_size"]
        return (Window.sliding(kernel, 1, kernel // 2, 1),) * 2

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(("norm", attrs["norm"], "2"), ("coeff", attrs["coeff"], 0.97))
        if "size" in attrs:
            named = (*named, Kw("size", Lit(attrs["size"])))
        sizes = (attrs["in_channels"], attrs["out_channels"], attrs["kernel_size"])
        return Call("BoundedConv2d", tuple(Lit(size) for size in sizes), named)

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_CONV,)

    def mapped(self, x: Any, weight: Any, attrs: Attrs) -> Any:
        import torch.nn.functional as F

        return F.conv2d(x, weight, padding=attrs["kernel_size"] // 2)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        weight = self.scaled(weights, attrs, training)
        return F.conv2d(ins[0], weight, weights["bias"], padding=attrs["kernel_size"] // 2)
