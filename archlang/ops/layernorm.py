"""Normalisations over the last dimensions: layer normalisation and root mean square."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Lit, Self
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


class _LastDims(Op):
    """A normalisation over the last dimensions: those of `normalized_shape`, by default the last one."""

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        require_float(self.name, ins)
        if x.rank < 1:
            raise OpError("ARC0310", f"`{self.name}` takes [..., D], and this is {x}", inputs=(0,))
        in_range(self.name, "eps", args["eps"], least=0)
        shape: Any = args["normalized_shape"]
        if shape is None:
            shape = (channels(self.name, x, cx, -1),)
        return {**args, "normalized_shape": shape if isinstance(shape, tuple) else (shape,)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        shape = attrs["normalized_shape"]
        if not 0 < len(shape) <= x.rank:
            message = f"`{self.name}` normalises the last {len(shape)} dimensions, and this is {x}"
            raise OpError("ARC0310", message, param="normalized_shape", inputs=(0,))
        for size, own in zip(x.shape[-len(shape) :], shape, strict=True):
            cx.equal(size, own, f"`{self.name}`'s `normalized_shape` and the input's last sizes", inputs=(0,))
        return (x,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        last = x[len(x) - len(attrs["normalized_shape"]) :]
        cx.measure(last, f"`{self.name}` takes statistics over it")
        return cx.says(x, weights={decl.name: last for decl in self.weights(attrs)}, sizes={"normalized_shape": last})

    def sized(self, attrs: Attrs) -> Lit:
        shape = attrs["normalized_shape"]
        return Lit(shape[0] if len(shape) == 1 else shape)


@register
class LayerNorm(_LastDims):
    """Normalises each position over its features."""

    name = "layernorm"
    per_element = 7
    params = (
        Param("normalized_shape", "ints?", None),
        Param("eps", "float", 1e-5),
        Param("elementwise_affine", "bool", True),
        Param("bias", "bool", True),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.layer_norm(ins[0], len(attrs["normalized_shape"]), tuple(weights.values())),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        shape = attrs["normalized_shape"]
        if not attrs["elementwise_affine"]:
            return ()
        weight = WeightDecl("weight", shape, attrs["init"])
        return (weight, WeightDecl("bias", shape, attrs["bias_init"])) if attrs["bias"] else (weight,)

    def module(self, attrs: Attrs) -> Call:
        affine = attrs["elementwise_affine"]
        named = (("eps", attrs["eps"], 1e-5), ("elementwise_affine", affine, True))
        bias = (("bias", attrs["bias"], True),) if affine else ()
        return Call("nn.LayerNorm", (self.sized(attrs),), kwargs(*named, *bias))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["elementwise_affine"]:
            return Call(Self(), (In(0),))
        return Call("F.layer_norm", (In(0), Lit(attrs["normalized_shape"])), kwargs(("eps", attrs["eps"], 1e-5)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        affine = weights.get("weight"), weights.get("bias")
        return F.layer_norm(ins[0], attrs["normalized_shape"], *affine, attrs["eps"])


@register
class RMSNorm(_LastDims):
    """Divides each position by the root mean square of its features; eps none is the dtype's own."""

    name = "rmsnorm"
    per_element = 4
    params = (
        Param("normalized_shape", "ints?", None),
        Param("eps", "float?", None),
        Param("elementwise_affine", "bool", True),
        Param("init", "init?", None),
    )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), dims = ins, len(attrs["normalized_shape"])
        given = (x, *weights.values())
        scale = tape.new((*x.shape[: x.rank - dims], *(1,) * dims), x.dtype, given)
        y = tape.pointwise((x, scale), x.shape, x.dtype)
        if scale.grad:
            tape.keep(x, scale)
        if weights:
            y = tape.mul(y, weights["weight"], x.shape, x.dtype)
        return (tape.contiguous(y, x.channels_last),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        if not attrs["elementwise_affine"]:
            return ()
        return (WeightDecl("weight", attrs["normalized_shape"], attrs["init"]),)

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(("eps", attrs["eps"], None), ("elementwise_affine", attrs["elementwise_affine"], True))
        return Call("nn.RMSNorm", (self.sized(attrs),), named)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["elementwise_affine"]:
            return Call(Self(), (In(0),))
        return Call("F.rms_norm", (In(0), Lit(attrs["normalized_shape"])), kwargs(("eps", attrs["eps"], None)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.rms_norm(ins[0], attrs["normalized_shape"], weights.get("weight"), attrs["eps"])
