"""Blocks of one op, in place of their calls: what stands around such an op can then be merged with it."""

from __future__ import annotations

from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain


@rewrites("inline", equivalence="exact", level=2)
def inline(edit: Editor) -> None:
    """Writes blocks that have become a single op in place of their calls."""
    for node in edit.nodes("call"):
        callee, path = node.callee, node.path
        if callee is None or path is None or not plain(node) or node.modules or edit.module(node) is None:
            continue
        if callee.proof is not None or callee.borrowed or callee.aliases or callee.weights or len(callee.nodes) != 1:
            continue
        (inner,) = callee.nodes
        if any(o.kind == "tensors" for o in callee.outputs) or inner.callee is not None or not plain(inner):
            continue
        edit.did(node, f"`{callee.block}` is a single `{inner.op}`")
        edit.inline(node)
        if len(callee.children) == 1 and inner.path is not None and inner.path in callee.children:
            edit.rename(f"{path}.{inner.path}", path)
