"""A scale and a shift a channel, which batch normalisation is in evaluation: a layer nearby can do that itself."""

from __future__ import annotations

from archlang.optimize.absorb import Place, absorb, before, behind
from archlang.optimize.affine import affine
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


@rewrites("fold-before", equivalence="rounding", level=2, purposes=("inference",))
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
