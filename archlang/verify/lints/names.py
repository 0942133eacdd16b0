"""Where the names of a file are bound and where they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.records import dataclass, field_names
from archlang.report.diagnostic import Span
from archlang.syntax import tree

__all__ = ["Bound", "bindings", "bound_by", "children", "meant", "reads", "walk"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A name and where it is bound. what: "parameter", "input", "loop variable", "weight", "name", ..."""

    name: str
    span: Span
    what: str


def meant(name: str) -> bool:
    """Whether a name says that it is not used: `_`, `_width`."""
    return name.startswith("_")


_PARTS: dict[type, tuple[str, ...]] = {}  # of a kind of node, the attributes that can hold others


def children(node: Any) -> Sequence[Any]:
    """What lies directly below a node or a tuple of nodes."""
    if isinstance(node, tuple):
        return node
    parts = _PARTS.get(node.__class__)
    if parts is None:
        names = () if isinstance(node, Span) else field_names(node)
        spans = ("span", "name_span", "label_span", "op_span")
        parts = _PARTS[node.__class__] = tuple(name for name in names if name not in spans)
    return [value for name in parts if isinstance(value := getattr(node, name), (tuple, tree.Node))]


def walk(node: Any) -> Iterator[tree.Node]:
    """Every node of a piece of syntax, from the outside inwards."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tree.Node):
            yield item
        stack.extend(reversed(children(item)))


def reads(node: Any) -> set[str]:
    """The names that a piece of syntax reads: all that it mentions but for those that it only binds."""
    names: set[str] = set()
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tree.Name):
            names.add(item.id)
            continue
        if isinstance(item, (tree.Let, tree.Assign, tree.For, tree.Clause)):
            stack.extend(_read_in_target(item.target))
            stack.extend(child for child in children(item) if child is not item.target)
        else:
            stack.extend(children(item))
    return names


def _read_in_target(target: Any) -> list[Any]:
    if isinstance(target, tree.Name):
        return []
    if isinstance(target, (tree.TupleDisplay, tree.ListDisplay)):
        return [part for item in target.items for part in _read_in_target(item)]
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


def bindings(node: Any) -> Iterator[Bound]:
    """Everything that statements and comprehensions below a node bind."""
    for item in walk(node):
        if isinstance(item, (tree.Let, tree.Assign)):
            yield from bound_by(item.target, "name")
        elif isinstance(item, (tree.For, tree.Clause)):
            yield from bound_by(item.target, "loop variable")
        elif isinstance(item, tree.Weight):
            yield Bound(item.name, item.name_span, item.kind)
        elif isinstance(item, tree.Function):
            yield Bound(item.name, item.name_span, "function")
