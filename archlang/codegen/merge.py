"""Comparing and joining the bodies of several graphs, field by field: anti-unification of their code.

`structure` is a body with its literals erased: graphs with equal structures share a class. `Merge` joins such bodies
into one in which a literal that differs is an `Abst` leaf with one value per member.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from archlang.codegen.exprs import INDEX, Abst, Apply, Call, Ctor, Leaf, Linear, Py, Rep, Roll
from archlang.codegen.literals import exact
from archlang.codegen.progress import fold, linear
from archlang.ir.graph import Graph

__all__ = ["Merge", "exact", "structure"]


@cache
def _fields(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls) if not f.metadata.get("meta"))


def _kind(value: Any) -> str:
    """Literals of one kind may become one argument; None and strings are part of the structure's kind."""
    if value is None or isinstance(value, (bool, str)):
        return type(value).__name__
    return "number"


def structure(item: Any, class_of: Callable[[Graph], Hashable]) -> Hashable:
    """What two graphs must have in common to share a class."""
    if isinstance(item, Leaf):
        return ("leaf", _kind(item.value))
    if isinstance(item, Ctor):
        return ("ctor", class_of(item.graph))
    if isinstance(item, Apply):
        return ("apply", class_of(item.graph), *(structure(a, class_of) for a in item.args))
    if isinstance(item, Roll):
        return ("roll", structure(item.members[0], class_of), _kind(item.count.value))
    if isinstance(item, tuple):
        return tuple(structure(i, class_of) for i in item)
    if is_dataclass(item):
        names = _fields(item.__class__)
        return (type(item).__name__, *(structure(getattr(item, n), class_of) for n in names))
    return item  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Merge:
    """Joins items of equal structure. `construct` and `apply` resolve the references to other graphs."""

    construct: Callable[[Graph], Py]
    apply: Callable[[Graph, tuple[Py, ...]], Call]

    def join(self, items: Sequence[Any]) -> Any:
        first = items[0]
        if isinstance(first, Leaf):
            return self.leaf(items)
        if isinstance(first, Ctor):
            return self.join([self.construct(i.graph) for i in items])
        if isinstance(first, Apply):
            return self.join([self.apply(i.graph, i.args) for i in items])
        if isinstance(first, Roll):
            return self.roll(items)
        if isinstance(first, Linear):
            return linear(self.leaf([i.first for i in items]), self.leaf([i.step for i in items]))
        if isinstance(first, tuple):
            return tuple(self.join(column) for column in zip(*items, strict=True))
        if is_dataclass(first) and not isinstance(first, type):
            return self.dataclass(items)
        return first

    def leaf(self, items: Sequence[Any]) -> Leaf | Abst:
        first: Leaf = items[0]
        if len({exact(i.value) for i in items}) == 1:
            return first
        return Abst(tuple(i.value for i in items), first.hint)

    def roll(self, items: Sequence[Roll]) -> Rep:
        """Each run folded to one call, then the calls joined."""
        element = self.join([fold([self.join([m]) for m in i.members]) for i in items])
        return Rep(element, self.leaf([i.count for i in items]), indexed=_mentions(element, INDEX))

    def dataclass(self, items: Sequence[Any]) -> Any:
        first = items[0]
        joined = {f.name: getattr(first, f.name) for f in fields(first)}
        for name in _fields(first.__class__):
            joined[name] = self.join([getattr(i, name) for i in items])
        return type(first)(**joined)


def _mentions(item: Any, part: Py) -> bool:
    if item == part:
        return True
    if isinstance(item, tuple):
        return any(_mentions(i, part) for i in item)
    return is_dataclass(item) and any(_mentions(getattr(item, n), part) for n in _fields(item.__class__))
