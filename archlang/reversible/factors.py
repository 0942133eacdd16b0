"""Factors of streams: whether a value can be 0, by intervals over the nodes that make it."""

from __future__ import annotations

from collections.abc import Mapping

from archlang.ir.graph import Node, Value, WeightDecl

__all__ = ["may_vanish"]


def may_vanish(value: Value, makers: Mapping[int, Node], weights: Mapping[str, WeightDecl]) -> str | None:
    """Why the value may be 0 somewhere; None where it cannot."""
    node = makers.get(id(value))
    if node is None:
        return "it is an input, of which nothing is known"
    if node.op == "weight":
        decl = weights.get(node.path or "")
        nonzero = decl is not None and decl.constraint == "nonzero"
        return None if nonzero else f"`{node.path}` is a weight, and not declared `nonzero`"
    if node.op == "exp":
        return None
    return f"nothing is known of `{node.op}`"
