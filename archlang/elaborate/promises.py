"""`where H % 32 == 0 and H >= 32`: what a block's declaration promises of the sizes of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.ir.graph import Constraint
from archlang.records import replace
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size, size_str
from archlang.syntax import tree

__all__ = ["as_need", "promise"]

_HELP = "comparisons joined by `and` and `or`, such as `H % 32 == 0 and H >= 32`"
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MOST = 64

Case = tuple[Constraint, ...]  # comparisons that hold together


def promise(cx: Activation, block: tree.Block, call: Span, *, inline: bool = False) -> None:
    """Checks the conditions of a block against the sizes of this call; what is open becomes a promise of the graph, or
    where the block has none of its own (`inline`) a need of its caller's."""
    assert cx.builder is not None
    for expr in _conjuncts(block.where):
        cases = [case for case in _cases(cx, expr) if all(c.known is not False for c in case)]
        if not cases:
            related = [(expr.span, "declared here")]
            fail("ARC0326", f"`{block.name}` is declared {_shown(cx, expr)}", call, "not so here", related=related)
        open = [tuple(c for c in case if not c.known) for case in cases]
        if not all(open):  # a case that holds at every size
            continue
        made = open[0] if len(open) == 1 else (_any(cx, expr, open),)
        cx.builder.need([as_need(c, block.name, call) if inline else c for c in made], call)


def _any(cx: Activation, expr: tree.Expr, cases: Sequence[Case]) -> Constraint:
    return Constraint(0, 0, "==", _text(cx, expr), expr.span, rule="promise", cases=tuple(cases))


def as_need(promised: Constraint, block: str, call: Span) -> Constraint:
    """What the caller of a block has to keep of its promise."""
    return replace(promised, span=call, rule="language", reason=f"`{block}` is declared where {promised.reason}")


def _conjuncts(expr: tree.Expr | None) -> Iterator[tree.Expr]:
    """The conditions that `and` joins, each to be spoken of by itself."""
    inner = expr
    while isinstance(inner, tree.Paren):
        inner = inner.value
    if isinstance(inner, tree.Binary) and inner.op == "and":
        yield from _conjuncts(inner.left)
        yield from _conjuncts(inner.right)
    elif expr is not None:
        yield expr


def _cases(cx: Activation, expr: tree.Expr, wanted: bool = True) -> list[Case]:
    """The cases in which a condition holds, or with `wanted` false in which it does not."""
    if isinstance(expr, tree.Paren):
        return _cases(cx, expr.value, wanted)
    if isinstance(expr, tree.Unary) and expr.op == "not":
        return _cases(cx, expr.operand, not wanted)
    if isinstance(expr, tree.Binary) and expr.op in ("and", "or"):
        left, right = _cases(cx, expr.left, wanted), _cases(cx, expr.right, wanted)
        if (expr.op == "or") == wanted:
            return left + right
        if len(left) * len(right) > _MOST:
            fail("ARC0333", f"this condition has more than {_MOST} cases", expr.span, help="say it more simply")
        return [(*a, *b) for a in left for b in right]
    if isinstance(expr, tree.Binary) and expr.op in _NEGATED:
        return _compared(cx, expr, expr.op if wanted else _NEGATED[expr.op])
    if isinstance(expr, tree.Binary) and expr.op_span is not None:
        fail("ARC0333", f"`{expr.op}` is no condition that a declaration can make", expr.op_span, help=_HELP)
    fail("ARC0333", "this is no condition on sizes that a declaration can make", expr.span, help=_HELP)


def _compared(cx: Activation, expr: tree.Binary, op: str) -> list[Case]:
    left, right = _size(cx, expr.left), _size(cx, expr.right)
    text = f"{_text(cx, expr.left)} {op} {_text(cx, expr.right)}"

    def one(left: Size, right: Size, relation: str) -> Case:
        return (Constraint(left, right, relation, text, expr.span, rule="promise"),)

    match op:
        case "==":
            return [one(left, right, "==")]
        case "!=":
            return [one(left, right + 1, ">="), one(right - 1, left, ">=")]
        case ">=" | ">":
            return [one(left, right + (op == ">"), ">=")]
    return [one(right - (op == "<"), left, ">=")]


def _text(cx: Activation, expr: tree.Expr) -> str:
    """A condition or size as written, with numbers for sizes that have one here."""
    if isinstance(expr, tree.Paren):
        text = _text(cx, expr.value)
        return text if text.isdecimal() else f"({text})"
    if isinstance(expr, tree.Unary) and expr.op == "not":
        return f"not {_text(cx, expr.operand)}"
    if isinstance(expr, tree.Binary) and expr.op in ("and", "or", *_NEGATED):
        return f"{_text(cx, expr.left)} {expr.op} {_text(cx, expr.right)}"
    value = _size(cx, expr)
    if isinstance(value, int):
        return str(value)
    if isinstance(expr, tree.Binary):
        return f"{_text(cx, expr.left)} {expr.op} {_text(cx, expr.right)}"
    return size_str(value) if value.as_symbol else f"({size_str(value)})"


def _shown(cx: Activation, expr: tree.Expr) -> str:
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
    elif isinstance(expr, tree.Unary):
        yield from _names(expr.operand)
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
    value: Any = evaluate(cx, expr)
    if isinstance(value, bool) or not isinstance(value, (int, Dim)):
        fail("ARC0323", "a size must be an int", expr.span)
    return value
