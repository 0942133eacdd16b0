"""Means of what layers give: sums, and the layers take the share."""

from __future__ import annotations

from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layers import layout

_LAYERS = ("conv", "linear", "conv_transpose")


@rewrites("means-of-layers", equivalence="rounding", level=2, purposes=("inference",))
def means_of_layers(edit: Editor) -> None:
    """A mean of layers' results becomes their sum by a number, which the layers can take over."""
    for node in edit.nodes("mean"):
        kind = node.outputs[0].type
        if not plain(node) or len(node.inputs) < 2 or any(value.type != kind for value in node.inputs):
            continue
        makers = [edit.maker(value) if edit.sole(value) else None for value in node.inputs]
        if any(maker is None or layout(edit, maker, _LAYERS) is None for maker in makers):
            continue
        edit.did(node, f"the mean of {len(makers)} layers is their sum")
        total = edit.add("add", node.inputs, {"other": None, "reverse": False}, at=node)
        share = edit.add("div", total.outputs, {"other": len(makers), "reverse": False}, at=node)
        edit.merge(node, share.outputs[0])
