"""torch.nn.MultiheadAttention, with its layout of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType, WeightDecl
from archlang.ops._args import channels, in_range, kwargs, same_channels, wires
from archlang.ops.attention import check_heads, check_mask, check_tokens
from archlang.ops.base import Context, Input, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Item, Kw, Lit, Self
from archlang.ops.eager import Ghost, Tape
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


@register
class MultiheadAttention(Op):
    """torch.nn.MultiheadAttention: of one wire on itself, or of (query, key, value); the weights are not returned.

    Masks follow the three wires: `attn_mask` [T, S] or [B * heads, T, S], and `key_padding_mask` [B, S]. As in torch, a
    bool mask is true where a query may *not* look.
    """

    name = "multihead_attention"
    random = True
    inputs = (
        Input("query"),
        Input("key", optional=True),
        Input("value", optional=True),
        Input("attn_mask", optional=True),
        Input("key_padding_mask", optional=True),
    )
    params = (
        Param("num_heads", "int"),
        Param("dropout", "float", 0.0),
        Param("bias", "bool", True),
        Param("add_bias_kv", "bool", False),
        Param("add_zero_attn", "bool", False),
        Param("batch_first", "bool", True),
        Param("init", "init?", None),
        Param("bias_init", "init?", None),
    )

    def resolve(self, ins: Sequence[TensorType], args: Mapping[str, Attr], cx: Context) -> dict[str, Attr]:
        if len(ins) == 2:
            help = "give the wire itself for both: `multihead_attention(8)(x, x, x, mask)`"
            message = "`multihead_attention` takes one wire, or query, key and value, before a mask"
            raise OpError("ARC0313", message, inputs=(1,), help=help)
        for i, x in enumerate(ins[:3]):
            check_tokens(self.name, x, i)
        in_range(self.name, "dropout", args["dropout"], least=0, most=1)
        attrs = dict(args)
        widths = [channels(self.name, x, cx, -1, i) for i, x in enumerate(ins[:3])]
        attrs["embed_dim"], attrs["kdim"], attrs["vdim"] = widths if len(widths) == 3 else widths * 3
        check_heads(self.name, widths[0], attrs["num_heads"], cx)
        return attrs

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        q, k, v = ins[:3] if len(ins) > 1 else (ins[0],) * 3
        batch, tokens = (0, 1) if attrs["batch_first"] else (1, 0)
        for i, (x, name) in enumerate(((q, "embed_dim"), (k, "kdim"), (v, "vdim"))):
            check_tokens(self.name, x, i)
            same_channels(self.name, x, attrs[name], cx, dim=-1, index=i)
        for i, x in ((1, k), (2, v)):
            cx.equal(q.shape[batch], x.shape[batch], f"batch of `{self.name}`'s inputs", inputs=(0, i))
        cx.equal(k.shape[tokens], v.shape[tokens], f"tokens of `{self.name}`'s key and value", inputs=(1, 2))
        if len(ins) > 3:
            lead = (q.shape[batch] * attrs["num_heads"],) if ins[3].rank == 3 else ()
            self._exact_mask(ins[3], (*lead, q.shape[tokens], k.shape[tokens]), 3, cx)
        if len(ins) > 4:
            self._exact_mask(ins[4], (k.shape[batch], k.shape[tokens]), 4, cx)
        return (q,)

    def _exact_mask(self, mask: TensorType, shape: Sequence[Size], index: int, cx: Context) -> None:
        """torch's module does not broadcast its masks."""
        if mask.rank != len(shape):
            form = "[T, S] or [B * heads, T, S]" if index == 3 else "[B, S]"
            name = self.inputs[index].name
            raise OpError("ARC0310", f"`{self.name}`: `{name}` is {form}, and this is {mask}", inputs=(index,))
        for have, need in zip(mask.shape, shape, strict=True):
            cx.equal(have, need, f"`{self.name}`'s mask and scores", inputs=(index,))
        check_mask(self.name, mask, shape, index, cx)

    def _one_width(self, attrs: Attrs) -> bool:
        return bool(attrs["kdim"] == attrs["embed_dim"] and attrs["vdim"] == attrs["embed_dim"])

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]:
        dim, init, bias_init = attrs["embed_dim"], attrs["init"], attrs["bias_init"]
        if self._one_width(attrs):
            decls = [WeightDecl("in_proj_weight", (3 * dim, dim), init)]
        else:
            sizes = (("q", dim), ("k", attrs["kdim"]), ("v", attrs["vdim"]))
            decls = [WeightDecl(f"{n}_proj_weight", (dim, size), init) for n, size in sizes]
        if attrs["bias"]:
            decls.append(WeightDecl("in_proj_bias", (3 * dim,), bias_init))
        if attrs["add_bias_kv"]:
            decls += [WeightDecl(f"bias_{n}", (1, 1, dim), bias_init) for n in "kv"]
        decls.append(WeightDecl("out_proj.weight", (dim, dim), init))
        if attrs["bias"]:
            decls.append(WeightDecl("out_proj.bias", (dim,), bias_init))
        return tuple(decls)

    def macs(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Size:
        q, k = ins[0], ins[1] if len(ins) > 1 else ins[0]
        batch, tokens = (0, 1) if attrs["batch_first"] else (1, 0)
        dim, queries, keys = attrs["embed_dim"], q.shape[tokens], k.shape[tokens]
        projections = 2 * queries * dim * dim + keys * dim * (attrs["kdim"] + attrs["vdim"])
        seen = keys + attrs["add_bias_kv"] + attrs["add_zero_attn"]
        total: Size = q.shape[batch] * (projections + 2 * queries * seen * dim)
        return total

    def layers(self, attrs: Attrs) -> int:
        return 2

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (q, k, v), masks = tuple(ins[:3]) if len(ins) > 1 else (ins[0],) * 3, ins[3:]
        heads, width = attrs["num_heads"], attrs["embed_dim"] // attrs["num_heads"]
        head, match, value, outer = cx.free(heads), cx.free(width), cx.free(width), cx.free(attrs["embed_dim"])
        cx.hold((q[-1], k[-1], v[-1], head, match, value, outer), f"`{self.name}` has one width for all")
        batch, tokens = (0, 1) if attrs["batch_first"] else (1, 0)
        cx.named([("B", q[batch]), ("B", k[batch]), ("B", v[batch]), ("S", k[tokens]), ("S", v[tokens])])
        cx.hold((k[tokens],), f"`{self.name}` takes a softmax over it")
        if masks:
            every = (head, q[batch], q[tokens], k[tokens], *(axis for mask in masks for axis in mask))
            cx.fix(every, f"`{self.name}` has a mask over it")
        query, result = cx.product(head, match), cx.product(head, value)
        rows = cx.cat(query, query, result)
        if self._one_width(attrs):
            cx.tie(q[-1], k[-1])
            cx.tie(q[-1], v[-1])
        weights: dict[str, Axes] = {"in_proj_weight": (rows, q[-1]), "in_proj_bias": (rows,)}
        weights |= {f"{n}_proj_weight": (query, x[-1]) for n, x in (("q", q), ("k", k))}
        weights |= {"v_proj_weight": (result, v[-1])}
        weights |= {f"bias_{n}": (cx.free(1), cx.free(1), axis) for n, axis in (("k", query), ("v", result))}
        weights |= {"out_proj.weight": (outer, result), "out_proj.bias": (outer,)}
        return cx.says((*q[:-1], outer), weights=weights, sizes={"num_heads": head})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        """What torch.nn.functional.multi_head_attention_forward does without asking for the weights."""
        three = tuple(ins[:3]) if len(ins) > 1 else (ins[0],) * 3
        if attrs["batch_first"]:  # one wire given twice stays one tensor
            turned = {id(x): tape.transpose(x, 0, 1) for x in three}
            three = tuple(turned[id(x)] for x in three)
        q, k, v = self._projected(tape, three, weights, attrs)
        heads, width = attrs["num_heads"], attrs["embed_dim"] // attrs["num_heads"]
        batch, more = q.shape[1], attrs["add_bias_kv"] + attrs["add_zero_attn"]
        if attrs["add_bias_kv"]:
            k, v = (
                tape.apply((x, weights[f"bias_{name}"]), (x.shape[0] + 1, *x.shape[1:]), x.dtype)
                for x, name in ((k, "k"), (v, "v"))
            )
        q, k, v = (tape.transpose(tape.reshape(x, (x.shape[0], batch * heads, width)), 0, 1) for x in (q, k, v))
        if attrs["add_zero_attn"]:
            k, v = (tape.apply((x,), (x.shape[0], x.shape[1] + 1, width), x.dtype) for x in (k, v))
        mask = _merged(tape, ins[3:], q, batch, heads, more)
        q, k, v = (tape.reshape(x, (batch, heads, *x.shape[1:])) for x in (q, k, v))
        y = tape.permute(tape.sdpa(q, k, v, mask, attrs["dropout"]), 2, 0, 1, 3)
        y = tape.reshape(tape.contiguous(y), (y.shape[0] * batch, heads * width))
        y = tape.linear(y, weights["out_proj.weight"], weights.get("out_proj.bias"))
        y = tape.reshape(y, (q.shape[2], batch, heads * width))
        return (tape.transpose(y, 0, 1) if attrs["batch_first"] else y,)

    def _projected(
        self, tape: Tape, three: Sequence[Ghost], weights: Mapping[str, Ghost], attrs: Attrs
    ) -> Sequence[Ghost]:
        """Query, key and value; tensors that are one and the same are projected together."""
        q, k, v = three
        dim, bias = attrs["embed_dim"], weights.get("in_proj_bias")
        if not self._one_width(attrs):
            return [tape.linear(x, weights[f"{n}_proj_weight"], bias) for x, n in zip(three, "qkv", strict=True)]
        whole = weights["in_proj_weight"]

        def several(x: Ghost, count: int) -> list[Ghost]:
            y = tape.linear(x, tape.view(whole, (count * dim, dim), whole.strides), bias)
            if count == 1:
                return [y]
            y = tape.permute(tape.unsqueeze(tape.unflatten(y, -1, (count, dim)), 0), 3, 1, 2, 0, 4)
            y = tape.contiguous(tape.squeeze(y, -2))
            return [tape.view(y, y.shape[1:], y.strides[1:]) for _ in range(count)]

        if k is not v:
            return [several(x, 1)[0] for x in three]
        return several(q, 3) if q is k else [*several(q, 1), *several(k, 2)]

    def module(self, attrs: Attrs) -> Call:
        dim = attrs["embed_dim"]
        named = (
            ("dropout", attrs["dropout"], 0.0),
            ("bias", attrs["bias"], True),
            ("add_bias_kv", attrs["add_bias_kv"], False),
            ("add_zero_attn", attrs["add_zero_attn"], False),
            ("kdim", None if attrs["kdim"] == dim else attrs["kdim"], None),
            ("vdim", None if attrs["vdim"] == dim else attrs["vdim"], None),
            ("batch_first", attrs["batch_first"], False),
        )
        return Call("nn.MultiheadAttention", (Lit(dim), Lit(attrs["num_heads"])), kwargs(*named))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        three = wires(3) if inputs > 1 else (In(0),) * 3
        masks = (("key_padding_mask", 4), ("attn_mask", 3))
        named = (*(Kw(name, In(i)) for name, i in masks if i < inputs), Kw("need_weights", Lit(False), True))
        return Item(Call(Self(), three, named), (Lit(0),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """Through torch's own module: in evaluation it takes a fused path whose last bits differ from F's."""
        import torch

        names = ("dropout", "bias", "add_bias_kv", "add_zero_attn", "kdim", "vdim", "batch_first")
        options = {name: attrs[name] for name in names}
        module = torch.nn.MultiheadAttention(attrs["embed_dim"], attrs["num_heads"], **options, device="meta")
        module.train(training)
        three = tuple(ins[:3]) if len(ins) > 1 else (ins[0],) * 3
        padding, mask = (ins[i] if len(ins) > i else None for i in (4, 3))
        output, _ = torch.func.functional_call(module, dict(weights), (*three, padding, False, mask))
        return output


def _merged(tape: Tape, masks: Sequence[Ghost], q: Ghost, batch: Size, heads: int, more: int) -> Ghost | None:
    """Both masks as one that is added to the scores; `more` keys are seen by all."""
    ready = []
    for mask in masks:
        if mask.dtype == "bool":
            mask = tape.new(mask.shape, q.dtype)
        for _ in range(more):
            mask = tape.pad(mask, (*mask.shape[:-1], mask.shape[-1] + 1))
        ready.append(mask)
    if not ready:
        return None
    mask = tape.unsqueeze(ready[0], 0) if ready[0].rank == 2 else ready[0]
    if len(ready) > 1:
        keys = mask.shape[-1]
        padding = tape.expand(tape.reshape(ready[1], (batch, 1, 1, keys)), -1, heads, -1, -1)
        padding = tape.reshape(padding, (batch * heads, 1, keys))
        mask = tape.pointwise((mask, padding), (batch * heads, *q.shape[1:2], keys), q.dtype)
    elif ready[0].rank == 2:
        return tape.unsqueeze(mask, 0)
    return tape.reshape(mask, (batch, heads, *mask.shape[1:]))
