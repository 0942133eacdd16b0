"""Ops for several members at once: what one member's op becomes where their channels stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.ir.graph import Attrs, Child, Init, Node, TensorType, Value, WeightDecl, attr_at
from archlang.ir.paths import join
from archlang.ops.base import REQUIRED, Context, registry
from archlang.optimize.edit import Editor
from archlang.shapes.dim import Dim, Size

__all__ = ["Side", "applied", "folded", "merged", "moved", "parted", "unfolded"]


def applied(edit: Editor, op: str, inputs: Sequence[Value], at: Node, **args: Any) -> Value:
    """The first result of an op in the place of a node, with defaults for arguments that are not given."""
    return _results(edit, op, inputs, at, args)[0]


def _results(edit: Editor, op: str, inputs: Sequence[Value], at: Node, args: Attrs) -> tuple[Value, ...]:
    entry = registry()[op]
    full = {p.name: p.default for p in entry.params if p.default is not REQUIRED} | dict(args)
    attrs = entry.resolve([v.type for v in inputs], full, Context())
    return edit.add(op, inputs, attrs, at=at).outputs


def parted(edit: Editor, value: Value, axis: int, count: int, at: Node) -> Value:
    """[..., members * C, ...] as [..., members, C, ...]."""
    shape, axis = value.type.shape, axis % value.type.rank
    size = shape[axis]
    assert isinstance(size, int)
    return applied(edit, "reshape", [value], at, shape=(*shape[:axis], count, size // count, *shape[axis + 1 :]))


def merged(edit: Editor, value: Value, axis: int, at: Node) -> Value:
    """[..., members, C, ...] as [..., members * C, ...]."""
    shape, axis = value.type.shape, axis % value.type.rank
    return applied(
        edit, "reshape", [value], at, shape=(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
    )


def folded(edit: Editor, value: Value, axis: int, count: int, at: Node) -> Value:
    """[B, ..., members * C, ...] as [B * members, ..., C, ...]."""
    apart = moved(edit, parted(edit, value, axis, count, at), axis, 1, at)
    return merged(edit, apart, 0, at)


def unfolded(edit: Editor, value: Value, axis: int, count: int, batch: Size, at: Node) -> Value:
    """[B * members, ..., C, ...] as [B, ..., members * C, ...]."""
    apart = applied(edit, "reshape", [value], at, shape=(batch, count, *value.type.shape[1:]))
    return merged(edit, moved(edit, apart, 1, axis, at), axis, at)


def moved(edit: Editor, value: Value, source: int, target: int, at: Node) -> Value:
    """The value with a dimension in another place."""
    if source == target:
        return value
    order = [i for i in range(value.type.rank) if i != source]
    order.insert(target, source)
    return applied(edit, "permute", [value], at, dims=tuple(order))


class Side:
    """Puts the layers of `count` members side by side. kept: whether the members' states carry over."""

    def __init__(self, count: int, kept: bool) -> None:
        self.count, self.kept = count, kept
        self._done: set[tuple[int, str]] = set()

    def first(self, edit: Editor, path: str) -> bool:
        """Whether a layer meets its weights for the first time: then it is to change them."""
        key = (id(edit.graph), path)
        known = key in self._done
        self._done.add(key)
        return not known

    def joined(self, edit: Editor, old: Sequence[str], new: Sequence[str], **options: Any) -> None:
        """Notes that these tensors are made of the members' of these names."""
        if self.kept and old:
            reads = [f"{name}.{i}" for name in old for i in range(self.count)]
            edit.change("join_members", reads, list(new), (), members=self.count, **options)

    # -- layers ------------------------------------------------------------------------------------------------------
    def matrices(
        self, edit: Editor, x: Value, at: Node, path: str, old: Sequence[str], attrs: Attrs, groups: int
    ) -> Value:
        """A matrix for each group of the features of x, the last dimension, as a convolution at single positions.

        attrs: out_features, bias, init, bias_init; old: the tensors that its kernel (and bias) is made of.
        """
        rank = x.type.rank
        points = max(rank - 2, 1)
        if rank == 2:
            image = applied(edit, "reshape", [x], at, shape=(*x.type.shape, 1))
        else:
            image = moved(edit, x, rank - 1, 1, at)
        y = self.points(edit, image, at, path, old, attrs, groups, points)
        if rank == 2:
            return applied(edit, "reshape", [y], at, shape=y.type.shape[:2])
        return moved(edit, y, 1, rank - 1, at)

    def points(
        self, edit: Editor, x: Value, at: Node, path: str, old: Sequence[str], attrs: Attrs, groups: int, points: int
    ) -> Value:
        """The same over features in dimension 1, with so many dimensions of positions behind it."""
        args = {name: attrs[name] for name in ("bias", "init", "bias_init")}
        args |= {"groups": groups, "out_channels": attrs["out_features"], "kernel_size": 1}
        full = {p.name: p.default for p in registry()["conv"].params if p.default is not REQUIRED} | args
        made = registry()["conv"].resolve([x.type], full, Context())
        if self.first(edit, path):
            edit.graph.children[path] = Child(path, at.span, "conv", made, registry()["conv"].weights(made))
            names = [join(path, decl.name) for decl in edit.graph.children[path].weights]
            self.joined(edit, old, names, point=points)
        return edit.add("conv", [x], made, at=at, path=path).outputs[0]

    def normed(self, edit: Editor, node: Node, wide: int) -> Value:
        """A norm whose statistics are each member's own; its weight and bias are those of all channels."""
        (x,), path, attrs = node.inputs, node.path, node.attrs
        axis = 1 if node.op == "layernorm2d" else x.type.rank - 1
        options = {key: attrs[key] for key in ("eps",)}
        if node.op == "layernorm2d":
            y = applied(edit, "layernorm2d", [merged(edit, parted(edit, x, 1, self.count, node), 0, node)], node,
                        affine=False, **options)  # fmt: skip
            y = applied(edit, "reshape", [y], node, shape=x.type.shape)
        else:
            y = parted(edit, x, axis, self.count, node)
            y = merged(edit, applied(edit, node.op, [y], node, elementwise_affine=False, **options), axis, node)
        if path is None or path not in edit.graph.children:
            names = [decl.name for decl in registry()[node.op].weights(attrs)]
        else:
            names = [decl.name for decl in edit.graph.children[path].weights]
        if path is not None and self.first(edit, path):
            self._declare(edit, path, wide, attrs)
        for name in names:
            weight = self.declared(edit, node, join(path or "", name), (wide,))
            if node.op == "layernorm2d":
                weight = applied(edit, "reshape", [weight], node, shape=(wide, 1, 1))
            y = applied(edit, "mul" if name == "weight" else "add", [y, weight], node)
        return y

    def _declare(self, edit: Editor, path: str, wide: int, attrs: Attrs) -> None:
        """Makes weights of a block of those of a norm, under their names."""
        child = edit.graph.children.pop(path)
        names = [join(path, decl.name) for decl in child.weights]
        for name, decl in zip(names, child.weights, strict=True):
            init = decl.init or Init("ones" if decl.name == "weight" else "zeros")
            edit.graph.weights[name] = WeightDecl(name, (wide,), init, decl.dtype, decl.kind)
        self.joined(edit, names, names)

    def declared(self, edit: Editor, at: Node, path: str, shape: tuple[int, ...]) -> Value:
        """The value of a weight that the block declares."""
        node = Node("weight", (), (Value(TensorType(shape)),), at.span, {}, path, phase=at.phase)
        edit.graph.nodes.insert(edit.graph.nodes.index(at), node)
        edit.enter(node)
        return node.outputs[0]

    def attention(self, edit: Editor, node: Node, wide: int) -> Value:
        """Heads of all members beside each other: their attentions, and matrices in groups around them."""
        attrs, count = node.attrs, self.count
        x, *masks = node.inputs[:1] if node.op == "multihead_attention" else node.inputs
        batch, tokens, _ = x.type.shape
        heads = attrs["num_heads"]
        width = attrs.get("attn_head_dim") or wide // count // heads
        before, after = self._around(edit, node, count * 3 * heads * width, wide)
        y = self.points(edit, moved(edit, x, 2, 1, node), node, *before, count, 1)
        y = applied(edit, "reshape", [y], node, shape=(batch, count, 3, heads, width, tokens))
        y = applied(edit, "permute", [y], node, dims=(2, 0, 1, 3, 5, 4))
        y = applied(edit, "reshape", [y], node, shape=(3, batch, count * heads, tokens, width))
        three = _results(edit, "unbind", [y], node, {"dim": 0})
        drop = attrs["attn_drop"] if node.op == "attention" else attrs["dropout"]
        y = applied(edit, "sdpa", [*three, *masks], node, dropout_p=drop)
        y = applied(edit, "permute", [y], node, dims=(0, 1, 3, 2))
        y = applied(edit, "reshape", [y], node, shape=(batch, count * heads * width, tokens))
        y = moved(edit, self.points(edit, y, node, *after, count, 1), 1, 2, node)
        return applied(edit, "dropout", [y], node, p=attrs["proj_drop"]) if attrs.get("proj_drop") else y

    def _around(self, edit: Editor, node: Node, inner: int, outer: int) -> list[tuple[str, list[str], Attrs]]:
        """Of the layers before and behind an attention, whose place its module leaves: their paths, the tensors that
        they are made of, and their attributes."""
        attrs, path = node.attrs, node.path
        assert path is not None
        child = edit.graph.children.pop(path, None)  # gone already where it is applied a second time
        given = {decl.name for decl in child.weights} if child is not None else set()
        biased = ("qkv_bias", "proj_bias") if node.op == "attention" else ("bias", "bias")
        found: list[tuple[str, list[str], Attrs]] = []
        for (name, *tensors), bias, size in zip(_LAYERS[node.op], biased, (inner, outer), strict=True):
            made = {"out_features": size, "bias": attrs[bias], "init": attrs["init"], "bias_init": attrs["bias_init"]}
            found.append((join(path, name), [join(path, tensor) for tensor in tensors if tensor in given], made))
        return found

    # -- ops without weights -----------------------------------------------------------------------------------------
    def one_by_one(
        self, edit: Editor, node: Node, ins: Sequence[tuple[Value, int | None, bool]], outs: Sequence[int]
    ) -> list[Value]:
        """Runs an op on each member for itself, as if members were samples.

        ins: each input, the axis of its members' channels (None: all see the same), and whether it has a batch; outs:
        the axes of the results.
        """
        batch = next(v.type.shape[0] for v, _, batched in ins if batched)
        assert isinstance(batch, Dim) and batch.as_symbol is not None
        inputs = []
        for value, axis, batched in ins:
            if axis is not None:
                inputs.append(folded(edit, value, axis, self.count, node))
            elif batched:
                one = applied(edit, "reshape", [value], node, shape=(batch, 1, *value.type.shape[1:]))
                several = applied(edit, "concat", [one] * self.count, node, dim=1)
                inputs.append(merged(edit, several, 0, node))
            else:
                inputs.append(value)
        at = {batch.as_symbol: batch * self.count}
        attrs = {key: attr_at(value, at) for key, value in node.attrs.items()}
        made = edit.add(node.op, inputs, attrs, at=node, path=node.path)
        pairs = zip(made.outputs, outs, strict=True)
        results = [unfolded(edit, new, axis, self.count, batch, node) for new, axis in pairs]
        for old, result in zip(node.outputs, results, strict=True):
            edit.replace(old, result)
        edit.remove(node)
        return results


_LAYERS = {  # the layers that an attention becomes, before and behind it: a path, and the tensors that each is made of
    "attention": (("qkv", "qkv.weight", "qkv.bias"), ("proj", "proj.weight", "proj.bias")),
    "multihead_attention": (
        ("in_proj", "in_proj_weight", "in_proj_bias"),
        ("out_proj", "out_proj.weight", "out_proj.bias"),
    ),
}
