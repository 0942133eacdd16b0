"""ARC0423: what can never run: arms of conditions that are written out, and what follows a `return`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from archlang.elaborate import LoadedModule
from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic
from archlang.syntax import tree
from archlang.syntax.walk import walk

__all__ = ["check"]


_CONDITIONAL = (tree.If, tree.Conditional, tree.Guarded, tree.Clause, tree.For)


def check(module: LoadedModule) -> Iterator[Diagnostic]:
    for item in module.syntax.items:
        if isinstance(item, (tree.Block, tree.Function)):
            yield from _after_return(item.body)
        chained: set[int] = set()  # what follows an `else`: the first `if` speaks for all
        for node in walk(item):
            if node.__class__ not in _CONDITIONAL:
                continue
            yield from _decided(node)
            if isinstance(node, (tree.For, tree.Clause)):
                yield from _empty(node)
            if isinstance(node, tree.If):
                if id(node) not in chained:
                    yield from _repeated(node)
                chained.update(map(id, node.otherwise))
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
        if value in ((True,), (False,)) and isinstance(value[0], bool):
            never = "what follows it" if not value[0] else "the other arm"
            message = f"this condition is always {'true' if value[0] else 'false'}: {never} never runs"
            if isinstance(node, (tree.Guarded, tree.Clause)) or (isinstance(node, tree.If) and not node.otherwise):
                message = f"this condition is always {'true' if value[0] else 'false'}"
            yield warning("ARC0423", message, condition.span, help="write only what runs")


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "in": lambda a, b: a in b,
}  # fmt: skip


def _literal(expr: tree.Expr) -> tuple[Any] | None:
    """The value of an expression that literals decide, and of a name that is compared with itself."""
    if isinstance(expr, tree.Paren):
        return _literal(expr.value)
    if isinstance(expr, (tree.Bool, tree.Number)):
        return (expr.value,)
    if isinstance(expr, tree.NoneLit):
        return (None,)
    if isinstance(expr, tree.String):
        return ("".join(map(str, expr.parts)),) if all(isinstance(part, str) for part in expr.parts) else None
    if isinstance(expr, tree.ListDisplay):
        items = [_literal(item) for item in expr.items]
        return None if None in items else ([item[0] for item in items if item],)
    if isinstance(expr, tree.Unary) and expr.op in ("not", "-"):
        inner = _literal(expr.operand)
        return None if inner is None else _value(lambda: not inner[0] if expr.op == "not" else -inner[0])
    return _of_two(expr) if isinstance(expr, tree.Binary) else None


def _of_two(expr: tree.Binary) -> tuple[Any] | None:
    left, right = _literal(expr.left), _literal(expr.right)
    if expr.op in ("and", "or"):
        deciding = expr.op == "or"
        if (deciding,) in (left, right):
            return (deciding,)
        return None if None in (left, right) else (not deciding,)
    if isinstance(expr.left, tree.Name) and isinstance(expr.right, tree.Name) and expr.left.id == expr.right.id:
        return {"==": (True,), "!=": (False,)}.get(expr.op)
    function = _OPERATORS.get(expr.op)
    if left is None or right is None or function is None:
        return None
    return _value(lambda: function(left[0], right[0]))


def _value(compute: Callable[[], Any]) -> tuple[Any] | None:
    """None for what the elaborator refuses."""
    try:
        return (compute(),)
    except TypeError:
        return None


def _repeated(node: tree.If) -> Iterator[Diagnostic]:
    """`else if` with a condition that an arm above has had."""
    above = {node.condition.span.text: node.condition.span}
    while len(node.otherwise) == 1 and isinstance(node.otherwise[0], tree.If):
        node = node.otherwise[0]
        span = node.condition.span
        if span.text in above:
            related = [(above[span.text], "is decided here")]
            yield warning("ARC0423", "this arm never runs", span, "asked before", related=related, help="remove it")
            return
        above[span.text] = span


def _empty(node: tree.For | tree.Clause) -> Iterator[Diagnostic]:
    """Loops over nothing that is written out."""
    over = node.iterable
    low, high = (_literal(e) for e in (over.lower, over.upper)) if isinstance(over, tree.Range) else (None, None)
    if _literal(over) == ([],) or (low is not None and high is not None and low[0] >= high[0]):
        yield warning(
            "ARC0423", "this loop never runs", over.span, "there is nothing in it", help="write only what runs"
        )


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
