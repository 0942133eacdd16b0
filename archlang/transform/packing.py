"""Layers for several members at once: what one member's layer becomes where their channels stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Attrs, Child, Init, Node, TensorType, Value, WeightDecl
from archlang.ir.paths import join
from archlang.ops.base import REQUIRED, Context, registry
from archlang.optimize.edit import Editor
from archlang.shapes.dim import Size
from archlang.transform.arrange import applied, fronted, merged, moved, parted, results, settled
from archlang.transform.starts import several

__all__ = ["Side"]


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

    def renamed(self, edit: Editor, old: str, member: int, new: str) -> None:
        """Notes that this tensor is a member's of another name."""
        if self.kept:
            edit.change("join_members", [f"{old}.{member}"], [new], (), members=1)

    # -- layers ------------------------------------------------------------------------------------------------------
    def matrices(
        self, edit: Editor, x: Value, at: Node, path: str, old: Sequence[str], attrs: Attrs, groups: int
    ) -> Value:
        """A matrix for each group of the features of x, the last dimension, as a convolution at single positions.

        attrs: out_features, bias, init, bias_init; old: the tensors that its kernel (and bias) is made of.
        """
        rank = x.type.rank
        if rank > 5:  # more positions than a convolution has dimensions
            batch, *positions, width = x.type.shape
            flat = applied(edit, "reshape", [x], at, shape=(batch, prod(positions, start=1), width))
            y = self.matrices(edit, flat, at, path, old, attrs, groups)
            return applied(edit, "reshape", [y], at, shape=(batch, *positions, y.type.shape[2]))
        points = max(rank - 2, 1)
        if rank == 2:
            image = applied(edit, "reshape", [x], at, shape=(*x.type.shape, 1))
        else:
            image = moved(edit, x, rank - 1, 1, at)
        y = self.points(edit, image, at, path, old, attrs, groups, points)
        if rank == 2:
            return applied(edit, "reshape", [y], at, shape=y.type.shape[:2])
        return moved(edit, y, 1, rank - 1, at)

    def started(self, op: str, attrs: Attrs, dim: int = 0) -> Attrs:
        """The attributes of a layer for all members with initial values by which each starts as it would alone. dim:
        in which the kernels of members are joined."""
        names = {decl.name: decl.shape for decl in registry()[op].weights(attrs)}
        found = dict(attrs)
        for name, tensor, axis in (("init", "weight", dim), ("bias_init", "bias", 0)):
            if found.get(name) is not None and tensor in names:
                shape = [n // self.count if i == axis else n for i, n in enumerate(names[tensor])]
                found[name] = several(found[name], shape, self.count, axis)
        return found

    def points(
        self, edit: Editor, x: Value, at: Node, path: str, old: Sequence[str], attrs: Attrs, groups: int, points: int
    ) -> Value:
        """The same over features in dimension 1, with so many dimensions of positions behind it."""
        args = {name: attrs[name] for name in ("bias", "init", "bias_init")}
        args |= {"groups": groups, "out_channels": attrs["out_features"], "kernel_size": 1}
        full = {p.name: p.default for p in registry()["conv"].params if p.default is not REQUIRED} | args
        made = self.started("conv", registry()["conv"].resolve([x.type], full, Context()))
        if self.first(edit, path):
            edit.graph.children[path] = Child(path, at.span, "conv", made, registry()["conv"].weights(made))
            names = [join(path, decl.name) for decl in edit.graph.children[path].weights]
            self.joined(edit, old, names, point=points)
        return edit.add("conv", [x], made, at=at, path=path).outputs[0]

    def normed(self, edit: Editor, node: Node, axis: int) -> Value:
        """A norm whose statistics are each member's own; its weight and bias are those of all of them. axis: of the
        members' channels, the normalised ones or others."""
        (x,), path, attrs = node.inputs, node.path, node.attrs
        options = {"eps": attrs["eps"]}
        if node.op == "layernorm2d":
            y = applied(edit, "layernorm2d", [merged(edit, parted(edit, x, 1, self.count, node), 0, node)], node,
                        affine=False, **options)  # fmt: skip
            y = parted(edit, applied(edit, "reshape", [y], node, shape=x.type.shape), 1, self.count, node)
        else:
            y = parted(edit, x, axis, self.count, node)
            y = applied(edit, node.op, [y], node, elementwise_affine=False, **options)
        if path is None or path not in edit.graph.children:
            names = [decl.name for decl in registry()[node.op].weights(attrs)]
        else:
            names = [decl.name for decl in edit.graph.children[path].weights]
        channels = 2 if node.op == "layernorm2d" else y.type.rank - 1
        wide = _number(y.type.shape[channels]) * self.count
        if path is not None and self.first(edit, path):
            self._declare(edit, path, wide, attrs)
        y = self.affine(edit, y, node, path or "", names, axis, channels)
        return merged(edit, y, axis, node)

    def affine(
        self, edit: Editor, y: Value, node: Node, path: str, names: Sequence[str], place: int, channels: int
    ) -> Value:
        """A weight and a bias under a path on members in the dimension `place`, for each index of `channels`."""
        size = _number(y.type.shape[channels])
        for name in names:
            weight = self.declared(edit, node, join(path, name), (size * self.count,))
            shape = [1] * y.type.rank
            shape[place], shape[channels] = self.count, size
            weight = applied(edit, "reshape", [weight], node, shape=tuple(shape[place:]))
            y = applied(edit, "mul" if name.endswith("weight") else "add", [y, weight], node)
        return y

    def slopes(self, edit: Editor, node: Node, axis: int) -> Value:
        """`prelu` with a slope for each member, whose channels are in `axis`."""
        (x,), path = node.inputs, node.path
        assert path is not None
        attrs = {**node.attrs, "num_parameters": self.count}
        if self.first(edit, path):
            child = edit.graph.children[path]
            child.attrs = self.started("prelu", attrs)
            child.weights = registry()["prelu"].weights(child.attrs)
            self.joined(edit, [join(path, "weight")], [join(path, "weight")])
        apart = fronted(edit, x, axis, 1, self.count, node)
        return settled(edit, edit.add("prelu", [apart], attrs, at=node, path=path).outputs[0], 1, axis, node)

    def _declare(self, edit: Editor, path: str, wide: int, attrs: Attrs) -> None:
        """Makes weights of a block of those of a norm, under their names."""
        child = edit.graph.children.pop(path)
        names = [join(path, decl.name) for decl in child.weights]
        for name, decl in zip(names, child.weights, strict=True):
            init = several(decl.init, decl.shape, self.count) or Init("ones" if decl.name == "weight" else "zeros")
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
        q, k, v = results(edit, "unbind", [y], node, {"dim": 0})
        if attrs.get("qk_norm"):
            q, k = (self._head_norm(edit, x, node, width, f"{name}_norm") for x, name in ((q, "q"), (k, "k")))
        drop = attrs["attn_drop"] if node.op == "attention" else attrs["dropout"]
        y = applied(edit, "sdpa", [q, k, v, *masks], node, dropout_p=drop)
        y = applied(edit, "permute", [y], node, dims=(0, 1, 3, 2))
        y = applied(edit, "reshape", [y], node, shape=(batch, count * heads * width, tokens))
        y = moved(edit, self.points(edit, y, node, *after, count, 1), 1, 2, node)
        return applied(edit, "dropout", [y], node, p=attrs["proj_drop"]) if attrs.get("proj_drop") else y

    def _head_norm(self, edit: Editor, x: Value, node: Node, width: int, name: str) -> Value:
        """Each head of each member normalised, with a weight and a bias for each of a member's features of a head."""
        path = join(node.path or "", name)
        names = [join(path, kind) for kind in ("weight", "bias")]
        if self.first(edit, path):
            for one, init in zip(names, ("ones", "zeros"), strict=True):
                edit.graph.weights[one] = WeightDecl(one, (width * self.count,), Init(init))
            self.joined(edit, names, names)
        y = applied(edit, "layernorm", [x], node, elementwise_affine=False, eps=node.attrs["norm_eps"])
        y = self.affine(edit, parted(edit, y, 1, self.count, node), node, path, ("weight", "bias"), 1, 4)
        return merged(edit, y, 1, node)

    def _around(self, edit: Editor, node: Node, inner: int, outer: int) -> list[tuple[str, list[str], Attrs]]:
        """Of the layers before and behind an attention, whose place its module leaves: their paths, the tensors that
        they are made of, and their attributes."""
        attrs, path = node.attrs, node.path
        assert path is not None
        child = edit.graph.children.pop(path, None)  # gone already where it is applied a second time
        given = {decl.name for decl in child.weights} if child is not None else set()
        inits, biases = [attrs["init"]] * 2, [attrs["bias_init"]] * 2
        if node.op == "multihead_attention":  # torch's own start of it
            inits[0] = inits[0] or Init("xavier_uniform")
            biases = [init or Init("zeros") for init in biases]
        biased = ("qkv_bias", "proj_bias") if node.op == "attention" else ("bias", "bias")
        found: list[tuple[str, list[str], Attrs]] = []
        sizes = zip(_LAYERS[node.op], biased, (inner, outer), inits, biases, strict=True)
        for (name, *tensors), bias, size, init, bias_init in sizes:
            made = {"out_features": size, "bias": attrs[bias], "init": init, "bias_init": bias_init}
            found.append((join(path, name), [join(path, tensor) for tensor in tensors if tensor in given], made))
        return found


def _number(size: Size) -> int:
    assert isinstance(size, int)
    return size


_LAYERS = {  # the layers that an attention becomes, before and behind it: a path, and the tensors that each is made of
    "attention": (("qkv", "qkv.weight", "qkv.bias"), ("proj", "proj.weight", "proj.bias")),
    "multihead_attention": (
        ("in_proj", "in_proj_weight", "in_proj_bias"),
        ("out_proj", "out_proj.weight", "out_proj.bias"),
    ),
}
