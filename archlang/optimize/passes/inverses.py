"""An op and then its inverse: both go."""

from __future__ import annotations

from archlang.ir.graph import Attrs, Node
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.slices import CUTS


@rewrites("inverse-pairs", equivalence="exact", level=1)
def inverse_pairs(edit: Editor) -> None:
    """Takes away an op that undoes the one before it: concat and split, two flips, pixel_shuffle and its inverse."""
    for node in edit.nodes():
        before = edit.maker(node.inputs[0]) if node.inputs else None
        if before is None or before.outputs != node.inputs or not plain(node) or not plain(before):
            continue
        if not _undoes(edit, node, before):
            continue
        pairs = list(zip(node.outputs, before.inputs, strict=True))
        if edit.training and not all(edit.sole(v) for v in before.outputs):
            continue
        if not all(edit.same_layout(old, new) and edit.keeps_gradient(old, new, before) for old, new in pairs):
            continue
        if edit.training and not all(edit.readers(v) or edit.is_result(v) for v in node.outputs):
            continue  # what nobody reads has a gradient of 0 now, and would have none
        edit.did(node, f"`{node.op}` undoes `{before.op}`")
        for old, new in pairs:
            edit.replace(old, new)
        edit.remove(node)


def _undoes(edit: Editor, node: Node, before: Node) -> bool:
    """Whether the node moves every element back to where it was, or turns every sign back."""
    op = edit.entry(before)
    if op is None or edit.entry(node) is None or op.weights(before.attrs):
        return False
    if edit.types(node.outputs) != edit.types(before.inputs):
        return False
    found = op.bijection(edit.types(before.inputs), before.attrs)
    if found is None or found.inverse is None or found.grade != "bijective" or not found.volume or found.hypotheses:
        return False
    name, attrs = found.inverse
    if name == "split":  # of the same types, so into the same parts
        return node.op in CUTS and node.attrs["dim"] == attrs["dim"]
    return node.op == name and _essence(node.attrs) == _essence(attrs)


def _essence(attrs: Attrs) -> Attrs:
    """Of a pattern with named axes, what is done; the names and blanks do not matter."""
    return {"plan": attrs["plan"], "shape": attrs["shape"]} if "plan" in attrs else attrs
