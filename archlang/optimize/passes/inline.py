"""Blocks of one op, in place of their calls: what stands around such an op can then be merged with it."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain


@rewrites("inline", equivalence="exact", level=2)
def inline(edit: Editor) -> None:
    """Writes blocks that have become a single op in place of their calls."""
    for node in edit.nodes("call"):
        callee, path = node.callee, node.path
        if callee is None or path is None or not plain(node) or node.modules or edit.module(node) is None:
            continue
        working = _working(callee)
        if callee.proof is not None or callee.borrowed or callee.aliases or len(working) != 1:
            continue
        (inner,) = working
        if any(o.kind == "tensors" for o in callee.outputs) or inner.callee is not None or not plain(inner):
            continue
        edit.did(node, f"`{callee.block}` is a single `{inner.op}`")
        edit.inline(node)
        if (
            len(callee.children) == 1
            and not callee.weights
            and inner.path is not None
            and inner.path in callee.children
        ):
            edit.rename(f"{path}.{inner.path}", path)


def _working(graph: Graph) -> list[Node]:
    """The nodes that are not made of declared weights alone."""
    given: set[int] = set()
    found = []
    for node in graph.nodes:
        if node.op == "weight" or (node.inputs and all(id(v) in given for v in node.inputs)):
            given |= {id(v) for v in node.outputs}
        else:
            found.append(node)
    return found
