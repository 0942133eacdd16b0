"""Linear and bilinear maps, and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import require_float, require_index
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def _some_rank(op: str, x: TensorType, index: int = 0) -> None:
    if x.rank < 1:
        raise OpError("ARC0310", f"`{op}` takes [..., features], and this is {x}", inputs=(index,))


@register
class Linear(Op):
    """`x @ weight.T + bias` over the last dimension; in_features is inferred."""

    name = "linear"
    params = (
        Param("out_features", "int"),
        Param("bias", "bool", True),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        _some_rank(self.name, ins[0])
        in_range(self.name, "out_features", args["out_features"], least=1)
        return {**args, "in_features": channels(self.name, ins[0], cx, -1)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        _some_rank(self.name, x)
        same_channels(self.name, x, attrs["in_features"], cx, dim=-1)
        return (TensorType((*x.shape[:-1], attrs["out_features"]), x.dtype),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out = attrs["out_features"]
        weight = WeightDecl("weight", (out, attrs["in_features"]), attrs["init"])
        return (weight, WeightDecl("bias", (out,), attrs["bias_init"])) if attrs["bias"] else (weight,)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["in_features"])

    def layers(self, attrs: Attrs) -> int:
        return 1

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), outer = ins, cx.free(attrs["out_features"])
        return cx.says(
            (*x[:-1], outer), weights={"weight": (outer, x[-1]), "bias": (outer,)}, sizes={"out_features": outer}
        )

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.linear(ins[0], weights["weight"], weights.get("bias")),)

    def module(self, attrs: Attrs) -> Call:
        return Call(
            "nn.Linear",
            (Lit(attrs["in_features"]), Lit(attrs["out_features"])),
            kwargs(("bias", attrs["bias"], True)),
        )

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.linear(ins[0], weights["weight"], weights.get("bias"))


@register
class Bilinear(Op):
    """`x1 @ weight[k] @ x2 + bias[k]` over the last dimensions; both widths are inferred."""

    name = "bilinear"
    inputs = (Input("x1"), Input("x2"))
    params = Linear.params

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        require_float(self.name, ins)
        in_range(self.name, "out_features", args["out_features"], least=1)
        attrs = dict(args)
        for i, x in enumerate(ins):
            _some_rank(self.name, x, i)
            attrs[f"in{i + 1}_features"] = channels(self.name, x, cx, -1, i)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        a, b = ins
        if a.rank != b.rank:
            raise OpError("ARC0310", f"`bilinear` needs inputs of the same rank, not {a} and {b}", inputs=(0, 1))
        same_channels(self.name, a, attrs["in1_features"], cx, dim=-1)
        same_channels(self.name, b, attrs["in2_features"], cx, dim=-1, index=1)
        pairs = zip(a.shape[:-1], b.shape[:-1], strict=True)
        leading = [cx.equal(m, n, "leading dimensions of `bilinear`'s inputs", inputs=(0, 1)) for m, n in pairs]
        return (TensorType((*leading, attrs["out_features"]), a.dtype),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        out = attrs["out_features"]
        weight = WeightDecl("weight", (out, attrs["in1_features"], attrs["in2_features"]), attrs["init"])
        return (weight, WeightDecl("bias", (out,), attrs["bias_init"])) if attrs["bias"] else (weight,)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (a, b), outer = ins, cx.free(attrs["out_features"])
        leading = cx.pointwise((a[:-1], b[:-1]))
        weights = {"weight": (outer, a[-1], b[-1]), "bias": (outer,)}
        return cx.says((*leading, outer), weights=weights, sizes={"out_features": outer})

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return prod(outs[0].shape, start=attrs["in1_features"] * attrs["in2_features"])

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        flat = [tape.reshape(x, (prod(x.shape[:-1], start=1), x.shape[-1])) for x in ins]
        return (tape.apply((*flat, *weights.values()), outs[0].shape, outs[0].dtype, "in"),)

    def layers(self, attrs: Attrs) -> int:
        return 1

    def module(self, attrs: Attrs) -> Call:
        names = ("in1_features", "in2_features", "out_features")
        return Call("nn.Bilinear", tuple(Lit(attrs[n]) for n in names), kwargs(("bias", attrs["bias"], True)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        return F.bilinear(ins[0], ins[1], weights["weight"], weights.get("bias"))


@register
class Embedding(Op):
    """Rows of a learned table, picked by whole numbers: int64[...] -> [..., embedding_dim]."""

    name = "embedding"
    params = (
        Param("num_embeddings", "int"),
        Param("embedding_dim", "int"),
        Param("padding_idx", "int?", None),
        Param("max_norm", "float?", None),
        Param("norm_type", "float", 2.0),
        Param("scale_grad_by_freq", "bool", False),
        Param("sparse", "bool", False),
        Param("init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        rows: Any = args["num_embeddings"]
        in_range(self.name, "num_embeddings", rows, least=1)
        in_range(self.name, "embedding_dim", args["embedding_dim"], least=1)
        in_range(self.name, "padding_idx", args["padding_idx"], least=-rows, most=rows - 1)
        return dict(args)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        require_index(self.name, ins[0], 0)
        return (TensorType((*ins[0].shape, attrs["embedding_dim"])),)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        index = ins[0] if attrs["max_norm"] is None else tape.contiguous(ins[0])
        return (tape.apply((index, *weights.values()), outs[0].shape, outs[0].dtype, "in"),)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        return (WeightDecl("weight", (attrs["num_embeddings"], attrs["embedding_dim"]), attrs["init"]),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        width = cx.free(attrs["embedding_dim"])
        if attrs["max_norm"] is not None:
            cx.hold((width,), "`embedding` limits its norm")
        rows = cx.fixed(attrs["num_embeddings"], "`embedding` picks by number")
        return cx.says((*ins[0], width), weights={"weight": (rows, width)}, sizes={"embedding_dim": width})

    def module(self, attrs: Attrs) -> Call:
        named = (
            ("padding_idx", None), ("max_norm", None), ("norm_type", 2.0), ("scale_grad_by_freq", False),
            ("sparse", False),
        )  # fmt: skip
        return Call(
            "nn.Embedding",
            (Lit(attrs["num_embeddings"]), Lit(attrs["embedding_dim"])),
            tuple(Kw(name, Lit(attrs[name]), default) for name, default in named),
        )

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        names = ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
        return F.embedding(ins[0], weights["weight"], **{name: attrs[name] for name in names})
