"""`where H % 32 == 0 and H >= 32`: what a block's declaration promises of the sizes of its inputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.ir.graph import Constraint
from archlang.records import replace
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size, size_str
from archlang.syntax import tree

__all__ = ["as_need", "promise"]

_HELP = "comparisons joined by `and`, such as `H % 32 == 0 and H >= 32`"


def promise(cx: Activation, block: tree.Block, call: Span, *, inline: bool = False) -> None:
    """Checks the conditions of a block against the sizes of this call; what is open becomes a promise of the graph, or
    where the block has none of its own (`inline`) a need of its caller's."""
    assert cx.builder is not None
    for expr in _comparisons(block.where):
        left, right = _size(cx, expr.left), _size(cx, expr.right)
        match expr.op:
            case "==":
                relation = "=="
            case ">=" | ">":
                relation, right = ">=", right + (expr.op == ">")
            case "<=" | "<":
                relation, left, right = ">=", right, left + (expr.op == "<")
            case _:
                fail("ARC0333", f"`{expr.op}` is no condition that a declaration can make", expr.op_span, help=_HELP)
        difference = left - right
        if not isinstance(difference, int):
            text = f"{_text(cx, expr.left)} {expr.op} {_text(cx, expr.right)}"
            made = Constraint(left, right, relation, text, expr.span, rule="promise")
            cx.builder.need([as_need(made, block.name, call) if inline else made], call)
        elif difference < 0 or (relation == "==" and difference):
            related = [(expr.span, "declared here")]
            fail("ARC0326", f"`{block.name}` is declared {_shown(cx, expr)}", call, "not so here", related=related)


def as_need(promised: Constraint, block: str, call: Span) -> Constraint:
    """What the caller of a block has to keep of its promise."""
    return replace(promised, span=call, rule="language", reason=f"`{block}` is declared where {promised.reason}")


def _comparisons(expr: tree.Expr | None) -> Iterator[tree.Binary]:
    while isinstance(expr, tree.Paren):
        expr = expr.value
    if isinstance(expr, tree.Binary) and expr.op == "and":
        yield from _comparisons(expr.left)
        yield from _comparisons(expr.right)
    elif isinstance(expr, tree.Binary) and expr.op in ("==", "!=", "<", "<=", ">", ">="):
        yield expr
    elif expr is not None:
        fail("ARC0333", "this is no condition on sizes that a declaration can make", expr.span, help=_HELP)


def _text(cx: Activation, expr: tree.Expr) -> str:
    """A size as written, with numbers for what has one here."""
    value = _size(cx, expr)
    if isinstance(value, int):
        return str(value)
    if isinstance(expr, tree.Paren):
        return f"({_text(cx, expr.value)})"
    if isinstance(expr, tree.Binary):
        return f"{_text(cx, expr.left)} {expr.op} {_text(cx, expr.right)}"
    return size_str(value) if value.as_symbol else f"({size_str(value)})"


def _shown(cx: Activation, expr: tree.Binary) -> str:
    """The condition as written, with what the names in it stand for."""
    values = {name: _size(cx, node) for node in _names(expr) if (name := node.id)}
    have = ", ".join(f"{name} is {size_str(value)}" for name, value in values.items())
    return f"where {expr.span.text}" + (f", and {have}" if have else "")


def _names(expr: tree.Expr) -> Iterator[tree.Name]:
    if isinstance(expr, tree.Name):
        yield expr
    elif isinstance(expr, tree.Binary):
        yield from _names(expr.left)
        yield from _names(expr.right)
    elif isinstance(expr, tree.Paren):
        yield from _names(expr.value)


def _size(cx: Activation, expr: tree.Expr) -> Size:
    """A size, with `//` and `%` of open sizes as of numbers: rounded down, and the rest."""
    if isinstance(expr, tree.Paren):
        return _size(cx, expr.value)
    if isinstance(expr, tree.Binary) and expr.op in ("+", "-", "*", "//", "%"):
        left, right = _size(cx, expr.left), _size(cx, expr.right)
        if expr.op not in ("//", "%"):
            return {"+": left + right, "-": left - right, "*": left * right}[expr.op]
        if not isinstance(right, int) or right < 1:
            fail("ARC0333", f"`{size_str(right)}` is no positive number to divide by", expr.right.span)
        return left // right if expr.op == "//" else left - right * (left // right)
    from archlang.elaborate.expressions import evaluate  # which applies blocks, which keep promises

    value: Any = evaluate(cx, expr)
    if isinstance(value, bool) or not isinstance(value, (int, Dim)):
        fail("ARC0323", "a size must be an int", expr.span)
    return value
