"""Batch normalisation in evaluation is a scale and a shift a channel: the layer before it can do that itself."""

from __future__ import annotations

from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor

_LAYERS = ("conv", "linear", "conv_transpose")


@rewrites("fold-batchnorm", equivalence="rounding", level=2, purposes=("inference",))
def fold_batchnorm(edit: Editor) -> None:
    """conv, conv_transpose or linear, then batchnorm: one layer with a bias."""
    for layer, norm in edit.chains(_LAYERS, ("batchnorm",)):
        path, at = layer.path, norm.path
        if edit.module(layer) is None or edit.module(norm) is None or path is None or at is None:
            continue
        if not norm.attrs["track_running_stats"] or (layer.op == "linear" and layer.outputs[0].type.rank != 2):
            continue  # the statistics are the input's own, or channels are not what the layer makes
        affine = (f"{at}.weight", f"{at}.bias") if norm.attrs["affine"] else (None, None)
        bias = f"{path}.bias" if layer.attrs["bias"] else None
        reads = (f"{path}.weight", bias, *affine, f"{at}.running_mean", f"{at}.running_var")
        groups = {"groups": layer.attrs["groups"]} if layer.op == "conv_transpose" else {}
        edit.change("fold_batchnorm", reads, (f"{path}.weight", f"{path}.bias"), [at], eps=norm.attrs["eps"], **groups)
        edit.did(norm, f"`{layer.op}` scales and shifts its channels itself")
        edit.reshape_module(layer, {**layer.attrs, "bias": True})
        edit.merge(norm, layer.outputs[0])
        edit.drop_module(at)
