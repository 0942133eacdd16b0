"""Evaluates an expression by its kind. How is in `expressions.py`, which needs calls and operators, which need this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archlang.elaborate.session import Activation
from archlang.syntax import tree

__all__ = ["EVALUATE", "evaluate"]

EVALUATE: dict[type, Callable[[Activation, Any], Any]] = {}


def evaluate(cx: Activation, expr: tree.Expr) -> Any:
    """The value of an expression."""
    session = cx.session
    session.steps += 1
    if session.steps > session.limits.steps:
        session.tick(expr.span, 0)  # refuses
    return EVALUATE[expr.__class__](cx, expr)
