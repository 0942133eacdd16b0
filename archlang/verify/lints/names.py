"""Where the names of a file are bound and where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.syntax import tree
from archlang.syntax.walk import children, walk

__all__ = ["Bound", "bindings", "bound_by", "loop_variables", "meant", "reads"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A name and where it is bound. what: "parameter", "input", "loop variable", "weight", "name", ..."""

    name: str
    span: Span
    what: str


def meant(name: str) -> bool:
    """Whether a name says that it is not used: `_`, `_width`."""
    return name.startswith("_")


_SCOPED = (tree.For, tree.Comprehension, tree.Function, tree.Lambda)
_BINDING = (tree.Let, tree.Assign, tree.Weight, tree.Function)


def reads(node: Any, *, updates: bool = True) -> set[str]:
    """The names that a piece of syntax reads and does not bind itself: loops, comprehensions and functions have their
    own. updates: whether `n = n + 1` reads `n`; that `xs[0] = e` replaces a part of `xs` never counts."""
    names: set[str] = set()
    stack = [node]
    while stack:
        item = stack.pop()
        kind = item.__class__
        if kind is tree.Name:
            names.add(item.id)
        elif kind in _SCOPED:
            names |= _scoped(item, updates)
        elif kind in (tree.Let, tree.Assign):
            own = {item.target.id} if not updates and isinstance(item.target, tree.Name) else set()
            names |= reads((item.value, *_read_in_target(item.target)), updates=updates) - own
        else:
            stack.extend(children(item))
    return names


def _scoped(node: tree.For | tree.Comprehension | tree.Function | tree.Lambda, updates: bool) -> set[str]:
    if isinstance(node, tree.For):
        return reads(node.iterable, updates=updates) | (reads(node.body, updates=updates) - _targets(node.target))
    if isinstance(node, (tree.Function, tree.Lambda)):
        around = tuple(part for p in node.params for part in (p.default, p.type) if part is not None)
        inner = {p.name for p in node.params}
        inner |= {b.name for n in walk(node.body) if isinstance(n, tree.Let) for b in bound_by(n.target, "")}
        return reads(around, updates=updates) | (reads(node.body, updates=updates) - inner)
    found = reads(node.element, updates=updates)
    for clause in reversed(node.clauses):
        found |= reads(clause.conditions, updates=updates)
        found = reads(clause.iterable, updates=updates) | (found - _targets(clause.target))
    return found


def _targets(target: Any) -> set[str]:
    return {bound.name for bound in bound_by(target, "")}


def _read_in_target(target: Any) -> list[Any]:
    if isinstance(target, tree.Name):
        return []
    if isinstance(target, (tree.TupleDisplay, tree.ListDisplay)):
        return [part for item in target.items for part in _read_in_target(item)]
    if isinstance(target, tree.Index):
        return [*_read_in_target(target.value), *target.items]
    return _read_in_target(target.value) if isinstance(target, tree.Star) else [target]


def bound_by(target: Any, what: str) -> Iterator[Bound]:
    """The names that a target binds for the first time or anew."""
    if isinstance(target, tree.Name):
        yield Bound(target.id, target.span, what)
    elif isinstance(target, (tree.TupleDisplay, tree.ListDisplay)):
        for item in target.items:
            yield from bound_by(item, what)
    elif isinstance(target, tree.Star):
        yield from bound_by(target.value, what)


def bindings(nodes: Iterable[tree.Node]) -> Iterator[Bound]:
    """What statements among these nodes bind, for all that follows."""
    for item in nodes:
        if item.__class__ not in _BINDING:
            continue
        if isinstance(item, (tree.Let, tree.Assign)):
            yield from bound_by(item.target, "name")
        elif isinstance(item, tree.Weight):
            yield Bound(item.name, item.name_span, item.kind)
        elif isinstance(item, tree.Function):
            yield Bound(item.name, item.name_span, "function")


def loop_variables(nodes: Iterable[tree.Node]) -> Iterator[tuple[Bound, set[str]]]:
    """The variables of loops and comprehensions among these nodes, and the names that are read where they are known."""
    for item in nodes:
        if item.__class__ not in _SCOPED:
            continue
        if isinstance(item, tree.For):
            seen = reads(item.body)
            yield from ((bound, seen) for bound in bound_by(item.target, "loop variable"))
        elif isinstance(item, tree.Comprehension):
            for i, clause in enumerate(item.clauses):
                seen = reads(clause.conditions) | reads(
                    tree.Comprehension(item.span, item.element, item.clauses[i + 1 :])
                )
                yield from ((bound, seen) for bound in bound_by(clause.target, "loop variable"))
