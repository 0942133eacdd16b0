"""Walking over syntax trees."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from archlang.syntax import tree

__all__ = ["children", "walk"]

_PARTS: dict[type, tuple[str, ...]] = {}  # of a kind of node, the attributes that can hold others
_PLAIN = {"None", "Span", "bool", "float", "int", "str", "tuple"}  # words of types that hold none


def children(node: Any) -> Sequence[Any]:
    """What lies directly below a node or a tuple: nodes, and tuples that hold such."""
    if node.__class__ is tuple:
        return node
    parts = _PARTS.get(node.__class__)
    if parts is None:
        kinds = [base.__annotations__ for base in type(node).__mro__ if issubclass(base, tree.Node)]
        types = {name: re.findall(r"\w+", kind) for kind_of in kinds for name, kind in kind_of.items()}
        parts = _PARTS[node.__class__] = tuple(name for name, words in types.items() if not _PLAIN.issuperset(words))
    return [value for name in parts if isinstance(value := getattr(node, name), (tuple, tree.Node))] if parts else ()


def walk(node: Any) -> Iterator[tree.Node]:
    """Every node of a piece of syntax, from the outside inwards."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, tree.Node):
            yield item
        stack.extend(reversed(children(item)))
