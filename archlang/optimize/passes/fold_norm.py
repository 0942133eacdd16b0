"""A scale and a shift a channel, which batch normalisation is in evaluation: a layer nearby can do that itself."""

from __future__ import annotations

from archlang.optimize.absorb import Part, Place, absorb, before, behind, hand_on
from archlang.optimize.affine import affine, axis_made
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor

_PLAIN = ("mul", "div", "add", "sub", "neg")


@rewrites("fold-batchnorm", equivalence="rounding", level=2, purposes=("inference",))
def fold_batchnorm(edit: Editor) -> None:
    """A layer, then batchnorm: one layer with a bias. Through views and means, into all parts of a concat or a sum."""
    _fold(edit, ("batchnorm",))


@rewrites("fold-scale", equivalence="rounding", level=2, purposes=("inference",))
def fold_scale(edit: Editor) -> None:
    """A layer, then a product or sum with a number or a weight a channel (a layer scale): the layer alone."""
    _fold(edit, _PLAIN)


def _fold(edit: Editor, ops: tuple[str, ...]) -> None:
    for node in edit.nodes(*ops):
        found = affine(edit, node)
        sinks = behind(Place(edit), found.value, found.axis) if found is not None else []
        if found is not None and sinks and all(s.node.callee is None for s in sinks):
            names = ", ".join(dict.fromkeys(f"`{s.node.op}`" for s in sinks))
            edit.did(node, f"{names} scales and shifts its channels itself")
            absorb(edit, found, sinks, after=True)


# Late: what a layer before it can do goes there, once nothing stands between them that others take away.
@rewrites("fold-before", equivalence="rounding", level=2, purposes=("inference",), late=True)
def fold_before(edit: Editor) -> None:
    """Batchnorm, or a number or a weight a channel, then layers: these alone. Not a shift where zeros are padded."""
    for node in edit.nodes("batchnorm", *_PLAIN):
        found = affine(edit, node)
        if found is None:
            continue
        sinks = before(Place(edit), node.outputs[0], found.axis, shifts=found.shifts)
        if sinks and all(s.node.callee is None for s in sinks):
            names = ", ".join(dict.fromkeys(f"`{s.node.op}`" for s in sinks))
            edit.did(node, f"{names} scales and shifts what it reads itself")
            absorb(edit, found, sinks, after=False)


@rewrites("biases-onward", equivalence="rounding", level=2, purposes=("inference",))
def biases_onward(edit: Editor) -> None:
    """A layer's bias, then layers: these alone have one. Through sums and concats; not where zeros are padded."""
    for node in edit.nodes("conv", "linear", "conv_transpose"):
        axis = axis_made(edit, node) if node.attrs["bias"] else None
        sinks = before(Place(edit), node.outputs[0], axis, Part(scaled=False), shifts=True) if axis is not None else []
        layers = {id(s.node) for s in sinks if s.node.callee is None}
        if sinks and len(layers) == len(sinks):
            edit.did(node, f"the bias of `{node.op}` goes into what reads it")
            hand_on(edit, node, sinks)
