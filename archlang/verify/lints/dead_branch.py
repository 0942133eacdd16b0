"""ARC0423: what can never run: arms of conditions that are written out, and what follows a `return`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from archlang.elaborate import LoadedModule
from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic
from archlang.syntax import tree
from archlang.verify.lints.names import walk

__all__ = ["check"]


def check(module: LoadedModule) -> Iterator[Diagnostic]:
    for item in module.syntax.items:
        if isinstance(item, (tree.Block, tree.Function)):
            yield from _after_return(item.body)
        for node in walk(item):
            yield from _decided(node)
            if isinstance(node, tree.If):
                yield from _after_return(node.then)
                yield from _after_return(node.otherwise)
            elif isinstance(node, tree.For):
                yield from _after_return(node.body)


def _decided(node: tree.Node) -> Iterator[Diagnostic]:
    if isinstance(node, (tree.If, tree.Conditional, tree.Guarded)):
        conditions: Sequence[tree.Expr] = (node.condition,)
    elif isinstance(node, tree.Clause):
        conditions = node.conditions
    else:
        return
    for condition in conditions:
        value = _literal(condition)
        if value is not None:
            never = "what follows it" if not value[0] else "the other arm"
            message = f"this condition is always {'true' if value[0] else 'false'}: {never} never runs"
            if isinstance(node, (tree.Guarded, tree.Clause)) or (isinstance(node, tree.If) and not node.otherwise):
                message = f"this condition is always {'true' if value[0] else 'false'}"
            yield warning("ARC0423", message, condition.span, help="write only what runs")


_COMPARE: dict[str, Any] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _literal(expr: tree.Expr) -> tuple[bool] | None:
    """The truth of a condition that literals decide."""
    if isinstance(expr, tree.Paren):
        return _literal(expr.value)
    if isinstance(expr, tree.Bool):
        return (expr.value,)
    if isinstance(expr, tree.Unary) and expr.op == "not":
        inner = _literal(expr.operand)
        return None if inner is None else (not inner[0],)
    if isinstance(expr, tree.Binary) and expr.op in ("and", "or"):
        sides = [_literal(expr.left), _literal(expr.right)]
        deciding = expr.op == "or"
        if (deciding,) in sides:
            return (deciding,)
        return None if None in sides else (not deciding,)
    if not isinstance(expr, tree.Binary) or expr.op not in _COMPARE:
        return None
    if not isinstance(expr.left, tree.Number) or not isinstance(expr.right, tree.Number):
        return None
    return (_COMPARE[expr.op](expr.left.value, expr.right.value),)


def _after_return(body: Sequence[tree.Stmt]) -> Iterator[Diagnostic]:
    for stmt, following in pairwise(body):
        if _returns(stmt):
            related = [(stmt.span, "returns here")]
            yield warning("ARC0423", "this is never reached", following.span, related=related, help="remove it")
            return


def _returns(stmt: tree.Stmt) -> bool:
    if isinstance(stmt, tree.If):
        return all(arm and _returns(arm[-1]) for arm in (stmt.then, stmt.otherwise))
    return isinstance(stmt, tree.Return)
