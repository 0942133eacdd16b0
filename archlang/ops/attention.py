"""Attention: the bare function, and a module in timm's layout of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, wires
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Bin, Call, Expr, Fixed, Helper, In, Kw, Lit
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import is_float, require_float
from archlang.shapes.dim import Size, exact_div

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__ = ["check_heads", "check_mask", "check_tokens"]


def check_tokens(op: str, x: TensorType, index: int = 0) -> None:
    if x.rank != 3:
        help = "an image becomes tokens with `flatten(2) -> transpose(1, 2)`" if x.rank == 4 else None
        raise OpError("ARC0310", f"`{op}` takes [B, T, D], and this is {x}", inputs=(index,), help=help)
    require_float(op, [x])


def check_mask(op: str, mask: TensorType, shape: Sequence[Size], index: int, cx: Context) -> None:
    """The mask is bool or floating and broadcasts to `shape`, the shape of the scores."""
    if mask.dtype != "bool" and not is_float(mask.dtype):
        message = f"`{op}` takes a mask of bool or floating type, and this is {mask}"
        raise OpError("ARC0312", message, inputs=(index,))
    if mask.rank > len(shape):
        message = f"`{op}`'s mask has {mask.rank} dimensions, and the scores have {len(shape)}"
        raise OpError("ARC0310", message, inputs=(index,))
    for back in range(1, mask.rank + 1):
        if mask.shape[-back] != 1:
            cx.equal(mask.shape[-back], shape[-back], f"`{op}`'s mask and scores, dimension -{back}", inputs=(index,))


def check_heads(op: str, width: int, heads: Any, cx: Context) -> int:
    in_range(op, "num_heads", heads, least=1)
    reason = f"`{op}`: `num_heads` must divide the features"
    return cx.known(cx.divides(heads, width, reason, inputs=(0,), param="num_heads"), reason)


@register
class SDPA(Op):
    """softmax(q k^T * scale + mask) v over the last two dimensions: torch's scaled_dot_product_attention.

    A bool mask is true where a query may look. With enable_gqa, the heads (dimension -3) of k and v divide those of q.
    """

    name = "sdpa"
    random = True
    inputs = (Input("query"), Input("key"), Input("value"), Input("attn_mask", optional=True))
    params = (
        Param("dropout_p", "float", 0.0),
        Param("is_causal", "bool", False),
        Param("scale", "float?", None),
        Param("enable_gqa", "bool", False),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        in_range(self.name, "dropout_p", args["dropout_p"], least=0, most=1)
        if args["is_causal"] and len(ins) > 3:
            help = "put the causal part into the mask"
            raise OpError("ARC0222", "`sdpa` takes a mask or `is_causal`, not both", param="is_causal", help=help)
        return dict(args)

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        q, k, v = ins[:3]
        least = 4 if attrs["enable_gqa"] else 2
        for i, x in enumerate((q, k, v)):
            require_float(self.name, [x])
            if x.rank != q.rank or x.rank < least:
                form = "[B, heads, T, D]" if attrs["enable_gqa"] else "[..., T, D]"
                message = f"`sdpa` takes three wires of the same rank, {form}, and these are {q}, {k} and {v}"
                raise OpError("ARC0310", message, inputs=(i,))
        for dim in range(q.rank - 2):
            if attrs["enable_gqa"] and dim == q.rank - 3:
                for i, x in ((1, k), (2, v)):
                    self._grouped(q.shape[dim], x.shape[dim], i, cx)
                continue
            for i, x in ((1, k), (2, v)):
                cx.equal(q.shape[dim], x.shape[dim], f"dimension {dim} of `sdpa`'s inputs", inputs=(0, i))
        cx.equal(q.shape[-1], k.shape[-1], "features of `sdpa`'s query and key", inputs=(0, 1))
        cx.equal(k.shape[-2], v.shape[-2], "tokens of `sdpa`'s key and value", inputs=(1, 2))
        if len(ins) > 3:
            check_mask(self.name, ins[3], (*q.shape[:-1], k.shape[-2]), 3, cx)
        return (TensorType((*q.shape[:-1], v.shape[-1]), q.dtype),)

    def _grouped(self, heads: Size, fewer: Size, index: int, cx: Context) -> None:
        if exact_div(heads, fewer) is None:
            what = "key" if index == 1 else "value"
            cx.divides(fewer, heads, f"`sdpa`: the {what}'s heads must divide the query's", inputs=(0, index))

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        q, k, v = ins[:3]
        return prod(q.shape[:-1], start=1) * k.shape[-2] * (q.shape[-1] + v.shape[-1])

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        q, k, v, *mask = ins
        if attrs["scale"] is None:
            cx.hold((q[-1], k[-1]), "`sdpa` scales by its size")
        cx.hold((k[-2], v[-2]), "`sdpa` takes a softmax over it")
        if attrs["is_causal"]:
            cx.fix((q[-2], k[-2], v[-2]), "`sdpa` goes by its order")
        lead = [f"lead {i}" for i in range(len(q) - 2)]
        if attrs["enable_gqa"] and all(isinstance(x[-3].size, int) for x in (q, k, v)):
            for x in (k, v):
                cx.tie(x[-3], cx.factor(q[-3], (x[-3].size, exact_div(q[-3].size, x[-3].size) or 0))[0])
        sides = [[*lead, "L", "E"], [*lead, "S", "E"], [*lead, "S", "V"]]
        if attrs["enable_gqa"]:
            sides[1][-3] = sides[2][-3] = "kept"
        pairs = [pair for side, x in zip(sides, (q, k, v), strict=True) for pair in zip(side, x, strict=True)]
        for x in mask:
            pairs += zip([*lead, "L", "S"][len(q) - len(x) :], x, strict=True)
        axes = cx.named(pairs)
        return cx.says(tuple(axes[name] for name in (*lead, "L", "V")))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        q, k, v, *mask = ins
        return (tape.sdpa(q, k, v, mask[0] if mask else None, attrs["dropout_p"], attrs["enable_gqa"]),)

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        return 2 * self.macs(ins, outs, attrs) + prod(ins[0].shape[:-1], start=5) * ins[1].shape[-2]

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        p = attrs["dropout_p"]
        mask = (Kw("attn_mask", In(3)),) if inputs > 3 else ()
        dropout = (Kw("dropout_p", Bin("*", Lit(p), Fixed("self.training"))),) if p else ()
        rest = (("is_causal", False), ("scale", None), ("enable_gqa", False))
        named = kwargs(*((name, attrs[name], default) for name, default in rest))
        return Call("F.scaled_dot_product_attention", wires(3), (*mask, *dropout, *named))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        q, k, v = ins[:3]
        mask = ins[3] if len(ins) > 3 else None
        p = attrs["dropout_p"] if training else 0.0
        named = {name: attrs[name] for name in ("is_causal", "scale", "enable_gqa")}
        return F.scaled_dot_product_attention(q, k, v, mask, p, **named)


_ATTENTION = Helper(
    "Attention",
    '''\
class Attention(nn.Module):
    """Multi-head self-attention of [B, T, D], with one matrix for q, k and v."""

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        attn_head_dim: int | None = None,
        qkv_bias: bool = False,
        qk_norm: bool = False,
        proj_bias: bool = True,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        width = attn_head_dim or dim // num_heads
        inner = num_heads * width
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.q_norm = nn.LayerNorm(width, eps=norm_eps) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width, eps=norm_eps) if qk_norm else nn.Identity()
        self.proj = nn.Linear(inner, dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        drop = self.attn_drop if self.training else 0.0
        y = F.scaled_dot_product_attention(
            self.q_norm(q), self.k_norm(k), v, attn_mask=mask, dropout_p=drop
        )
        out: torch.Tensor = self.proj_drop(self.proj(y.transpose(1, 2).flatten(2)))
        return out
''',
)


def _width(attrs: Attrs) -> int:
    """The width of a head."""
    width: int = attrs["attn_head_dim"] or attrs["dim"] // attrs["num_heads"]
    return width


@register
class Attention(Op):
    """Multi-head self-attention of [B, T, D] in timm's layout: `qkv`, optional `q_norm` and `k_norm`, `proj`.

    A second wire is a mask for sdpa: bool, true where a query may look, or floating, added to the scores.
    attn_head_dim: the width of a head; by default the heads share out the features.
    """

    name = "attention"
    random = True
    inputs = (Input("x"), Input("mask", optional=True))
    params = (
        Param("num_heads", "int", 8),
        Param("qkv_bias", "bool", False),
        Param("qk_norm", "bool", False),
        Param("proj_bias", "bool", True),
        Param("attn_drop", "float", 0.0),
        Param("proj_drop", "float", 0.0),
        Param("norm_eps", "float", 1e-6),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
        Param("attn_head_dim", "int?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        check_tokens(self.name, ins[0])
        for name in ("attn_drop", "proj_drop"):
            in_range(self.name, name, args[name], least=0, most=1)
        width: Any = channels(self.name, ins[0], cx, -1)
        heads: Any = args["num_heads"]
        own: Any = args["attn_head_dim"]
        if own is None:
            check_heads(self.name, width, heads, cx)
        else:
            in_range(self.name, "num_heads", heads, least=1)
            in_range(self.name, "attn_head_dim", own, least=1)
        return {**args, "attn_head_dim": None if own is not None and own * heads == width else own, "dim": width}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        x = ins[0]
        check_tokens(self.name, x)
        same_channels(self.name, x, attrs["dim"], cx, dim=-1)
        if len(ins) > 1:
            check_mask(self.name, ins[1], (x.shape[0], attrs["num_heads"], x.shape[1], x.shape[1]), 1, cx)
        return (x,)

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        dim, width = attrs["dim"], _width(attrs)
        inner = attrs["num_heads"] * width
        decls = [WeightDecl("qkv.weight", (3 * inner, dim), attrs["init"])]
        if attrs["qkv_bias"]:
            decls.append(WeightDecl("qkv.bias", (3 * inner,), attrs["bias_init"]))
        if attrs["qk_norm"]:
            decls += [WeightDecl(f"{n}_norm.{kind}", (width,)) for n in "qk" for kind in ("weight", "bias")]
        decls.append(WeightDecl("proj.weight", (dim, inner), attrs["init"]))
        if attrs["proj_bias"]:
            decls.append(WeightDecl("proj.bias", (dim,), attrs["bias_init"]))
        return tuple(decls)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        batch, tokens, _ = ins[0].shape
        inner = attrs["num_heads"] * _width(attrs)
        total: Size = batch * tokens * (4 * attrs["dim"] * inner + 2 * tokens * inner)
        return total

    def flops(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        batch, tokens, _ = ins[0].shape
        scores: Size = batch * attrs["num_heads"] * tokens * tokens
        norms: Size = 14 * batch * tokens * attrs["num_heads"] * _width(attrs) if attrs["qk_norm"] else 0
        return 2 * self.macs(ins, outs, attrs) + 5 * scores + norms

    def layers(self, attrs: Attrs) -> int:
        return 2

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        x, *masks = ins
        heads, width = attrs["num_heads"], _width(attrs)
        head, match, value, outer = cx.free(heads), cx.free(width), cx.free(width), cx.free(attrs["dim"])
        cx.hold((match, value), "`attention` has one width for query, key and value, and scales by it")
        cx.even((x[-1], outer), "`attention` gives as many features as it takes")
        cx.hold((x[1],), "`attention` takes a softmax over it")
        for mask in masks:
            cx.named([*zip(("B", "h", "T", "S")[4 - len(mask) :], mask, strict=True), ("B", x[0]), ("h", head)])
            cx.fix((x[1], *mask[-2:]), "`attention` goes by its order")
        query, result = cx.product(head, match), cx.product(head, value)
        rows = cx.cat(query, query, result)
        weights = {"qkv.weight": (rows, x[-1]), "qkv.bias": (rows,)}
        weights |= {f"{n}_norm.{kind}": (match,) for n in "qk" for kind in ("weight", "bias")}
        weights |= {"proj.weight": (outer, result), "proj.bias": (outer,)}
        return cx.says((*x[:-1], outer), weights=weights, sizes={"num_heads": head, "attn_head_dim": match})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        x, heads = ins[0], attrs["num_heads"]
        qkv = tape.unflatten(tape.linear(x, weights["qkv.weight"], weights.get("qkv.bias")), 2, (3, heads, -1))
        q, k, v = (tape.permute(tape.permute(qkv, 2, 0, 3, 1, 4), 1, 2, 3, 4) for _ in range(3))
        if attrs["qk_norm"]:
            q, k = (
                tape.layer_norm(y, 1, (weights[f"{n}_norm.weight"], weights[f"{n}_norm.bias"]))
                for y, n in ((q, "q"), (k, "k"))
            )
        y = tape.sdpa(q, k, v, ins[1] if len(ins) > 1 else None, attrs["attn_drop"])
        y = tape.reshape(tape.transpose(y, 1, 2), (*x.shape[:2], heads * _width(attrs)))
        y = tape.linear(y, weights["proj.weight"], weights.get("proj.bias"))
        return (tape.dropout(y, attrs["proj_drop"]),)

    def module(self, attrs: Attrs) -> Call:
        names = ("num_heads", "attn_head_dim", "qkv_bias", "qk_norm", "proj_bias", "attn_drop", "proj_drop", "norm_eps")
        defaults = {param.name: param.default for param in self.params}
        return Call("Attention", (Lit(attrs["dim"]),), kwargs(*((n, attrs[n], defaults[n]) for n in names)))

    def helpers(self, attrs: Attrs) -> tuple[Helper, ...]:
        return (_ATTENTION,)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch.nn.functional as F

        x = ins[0]
        batch, tokens, _ = x.shape
        heads, width = attrs["num_heads"], _width(attrs)
        qkv = F.linear(x, weights["qkv.weight"], weights.get("qkv.bias"))
        q, k, v = qkv.reshape(batch, tokens, 3, heads, width).permute(2, 0, 3, 1, 4)
        if attrs["qk_norm"]:
            shape, eps = (width,), attrs["norm_eps"]
            q = F.layer_norm(q, shape, weights["q_norm.weight"], weights["q_norm.bias"], eps)
            k = F.layer_norm(k, shape, weights["k_norm.weight"], weights["k_norm.bias"], eps)
        mask = ins[1] if len(ins) > 1 else None
        y = F.scaled_dot_product_attention(q, k, v, mask, attrs["attn_drop"] if training else 0.0)
        y = F.linear(y.transpose(1, 2).flatten(2), weights["proj.weight"], weights.get("proj.bias"))
        return F.dropout(y, attrs["proj_drop"], training)
