"""A scale and a shift a channel: which nodes do no more than that in evaluation, and which layers can do it instead."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Node, Value
from archlang.ops.base import registry
from archlang.optimize.edit import Editor, plain
from archlang.records import dataclass

__all__ = ["Affine", "Keys", "affine", "affine_keys", "axis_made", "keys", "scale_after", "take", "with_bias"]

_VIEWS = ("reshape", "unsqueeze", "squeeze", "flatten", "unflatten", "permute", "transpose")


@dataclass(frozen=True, slots=True)
class Affine:
    """The node gives `value` * scale * factor + shift + offset.

    axis: the dimension that scale and shift have an entry for each index of; None where they are numbers.
    weight: the declared weight that is the scale (or the shift, `adds`); operands: the nodes that make it.
    """

    node: Node
    value: Value
    axis: int | None = None
    factor: float = 1.0
    offset: float = 0.0
    weight: str | None = None
    adds: bool = False
    operands: tuple[Node, ...] = ()

    @property
    def shifts(self) -> bool:
        return self.node.op == "batchnorm" or self.adds or self.offset != 0


@dataclass(frozen=True, slots=True)
class Keys:
    """Where the state holds scale and shift (None: 1, 0), and the numbers beside them."""

    scale: str | None = None
    shift: str | None = None
    factor: float = 1.0
    offset: float = 0.0

    @property
    def shifts(self) -> bool:
        return self.shift is not None or self.offset != 0

    @property
    def numbers(self) -> dict[str, Any]:
        """As arguments of a function of the state."""
        given = {"factor": (self.factor, 1.0), "offset": (self.offset, 0.0)}
        return {name: value for name, (value, default) in given.items() if value != default}


def affine(edit: Editor, node: Node) -> Affine | None:
    """What a node does, where it is a scale and a shift of what nobody else keeps the weights of."""
    if not plain(node) or node.outputs[0].type.dtype != "float" or not node.inputs:
        return None
    if node.op == "batchnorm":
        known = node.attrs["track_running_stats"] and edit.module(node) is not None
        return Affine(node, node.inputs[0], 1 if node.attrs["num_features"] > 1 else None) if known else None
    if node.op == "neg":
        return Affine(node, node.inputs[0], factor=-1.0)
    if node.op in ("mul", "add", "sub", "div"):
        found = _number(node) if len(node.inputs) == 1 else _weighted(edit, node)
        return found if found is not None and found.value.type == node.outputs[0].type else None
    return None


def _number(node: Node) -> Affine | None:
    n, turned = node.attrs["other"], node.attrs["reverse"]
    if type(n) not in (int, float) or (node.op == "div" and (turned or n == 0)):
        return None
    (x,) = node.inputs
    if node.op == "mul":
        return Affine(node, x, factor=float(n))
    if node.op == "div":
        return Affine(node, x, factor=1 / n)
    sign = -1.0 if node.op == "sub" and turned else 1.0
    return Affine(node, x, factor=sign, offset=float(-n if node.op == "sub" and not turned else n))


def _weighted(edit: Editor, node: Node) -> Affine | None:
    """`x * w` or `x + w` of a declared weight."""
    if len(node.inputs) != 2 or node.op not in ("mul", "add"):
        return None
    for x, w in (node.inputs, node.inputs[::-1]):
        operands: list[Node] = []
        value = w
        while edit.sole(value):
            maker = edit.maker(value)
            if maker is None or not plain(maker):
                break
            operands.append(maker)
            if maker.op not in _VIEWS:
                break
            value = maker.inputs[0]
        path = edit.weight(value)
        if path is None:
            continue
        decl = edit.graph.weights[path]
        long = [i for i, n in enumerate(w.type.shape) if n != 1]
        if decl.dtype != "float" or decl.constraint is not None or not decl.persistent or len(long) > 1:
            continue
        axis = x.type.rank - w.type.rank + long[0] if long else None
        if prod(decl.shape) != 1 and axis is not None and x.type.shape[axis] != prod(decl.shape):
            continue
        return Affine(node, x, axis, weight=path, adds=node.op == "add", operands=tuple(operands))
    return None


def take(edit: Editor, found: Affine) -> Keys:
    """Takes the node away: its readers read what it read. Says where the state holds what it did."""
    edit.merge(found.node, found.value)
    for node in found.operands:
        edit.remove(node)
    if found.weight is not None:
        del edit.graph.weights[found.weight]
        return Keys(shift=found.weight) if found.adds else Keys(scale=found.weight)
    at = found.node.path
    if at is None:
        return Keys(factor=found.factor, offset=found.offset)
    reads = (*affine_keys(found.node), f"{at}.running_mean", f"{at}.running_var")
    keys = Keys(f"{at}.scale", f"{at}.shift")
    edit.change("scale_of_batchnorm", reads, (f"{at}.scale", f"{at}.shift"), [at], eps=found.node.attrs["eps"])
    edit.drop_module(at)
    return keys


def affine_keys(node: Node) -> tuple[str | None, str | None]:
    """The keys of a module's weight and bias; None for what it does not have."""
    names = {decl.name for decl in registry()[node.op].weights(node.attrs)}
    weight, bias = (f"{node.path}.{name}" if name in names else None for name in ("weight", "bias"))
    return weight, bias


def keys(node: Node, *, bias: bool) -> Sequence[str]:
    """Where a rewritten layer has its weight, and its bias."""
    return (f"{node.path}.weight", f"{node.path}.bias")[: 2 if bias else 1]


# -- layers that do it instead -----------------------------------------------------------------------------------------
_NORMS = ("batchnorm", "groupnorm", "layernorm2d", "instancenorm")


def axis_made(edit: Editor, node: Node) -> int | None:
    """The dimension along which a node has a weight for each index of its result; None where it has none of its own."""
    if not plain(node) or edit.module(node) is None:
        return None
    if node.op in ("conv", "conv_transpose", *_NORMS):
        return 1
    if node.op == "linear" or (node.op == "layernorm" and len(node.attrs["normalized_shape"]) == 1):
        return node.outputs[0].type.rank - 1
    return None


def scale_after(edit: Editor, node: Node, given: Keys) -> None:
    """The node's module scales and shifts its own result."""
    weight, bias = affine_keys(node)
    groups = {"groups": node.attrs["groups"]} if node.op == "conv_transpose" else {}
    both = bias is not None or given.shifts or weight is None
    reads = (weight, bias, given.scale, given.shift)
    edit.change("scale_outputs", reads, keys(node, bias=both), **given.numbers, **groups)
    edit.reshape_module(node, with_bias(node) if both else node.attrs)


def with_bias(node: Node) -> dict[str, Any]:
    """Attributes of the same node with a weight and a bias."""
    names = {"affine", "elementwise_affine", "bias"}
    return {name: True if name in names else value for name, value in node.attrs.items()}
