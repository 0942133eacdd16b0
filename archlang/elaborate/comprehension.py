"""List comprehensions. Elements that do not depend on the loop variable, or only through comparisons, are evaluated
once for a whole interval of it: ten thousand equal layers cost what one costs."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.bounds import bounded
from archlang.elaborate.builtins import check_length
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation, NeedConcrete, Split
from archlang.elaborate.targets import assign_target
from archlang.elaborate.values import IndexRange, Instance, Phase, Run, describe, expand
from archlang.records import replace
from archlang.report.diagnostic import ArchError
from archlang.syntax import tree

__all__ = ["comprehension", "iterate"]

_WORTHWHILE = 4  # below this many elements, trying intervals costs more than it saves


def comprehension(cx: Activation, expr: tree.Comprehension) -> list[Any]:
    """`[element for target in iterable if condition ...]`."""
    values: list[Any] = []
    _clause(cx.nested(), expr, 0, values)
    bounded(cx, values, expr.span)
    return values


def _clause(cx: Activation, expr: tree.Comprehension, depth: int, values: list[Any]) -> None:
    from archlang.elaborate.expressions import condition

    if depth == len(expr.clauses):
        values.append(evaluate(cx, expr.element))
        check_length(cx, len(values), expr.span)
        return
    clause = expr.clauses[depth]
    items = iterate(cx, evaluate(cx, clause.iterable), clause.iterable)
    last = depth == len(expr.clauses) - 1
    if last and isinstance(items, range) and items.step == 1 and len(items) >= _WORTHWHILE and not clause.conditions:
        abstract = _by_intervals(cx, expr, clause, items)
        if abstract is not None:
            values += abstract
            return
    for item in items:
        inner = cx.nested()
        # without a builder: the variable of a comprehension names no module, what becomes of the list does
        if isinstance(item, int) and isinstance(clause.target, tree.Name) and clause.target.id != "_":  # made fast
            inner.scope.bind(clause.target.id, item, clause.target.span, fixed=True, kind="let")
        else:
            assign_target(replace(inner, builder=None), clause.target, item, fixed=True)
        holds = [condition(inner, c) for c in clause.conditions]
        if any(isinstance(h, Phase) for h in holds):
            fail("ARC0263", "a list cannot depend on `training`", clause.span)
        if all(holds):
            _clause(inner, expr, depth + 1, values)


def iterate(cx: Activation, value: Any, expr: tree.Expr) -> Any:
    """What a `for` runs over."""
    if isinstance(value, range):
        return value
    if isinstance(value, (list, tuple)):
        return expand(value)
    fail("ARC0268", f"cannot loop over {describe(value)}", expr.span, help="loop over a list or a range `0..n`")


def _by_intervals(cx: Activation, expr: tree.Comprehension, clause: tree.Clause, items: range) -> list[Any] | None:
    """The elements with equal modules gathered in runs, or None where each must be evaluated by itself."""
    if not isinstance(clause.target, tree.Name):
        return None
    values: list[Any] = []
    pending = [(items.start, items.stop)]
    session = cx.session
    found = len(session.diagnostics)
    while pending:
        low, high = pending.pop()
        inner = cx.nested()
        single = high - low == 1
        inner.scope.bind(clause.target.id, low if single else IndexRange(low, high), clause.target.span, fixed=True)
        session.abstract += 1
        try:
            value = evaluate(inner, expr.element)
        except Split as split:
            pending += [(split.at, high), (low, split.at)]
            continue
        except (NeedConcrete, ArchError):
            del session.diagnostics[found:]
            return None
        finally:
            session.abstract -= 1
        if isinstance(value, Instance) and value.owner is None:
            values.append(Run(value, high - low) if not single else value)
        elif isinstance(value, (bool, int, float, str)):
            values += [value] * (high - low)
        else:
            return None
    return values
