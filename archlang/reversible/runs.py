"""The graph that a call runs: the callee, its inverse, or the callee as it adds its log-determinant up."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node
from archlang.reversible.invert import invert
from archlang.reversible.log_det import adds_log_det

__all__ = ["runs"]


def runs(node: Node) -> Graph | None:
    """None where the node calls no graph."""
    if node.callee is None or not (node.inverted or node.log_det):
        return node.callee
    return invert(node.callee) if node.inverted else adds_log_det(node.callee)
