"""A name that is unknown here and bound somewhere else in the same block: in an arm not taken, inside a loop, later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archlang.elaborate.session import Activation
from archlang.report.diagnostic import Label, Span
from archlang.syntax import tree

__all__ = ["bound_elsewhere"]


def bound_elsewhere(cx: Activation, name: str, use: Span) -> Label | None:
    """The place in the block at hand that binds the name, and why that does not count here."""
    block = cx.module.blocks.get(cx.block)
    if block is None:
        return None
    for span, why in _bindings(block.body, name, "bound here"):
        if span.start > use.start:
            return Label(span, "it is bound only later")
        if why != "bound here":
            return Label(span, why)
    return None


def _bindings(body: Sequence[tree.Stmt], name: str, why: str) -> Iterator[tuple[Span, str]]:
    for stmt in body:
        if isinstance(stmt, tree.If):
            condition = " ".join(stmt.condition.span.text.split())
            yield from _bindings(stmt.then, name, f"bound here only if `{condition}`")
            yield from _bindings(stmt.otherwise, name, f"bound here only if not `{condition}`")
        elif isinstance(stmt, tree.For):
            yield from ((span, "it ends with this loop") for span in _names(stmt.target, name))
            yield from _bindings(stmt.body, name, "bound inside this loop, and ends with it")
        elif isinstance(stmt, (tree.Let, tree.Assign)):
            yield from ((span, why) for span in _names(stmt.target, name))
        elif isinstance(stmt, (tree.Weight, tree.New, tree.Function)) and stmt.name == name:
            yield stmt.name_span, why


def _names(target: tree.Target | tree.Expr, name: str) -> Iterator[Span]:
    if isinstance(target, tree.Name):
        if target.id == name:
            yield target.span
    elif isinstance(target, tree.Star):
        yield from _names(target.value, name)
    elif isinstance(target, (tree.TupleDisplay, tree.ListDisplay)):
        for item in target.items:
            yield from _names(item, name)
