"""A convolution of an image of known size is a matrix, which can be added to one."""

from __future__ import annotations

from math import prod

from archlang.ir.graph import Node, Value
from archlang.optimize.affine import affine_keys, keys
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layers import layout
from archlang.optimize.taps import Kernel


@rewrites("conv-to-matrix", equivalence="rounding", level=2, purposes=("inference",))
def conv_to_matrix(edit: Editor) -> None:
    """A convolution beside a linear layer of all pixels of the same image, added: the linear layer.

    Re-parameterizing Convolutions into Fully-connected Layers for Image Recognition (Ding et al., 2021). The layer
    may have groups, as a 1x1 convolution of a single pixel whose channels are all pixels.
    """
    for total in edit.nodes("add"):
        if not plain(total) or any(v.type != total.outputs[0].type for v in total.inputs):
            continue
        for value in total.inputs:
            conv = edit.maker(value)
            made = layout(edit, conv) if conv is not None and conv.op == "conv" and edit.sole(value) else None
            if conv is None or made is None or made.mode not in ("", "zeros"):
                continue
            dense = next((d for v in total.inputs if (d := _dense(edit, v, conv, made)) is not None), None)
            if dense is not None:
                edit.did(total, f"`{dense.op}` of all pixels does what `conv` does")
                _merge(edit, total, conv, made, dense)
                break


def _dense(edit: Editor, value: Value, conv: Node, made: Kernel) -> Node | None:
    """The layer that makes a value of all pixels of what the convolution reads."""
    image, sizes = conv.inputs[0].type, conv.inputs[0].type.shape
    if not all(isinstance(n, int) for n in (*sizes[1:], *value.type.shape[1:])):
        return None
    after = _views(edit, value)
    node = edit.maker(after)
    one = layout(edit, node) if node is not None and edit.sole(after) else None
    if node is None or one is None:
        return None
    x = node.inputs[0]
    if x.type.shape[0] != sizes[0] or after.type.shape[0] != value.type.shape[0]:
        return None  # pixels of several images are mixed
    if node.op == "linear" and x.type.rank != 2:
        return None
    if node.op == "conv" and (prod(t.kernel for t in one.taps) != 1 or any(n != 1 for n in x.type.shape[2:])):
        return None
    if made.groups % one.groups or _views(edit, x, conv.inputs[0]) is not conv.inputs[0] or x.type == image:
        return None
    return node


def _views(edit: Editor, value: Value, stop: Value | None = None) -> Value:
    """What a value is a view of, with its elements in the same order."""
    while value is not stop and edit.sole(value):
        node = edit.maker(value)
        op = edit.entry(node) if node is not None else None
        if node is None or op is None or not plain(node) or not op.keeps_order(node.attrs) or len(node.inputs) != 1:
            break
        value = node.inputs[0]
    return value


def _merge(edit: Editor, total: Node, conv: Node, made: Kernel, dense: Node) -> None:
    rest = [v for v in total.inputs if v is not conv.outputs[0]]
    value = rest[0] if len(rest) == 1 else edit.add("add", rest, total.attrs, at=total).outputs[0]
    edit.merge(total, value)
    bias = dense.attrs["bias"] or conv.attrs["bias"]
    edit.change(
        "add_convolution",
        (*affine_keys(dense), *affine_keys(conv)),
        keys(dense, bias=bias),
        size=tuple(conv.inputs[0].type.shape[2:]),
        pad=tuple(n for t in reversed(made.taps) for n in (t.before, t.after)),
        stride=tuple(t.stride for t in made.taps),
        dilation=tuple(t.step for t in made.taps),
        groups=made.groups,
        blocks=dense.attrs.get("groups", 1),
    )
    edit.remove(conv)
    assert conv.path is not None
    edit.drop_module(conv.path)
    edit.reshape_module(dense, {**dense.attrs, "bias": bias})
