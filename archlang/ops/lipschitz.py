"""Layers with a bounded Lipschitz constant: the weight is scaled down where its norm is larger than `coeff`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, prod
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

_CONJUGATE = Helper(
    "conjugate",
    '''\
def conjugate(p: float) -> float:
    """The q with 1 / p + 1 / q = 1: the norm dual to p."""
    return float("inf") if p == 1 else 1 / (1 - 1 / p)
''',
)

_ALIGNED = Helper(
    "aligned",
    '''\
def aligned(x: torch.Tensor, p: float) -> torch.Tensor:
    """The vector whose product with x is the p-norm of x; in the dual norm it is 1."""
    if p != 2:
        x = x.sign() * (x.abs() / x.abs().amax().clamp(min=1e-12)) ** (p - 1)
    return F.normalize(x, p=conjugate(p), dim=0)
''',
    (_CONJUGATE,),
)

_BASE = Helper(
    "Bounded",
    '''\
class Bounded(nn.Module):
    """Base: the weight divided by max(1, norm / coeff), the norm being that of the map.

    domain, codomain: the norms of inputs and results, 1 to inf. From 1 and to inf the
    norm of the map is exact. Else a power iteration finds it, one step in each forward
    pass in training; it begins with 30, of mixed norms with the best of ten starts.
    """

    def __init__(
        self, shape: tuple[int, ...], domain: float, codomain: float, coeff: float
    ) -> None:
        super().__init__()
        self.domain = domain
        self.codomain = codomain
        self.coeff = coeff
        self.exact = domain == 1 or codomain == float("inf")
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(shape[0]))

    def start(self, inputs: int, outputs: int) -> None:
        if self.exact:
            return
        self.register_buffer("u", torch.zeros(outputs))
        self.register_buffer("v", torch.zeros(inputs))
        if self.weight.is_meta:
            return
        found = []
        for _ in range(1 if self.domain == self.codomain == 2 else 10):
            self.get_buffer("v").copy_(F.normalize(torch.randn(inputs), dim=0))
            for _ in range(30):
                self.iterate()
            found.append((self.measured().item(), self.get_buffer("v").clone()))
        self.get_buffer("v").copy_(max(found, key=lambda pair: pair[0])[1])
        self.iterate()

    def apply_to(self, v: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def transposed(self, u: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def iterate(self) -> None:
        u, v = self.get_buffer("u"), self.get_buffer("v")
        u.copy_(aligned(self.apply_to(v), self.codomain))
        v.copy_(aligned(self.transposed(u), conjugate(self.domain)))

    def measured(self) -> torch.Tensor:
        if not self.exact:
            u, v = self.get_buffer("u").clone(), self.get_buffer("v").clone()
            return torch.dot(u, self.apply_to(v))
        columns = self.domain == 1
        order = self.codomain if columns else conjugate(self.domain)
        dims = [d for d in range(self.weight.dim()) if d != int(columns)]
        norm: torch.Tensor = torch.linalg.vector_norm(self.weight, order, dims).amax()
        return norm

    def bounded(self) -> torch.Tensor:
        if self.training and not self.exact:
            self.iterate()
        return self.weight / (self.measured() / self.coeff).clamp(min=1)
''',
    (_CONJUGATE, _ALIGNED),
)

_LINEAR = Helper(
    "BoundedLinear",
    '''\
class BoundedLinear(Bounded):
    """A linear layer whose Lipschitz constant is at most `coeff`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        domain: float = 2,
        codomain: float = 2,
        coeff: float = 0.97,
    ) -> None:
        super().__init__((outputs, inputs), domain, codomain, coeff)
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

    size: height and width of the inputs that a power iteration runs over.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int,
        domain: float = 2,
        codomain: float = 2,
        coeff: float = 0.97,
        size: tuple[int, int] = (1, 1),
    ) -> None:
        shape = (outputs, inputs, kernel_size, kernel_size)
        super().__init__(shape, domain, codomain, coeff)
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

_DEFAULTS = (("domain", 2.0), ("codomain", 2.0), ("coeff", 0.97))
_NORMS = (Param("domain", "float", 2.0), Param("codomain", "float?", None))
_COEFF = Param("coeff", "float", 0.97)


def _conjugate(p: float) -> float:
    return inf if p == 1 else 1 / (1 - 1 / p)


def _norms(attrs: Attrs) -> tuple[float, float]:
    p: Any = attrs["domain"]
    q: Any = attrs["codomain"]
    return p, q


class _Bounded(Op):
    """Base of both: the scaled weight."""

    carries = True

    def lipschitz(self, attrs: Attrs) -> float | None:
        return float(attrs["coeff"])

    def norms(self, attrs: Attrs) -> tuple[float, float] | None:
        return _norms(attrs)

    def check(self, args: Mapping[str, Attr], size: str) -> dict[str, Attr]:
        """The arguments, with the codomain that is meant."""
        in_range(self.name, size, args[size], least=1)
        coeff: Any = args["coeff"]
        if coeff <= 0:
            raise OpError("ARC0220", f"`{self.name}`: `coeff` is {coeff}, and must be positive", param="coeff")
        norms: dict[str, Any] = {"domain": args["domain"], "codomain": args["codomain"]}
        if norms["codomain"] is None:
            norms["codomain"] = norms["domain"]
        for name, p in norms.items():
            if not p >= 1:
                raise OpError("ARC0220", f"`{self.name}`: `{name}` is {p:g}, and norms are from 1 to inf", param=name)
        return {**args, **norms}

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        same = attrs["codomain"] == attrs["domain"]
        return {**super().spell(attrs), "codomain": None if same else attrs["codomain"]}

    def named(self, attrs: Attrs) -> tuple[Kw, ...]:
        return kwargs(*((name, attrs[name], default) for name, default in _DEFAULTS))

    def measures(self, attrs: Attrs) -> bool:
        """Whether a power iteration finds the norm, which is exact from 1 and to inf."""
        p, q = _norms(attrs)
        return p != 1 and q != inf

    def layers(self, attrs: Attrs) -> int:
        return 1

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """As in evaluation: two a MAC; for each element of the weight one to scale it, and two to measure the norm, but
        where a convolution does, which is in the MACs."""
        counted = self.measures(attrs) and len(self.shape(attrs)) > 2
        return 2 * self.macs(ins, outs, attrs) + prod(self.shape(attrs), start=1 if counted else 3)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), weight = ins, weights["weight"]
        norm = tape.new((), parents=(weight,))
        if self.measures(attrs):
            for name in ("u", "v"):
                tape.extra(norm, weights[name].shape)
        else:
            tape.extra(norm, (weight.shape[attrs["domain"] == 1],))  # of rows or columns
            tape.extra(norm, ())  # the largest
        for _ in range(2):  # norm / coeff, before and after it is limited
            tape.extra(norm, ())
        scaled = tape.new(weight.shape, parents=(weight,))
        if weight.rank > 2:
            return (tape.apply((x, scaled, weights["bias"]), outs[0].shape, outs[0].dtype, "in", x.channels_last),)
        y = tape.linear(x, scaled, weights["bias"])
        if x.grad:
            tape.keep(scaled)
        return (y,)

    def shape(self, attrs: Attrs) -> tuple[int, ...]:
        """The weight's."""
        raise NotImplementedError

    def positions(self, attrs: Attrs) -> int:
        """How many of the input a power iteration runs over."""
        return 1

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out, into = self.shape(attrs)[:2]
        vectors = (("u", out), ("v", into)) if self.measures(attrs) else ()
        return (
            WeightDecl("weight", self.shape(attrs)),
            WeightDecl("bias", (out,)),
            *(WeightDecl(name, (n * self.positions(attrs),), kind="buffer", trainable=False) for name, n in vectors),
        )

    def written(self, attrs: Attrs) -> tuple[str, ...]:
        return ("u", "v") if self.measures(attrs) else ()

    def mapped(self, x: Any, weight: Any, attrs: Attrs) -> Any:
        """The layer without its bias."""
        raise NotImplementedError

    def scaled(self, weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """The weight as the layer uses it; moves `u` and `v` in training."""
        import torch

        weight, p, q = weights["weight"], *_norms(attrs)
        if p == 1:
            norm = torch.stack([column.flatten().norm(q) for column in weight.unbind(1)]).amax()
        elif q == inf:
            norm = torch.stack([row.flatten().norm(_conjugate(p)) for row in weight.unbind(0)]).amax()
        else:
            u, v = weights["u"], weights["v"]
            shape = (1, self.shape(attrs)[1], *attrs.get("size", (1,) * (weight.dim() - 2)))
            if training:
                with torch.enable_grad():
                    x = v.clone().view(shape).requires_grad_()
                    y = self.mapped(x, weight.detach(), attrs)
                u.copy_(_aligned(y.detach().flatten(), q))
                v.copy_(_aligned(torch.autograd.grad(y, x, u.view_as(y))[0].flatten(), _conjugate(p)))
            norm = torch.dot(u.clone(), self.mapped(v.clone().view(shape), weight, attrs).flatten())
        return weight / (norm / attrs["coeff"]).clamp(min=1)


def _aligned(x: Any, p: float) -> Any:
    """The gradient of the p-norm at x, scaled to 1 in the dual norm."""
    largest = x.abs().amax().clamp(min=1e-12)
    slope = x if p == 2 else x.sign() * (x.abs() / largest).pow(p - 1)
    return slope / slope.norm(_conjugate(p)).clamp(min=1e-12)


@register
class LipschitzLinear(_Bounded):
    """A linear layer that is bounded by `coeff`, from the norm `domain` to the norm `codomain` (none: the same).

    Norms are from 1 to inf. The weight's is exact from 1 and to inf, else found by power iteration (Chen et al., 2019).
    """

    name = "lipschitz_linear"
    params = (Param("out_features", "int"), *_NORMS, _COEFF)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        args = self.check(args, "out_features")
        if ins[0].rank < 1:
            raise OpError("ARC0310", f"`{self.name}` takes [..., features], and this is {ins[0]}", inputs=(0,))
        return {**args, "in_features": channels(self.name, ins[0], cx, -1)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        same_channels(self.name, ins[0], attrs["in_features"], cx, dim=-1)
        if ins[0].rank > 2 and attrs["domain"] > attrs["codomain"]:  # there it grows with the number of positions
            p, q = attrs["domain"], attrs["codomain"]
            message = (
                f"`{self.name}` is bounded from the norm {p:g} to the smaller {q:g} for [B, features], not {ins[0]}"
            )
            raise OpError("ARC0310", message, inputs=(0,), help="flatten its input")
        return (TensorType((*ins[0].shape[:-1], attrs["out_features"]), ins[0].dtype),)

    def shape(self, attrs: Attrs) -> tuple[int, ...]:
        return attrs["out_features"], attrs["in_features"]

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["in_features"])

    def module(self, attrs: Attrs) -> Call:
        return Call("BoundedLinear", (Lit(attrs["in_features"]), Lit(attrs["out_features"])), self.named(attrs))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_LINEAR,)

    def mapped(self, x: Any, weight: Any, attrs: Attrs) -> Any:
        return x @ weight.T

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.linear(ins[0], self.scaled(weights, attrs, training), weights["bias"])


@register
class LipschitzConv(_Bounded):
    """A convolution that keeps the size, bounded by `coeff` from the norm `domain` to `codomain` (none: the same).

    Norms as of `lipschitz_linear`. A power iteration runs over images of the input's size, which must be known; for a
    kernel of 1, and a domain not above the codomain, one position stands for all (Gouk et al., 2018).
    """

    name = "lipschitz_conv"
    params = (
        Param("out_channels", "int"),
        Param("kernel_size", "int", 3),
        *_NORMS,
        _COEFF,
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        spatial_rank(self.name, ins[0], (2,))
        args = self.check(args, "out_channels")
        kernel: Any = args["kernel_size"]
        if kernel < 1 or kernel % 2 == 0:
            message = f"`{self.name}`: `kernel_size` is {kernel}, and must be odd"
            raise OpError("ARC0220", message, param="kernel_size")
        attrs: dict[str, Attr] = {**args, "in_channels": channels(self.name, ins[0], cx)}
        p, q = _norms(attrs)
        if self.measures(attrs) and (kernel > 1 or p > q):
            why = "`lipschitz_conv` measures its norm over images of a known size"
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
        return prod(attrs.get("size", (1,)))

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        """Those of the convolution, and of the one that measures its norm."""
        each: int = attrs["in_channels"] * attrs["kernel_size"] ** 2
        measured: int = self.positions(attrs) * attrs["out_channels"] if self.measures(attrs) else 0
        return prod(outs[0].shape, start=each) + measured * each

    def window(self, attrs: Attrs) -> tuple[Window, ...]:
        kernel = attrs["kernel_size"]
        return (Window.sliding(kernel, 1, kernel // 2, 1),) * 2

    def module(self, attrs: Attrs) -> Call:
        named = self.named(attrs)
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
