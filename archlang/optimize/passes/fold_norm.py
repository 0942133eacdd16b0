"""Batch normalisation in evaluation is a scale and a shift a channel: the layer before it can do that itself."""

from __future__ import annotations

from archlang.optimize.affine import affine, axis_made, scale_after, take
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor

_LAYERS = ("conv", "linear", "conv_transpose")


@rewrites("fold-batchnorm", equivalence="rounding", level=2, purposes=("inference",))
def fold_batchnorm(edit: Editor) -> None:
    """conv, conv_transpose or linear, then batchnorm: one layer with a bias."""
    for layer, norm in edit.chains(_LAYERS, ("batchnorm",)):
        found = affine(edit, norm)
        if found is not None and axis_made(edit, layer) == found.axis:
            edit.did(norm, f"`{layer.op}` scales and shifts its channels itself")
            scale_after(edit, layer, take(edit, found))
