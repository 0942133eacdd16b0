"""`training` as a run-time phase: both arms are elaborated, and what they bind differently is chosen at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.values import POISON, Phase, Wire, describe
from archlang.report.diagnostic import Span
from archlang.syntax import tree

if TYPE_CHECKING:
    from archlang.elaborate.statements import Returned

__all__ = ["either", "in_phase", "run_both"]


class in_phase:
    """Nodes made inside run in one phase only."""

    def __init__(self, cx: Activation, training: bool, span: Span) -> None:
        self.builder = cx.graph_builder(span)
        if self.builder.phase is not None:
            fail("ARC0271", "this is inside an arm of `training` already", span, help="one level decides the phase")
        self.phase = "train" if training else "eval"

    def __enter__(self) -> None:
        self.builder.phase = self.phase

    def __exit__(self, *_: object) -> None:
        self.builder.phase = None


def either(cx: Activation, phase: Phase, expr: tree.Conditional) -> Any:
    """`if training then a else b` on wires."""
    first, second = (expr.then, expr.otherwise) if phase.training else (expr.otherwise, expr.then)
    with in_phase(cx, True, expr.span):
        train = evaluate(cx, first)
    with in_phase(cx, False, expr.span):
        plain = evaluate(cx, second)
    return merged(cx, train, plain, expr.span, "the value")


def merged(cx: Activation, train: Any, plain: Any, span: Span, what: str) -> Any:
    """One value from those of the two phases."""
    if train is POISON or plain is POISON:
        return POISON
    if train is plain or (not isinstance(train, Wire) and not isinstance(plain, Wire) and train == plain):
        return train
    if isinstance(train, list) and isinstance(plain, list) and len(train) == len(plain):
        return [merged(cx, a, b, span, what) for a, b in zip(train, plain, strict=True)]
    if not (isinstance(train, Wire) and isinstance(plain, Wire)):
        fail(
            "ARC0272",
            f"{what} must be a wire in training and in evaluation",
            span,
            f"{describe(train)} in training, {describe(plain)} in evaluation",
        )
    if train.type != plain.type:
        fail(
            "ARC0273",
            f"{what} has type {train.type} in training and {plain.type} in evaluation",
            span,
            related=[(train.span, "in training"), (plain.span, "in evaluation")],
        )
    builder = cx.graph_builder(span)
    if builder.phase is not None:
        return train if builder.phase == "train" else plain
    (wire,) = builder.node("phase", (), (train.type,), span, {})
    node = builder.graph.nodes[-1]
    node.inputs = (train.value, plain.value)
    return wire


def run_both(cx: Activation, phase: Phase, stmt: tree.If) -> Returned | None:
    """`if training { ... } else { ... }`: names that an arm rebinds get the value of the phase at run time."""
    from archlang.elaborate.statements import execute

    first, second = (stmt.then, stmt.otherwise) if phase.training else (stmt.otherwise, stmt.then)
    before = _snapshot(cx.scope)
    bound: list[dict[tuple[int, str], Any]] = []
    for training, body in ((True, first), (False, second)):
        inner = cx.nested()
        with in_phase(cx, training, stmt.span):
            returned = execute(inner, body)
        if returned is not None:
            return returned
        now = _snapshot(cx.scope)
        changed = {key: value for key, value in now.items() if before.get(key) is not value}
        changed.update({(id(cx.scope), name): b.value for name, b in inner.scope.names.items()})
        bound.append(changed)
        _restore(cx.scope, before)
    train, plain = bound
    scopes = {id(s): s for s in _chain(cx.scope)}
    for key in {**train, **plain}:
        scope, name = scopes[key[0]], key[1]
        old = before.get(key)
        if key in train and key in plain:
            value = merged(cx, train[key], plain[key], stmt.span, f"`{name}`")
        elif old is not None:
            value = merged(cx, train.get(key, old), plain.get(key, old), stmt.span, f"`{name}`")
        else:
            value = train.get(key, plain.get(key))  # exists in one phase only: its wires know
        scope.bind(name, value, stmt.span)
    return None


def _chain(scope: Scope) -> list[Scope]:
    found = [scope]
    while not found[-1].frame and found[-1].parent is not None:
        found.append(found[-1].parent)
    return found


def _snapshot(scope: Scope) -> dict[tuple[int, str], Any]:
    return {(id(s), name): b.value for s in _chain(scope) for name, b in s.names.items()}


def _restore(scope: Scope, before: dict[tuple[int, str], Any]) -> None:
    for s in _chain(scope):
        for name in list(s.names):
            if (id(s), name) in before:
                s.names[name].value = before[(id(s), name)]
            else:
                del s.names[name]
