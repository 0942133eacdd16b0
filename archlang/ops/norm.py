"""Normalisations with one weight a channel, over neighbouring channels, and to length 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, spatial_rank
from archlang.ops.base import Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, Helper, In, Kw, Lit, Method, Self
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import dim_of, require_float
from archlang.ops.window import Window

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []

_INITS = (Param("init", "init?", None), Param("bias_init", "init?", None))


def _at_least_two(op: str, x: TensorType) -> None:
    if x.rank < 2:
        raise OpError("ARC0310", f"`{op}` takes [B, C, ...], and this is {x}", inputs=(0,))
    require_float(op, [x])


class _ChannelNorm(Op):
    """A normalisation whose weights have one entry a channel (dimension 1)."""

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        (x,) = ins
        _at_least_two(self.name, x)
        in_range(self.name, "eps", args["eps"], least=0)
        return {**args, "num_features": channels(self.name, x, cx)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        _at_least_two(self.name, x)
        same_channels(self.name, x, attrs["num_features"], cx)
        return (x,)

    def affine(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        shape = (attrs["num_features"],)
        if not attrs["affine"]:
            return ()
        return WeightDecl("weight", shape, attrs["init"]), WeightDecl("bias", shape, attrs["bias_init"])

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,) = ins
        cx.hold((x[0], *x[2:]), f"`{self.name}` takes statistics over it")
        return cx.says(x, weights={decl.name: (x[1],) for decl in self.weights(attrs) if decl.shape})


class _RunningNorm(_ChannelNorm):
    """Batch and instance normalisation: both may keep running statistics."""

    torch_name: ClassVar[str]
    defaults: ClassVar[tuple[bool, bool]]  # affine, track_running_stats
    least_rank: ClassVar[int]
    over_batch: ClassVar[bool]  # whether the statistics are taken over the batch, too

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        attrs = super().resolve(ins, args, cx)
        attrs["spatial"] = max(ins[0].rank - 2, 1)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.rank < self.least_rank or max(x.rank - 2, 1) != attrs["spatial"] or x.rank > 5:
            forms = {1: "[B, C, L]", 2: "[B, C, H, W]", 3: "[B, C, D, H, W]"}
            form = forms.get(attrs["spatial"], "[B, C, ...] of at most 5 dimensions")
            raise OpError("ARC0310", f"this `{self.name}` takes {form}, and this is {x}", inputs=(0,))
        count = prod(x.shape[2:], start=x.shape[0] if self.over_batch else 1)
        what = "value per channel" if self.over_batch else "spatial element"
        phase = "train" if attrs["track_running_stats"] else None  # without statistics, evaluation takes the input's
        when = " in training" if phase else ""
        cx.more_than_one(count, f"`{self.name}`{when} needs more than one {what}", phase)
        return super().infer(ins, attrs, cx)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        if not attrs["track_running_stats"]:
            return self.affine(attrs)
        shape = (attrs["num_features"],)
        return (
            *self.affine(attrs),
            WeightDecl("running_mean", shape, kind="buffer"),
            WeightDecl("running_var", shape, kind="buffer"),
            WeightDecl("num_batches_tracked", (), dtype="int64", kind="buffer"),
        )

    def written(self, attrs: Attrs) -> tuple[str, ...]:
        return ("running_mean", "running_var", "num_batches_tracked") if attrs["track_running_stats"] else ()

    def module(self, attrs: Attrs) -> Call:
        affine, track = self.defaults
        named = (
            ("eps", attrs["eps"], 1e-5),
            ("momentum", attrs["momentum"], 0.1),
            ("affine", attrs["affine"], affine),
            ("track_running_stats", attrs["track_running_stats"], track),
        )
        return Call(f"nn.{self.torch_name}{attrs['spatial']}d", (Lit(attrs["num_features"]),), kwargs(*named))

    def statistics(self, weights: Mapping[str, Any], attrs: Attrs, training: bool) -> tuple[Any, Any, float]:
        """Running mean and variance to use (None: the input's own), and the weight of a new batch in them."""
        momentum = attrs["momentum"]
        if not attrs["track_running_stats"]:
            return None, None, momentum or 0.0
        if training:
            weights["num_batches_tracked"].add_(1)
            if momentum is None:
                momentum = 1.0 / float(weights["num_batches_tracked"])
        return weights["running_mean"], weights["running_var"], momentum or 0.0


@register
class BatchNorm(_RunningNorm):
    """Normalises each channel over the batch and all positions; [B, C] or [B, C, ...]."""

    name = "batchnorm"
    local, per_element = True, 2
    torch_name = "BatchNorm"
    defaults = (True, True)
    least_rank = 2
    over_batch = True
    params = (
        Param("eps", "float", 1e-5),
        Param("momentum", "float?", 0.1),
        Param("affine", "bool", True),
        Param("track_running_stats", "bool", True),
        *_INITS,
    )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        y = tape.apply((x, *weights.values()), x.shape, x.dtype, "in", x.lies_last)
        for _ in range(2):  # mean, inverse deviation
            tape.extra(y, (attrs["num_features"],))
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if self.weights(attrs):
            return Call(Self(), (In(0),))
        named = (Kw("training", Lit(True), False), Kw("eps", Lit(attrs["eps"]), 1e-5))
        return Call("F.batch_norm", (In(0), Lit(None), Lit(None)), named)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        mean, var, momentum = self.statistics(weights, attrs, training)
        use_batch = training or mean is None
        affine = weights.get("weight"), weights.get("bias")
        return F.batch_norm(ins[0], mean, var, *affine, use_batch, momentum, attrs["eps"])


@register
class InstanceNorm(_RunningNorm):
    """Normalises each channel of each sample over its positions."""

    name = "instancenorm"
    per_element = 7
    torch_name = "InstanceNorm"
    defaults = (False, False)
    least_rank = 3
    over_batch = False
    params = (
        Param("eps", "float", 1e-5),
        Param("momentum", "float?", 0.1),
        Param("affine", "bool", False),
        Param("track_running_stats", "bool", False),
        *_INITS,
    )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        x = tape.contiguous(ins[0])
        y = tape.apply((x, *weights.values()), x.shape, x.dtype, "in")
        for _ in range(2 + bool(attrs["affine"]) + 2 * bool(attrs["track_running_stats"])):  # repeated for each sample
            tape.extra(y, (x.shape[0] * x.shape[1],))
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if self.weights(attrs):
            return Call(Self(), (In(0),))
        return Call("F.instance_norm", (In(0),), (Kw("eps", Lit(attrs["eps"]), 1e-5),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        mean, var = weights.get("running_mean"), weights.get("running_var")  # torch does not count these batches
        affine = weights.get("weight"), weights.get("bias")
        return F.instance_norm(
            ins[0], mean, var, *affine, training or mean is None, attrs["momentum"] or 0.0, attrs["eps"]
        )


@register
class GroupNorm(_ChannelNorm):
    """Normalises groups of channels of each sample."""

    name = "groupnorm"
    per_element = 7
    params = (Param("num_groups", "int"), Param("eps", "float", 1e-5), Param("affine", "bool", True), *_INITS)

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        attrs: dict[str, Any] = super().resolve(ins, args, cx)
        in_range(self.name, "num_groups", attrs["num_groups"], least=1)
        reason = "`groupnorm`: `num_groups` must divide the channels"
        cx.divides(attrs["num_groups"], attrs["num_features"], reason, inputs=(0,), param="num_groups")
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        outs = super().infer(ins, attrs, cx)
        x = ins[0]
        # torch counts groups with the batch: `B * C // num_groups` values a sample, in either phase
        count = prod(x.shape[2:], start=x.shape[0] * (attrs["num_features"] // attrs["num_groups"]))
        cx.more_than_one(count, "`groupnorm` needs more than one value per group of the batch", None)
        return outs

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return self.affine(attrs)

    def module(self, attrs: Attrs) -> Call:
        named = kwargs(("eps", attrs["eps"], 1e-5), ("affine", attrs["affine"], True))
        return Call("nn.GroupNorm", (Lit(attrs["num_groups"]), Lit(attrs["num_features"])), named)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        groups = attrs["num_groups"]
        group, inner = cx.factor(ins[0][1], (groups, attrs["num_features"] // groups))
        cx.measure((inner,), "`groupnorm` takes statistics over it")
        said = super().channels(cx, ins, outs, attrs)
        return cx.says(*said.outs, weights=said.weights, sizes={"num_groups": group})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        last = ins[0].channels_last
        x = tape.contiguous(ins[0], last)
        y = tape.apply((x, *weights.values()), x.shape, x.dtype, "in", last)
        for _ in range(2):
            tape.extra(y, (x.shape[0], attrs["num_groups"]), x.dtype)
        return (y,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["affine"]:
            return Call(Self(), (In(0),))
        return Call("F.group_norm", (In(0), Lit(attrs["num_groups"])), kwargs(("eps", attrs["eps"], 1e-5)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.group_norm(ins[0], attrs["num_groups"], weights.get("weight"), weights.get("bias"), attrs["eps"])


_LAYER_NORM_2D = Helper(
    "LayerNorm2d",
    '''\
class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of [B, C, H, W]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
''',
)


@register
class LayerNorm2d(_ChannelNorm):
    """Layer normalisation over the channels of [B, C, H, W]; eps as in timm."""

    name = "layernorm2d"
    local, per_element = True, 7
    params = (Param("eps", "float", 1e-6), Param("affine", "bool", True), *_INITS)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        spatial_rank(self.name, ins[0], (2,))
        return super().infer(ins, attrs, cx)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return self.affine(attrs)

    def module(self, attrs: Attrs) -> Call:
        named = (("eps", attrs["eps"], 1e-5), ("elementwise_affine", attrs["affine"], True))
        return Call("LayerNorm2d", (Lit(attrs["num_features"]),), kwargs(*named))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_LAYER_NORM_2D,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.measure((ins[0][1],), "`layernorm2d` takes statistics over it")
        return super().channels(cx, ins, outs, attrs)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        last = tape.permute(ins[0], 0, 2, 3, 1)
        return (tape.permute(tape.layer_norm(last, 1, tuple(weights.values())), 0, 3, 1, 2),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        if attrs["affine"]:
            return Call(Self(), (In(0),))
        last = Method(In(0), "permute", (Lit(0), Lit(2), Lit(3), Lit(1)))
        normed = Call("F.layer_norm", (last, Lit((attrs["num_features"],))), kwargs(("eps", attrs["eps"], 1e-5)))
        return Method(normed, "permute", (Lit(0), Lit(3), Lit(1), Lit(2)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        affine = weights.get("weight"), weights.get("bias")
        last = ins[0].movedim(1, -1)
        return F.layer_norm(last, last.shape[-1:], *affine, attrs["eps"]).movedim(-1, 1)


@register
class LocalResponseNorm(Op):
    """Divides each channel by a power of the mean square of its `size` neighbours."""

    name = "local_response_norm"
    local, per_element = True, 6
    params = (
        Param("size", "int"),
        Param("alpha", "float", 1e-4),
        Param("beta", "float", 0.75),
        Param("k", "float", 1.0),
    )

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        if x.rank < 3:
            raise OpError("ARC0310", f"`{self.name}` takes [B, C, ...], and this is {x}", inputs=(0,))
        require_float(self.name, ins)
        in_range(self.name, "size", attrs["size"], least=1)
        return (x,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix((ins[0][1],), "`local_response_norm` looks at neighbours")
        return cx.says(ins[0])

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        y = tape.pointwise((x, tape.new(x.shape)), x.shape, x.dtype)
        tape.keep(*(x,) * y.grad)
        tape.extra(y, (x.shape[0], x.shape[1] + attrs["size"] - 1, *x.shape[2:]), x.dtype)  # squares, padded
        for _ in range(2):  # before and after the power
            tape.extra(y, x.shape, x.dtype)
        return (y,)

    def module(self, attrs: Attrs) -> Call:
        return Call("nn.LocalResponseNorm", (Lit(attrs["size"]),), self._rest(attrs))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.local_response_norm", (In(0), Lit(attrs["size"])), self._rest(attrs))

    def _rest(self, attrs: Attrs) -> tuple[Kw, ...]:
        return kwargs(*((p.name, attrs[p.name], p.default) for p in self.params[1:]))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.local_response_norm(ins[0], attrs["size"], attrs["alpha"], attrs["beta"], attrs["k"])


@register
class Normalize(Op):
    """Divides vectors along `dim` by their p-norm, which is taken to be at least `eps`."""

    name = "normalize"
    per_element = 3
    params = (Param("p", "float", 2.0), Param("dim", "int", 1), Param("eps", "float", 1e-12))

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        dim: Any = args["dim"]
        dim_of(self.name, dim, ins[0])
        return dict(args)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        dim_of(self.name, attrs["dim"], ins[0])
        return (ins[0],)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.measure((ins[0][attrs["dim"]],), "`normalize` takes the length over it")
        return cx.says(ins[0])

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), dim = ins, attrs["dim"] % len(ins[0].shape)
        for _ in range(2):  # the length, and what it is limited to
            length = tape.apply(ins, (*x.shape[:dim], 1, *x.shape[dim + 1 :]), x.dtype, "in out")
        return (tape.pointwise((x, tape.expand(length, *x.shape)), x.shape, x.dtype),)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == 1 else None

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("F.normalize", (In(0),), kwargs(*((p.name, attrs[p.name], p.default) for p in self.params)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        length = torch.linalg.vector_norm(ins[0], attrs["p"], attrs["dim"], keepdim=True)
        return ins[0] / length.clamp_min(attrs["eps"])
