"""Constructor arguments: which literals of a class differ between its members, and what they are called.

A vector of values, one per member, is written as the block's own parameter where that has these values, as a simple
function of an argument, or as a new argument named after the place where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archlang.codegen.exprs import Abst
from archlang.codegen.literals import exact, is_literal
from archlang.codegen.names import Scope, identifier
from archlang.codegen.printer import literal
from archlang.ir.graph import Graph

__all__ = ["Argument", "Arguments", "abstracted"]


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    values: tuple[Any, ...]  # one per member
    by_name: bool = False  # in calls
    default: Any = ...  # what most members have, for arguments passed by name

    @property
    def parameter(self) -> str:
        """`stride: int = 1`."""
        return f"{self.name}: {self.annotation}" + ("" if self.default is ... else f" = {literal(self.default)}")

    @property
    def annotation(self) -> str:
        """Its type, from its values."""
        kinds = sorted({_annotation(v) for v in self.values}, key=lambda k: (k == "None", k))
        return "float" if set(kinds) == {"int", "float"} else " | ".join(kinds)


def _annotation(value: Any) -> str:
    if isinstance(value, tuple):
        inner = {_annotation(v) for v in value}
        return f"tuple[{', '.join(_annotation(v) for v in value)}]" if value and inner else "tuple[()]"
    return "None" if value is None else type(value).__name__


@dataclass(frozen=True, slots=True)
class _Use:
    """How a vector is written: `before name after`."""

    argument: str
    before: str = ""
    after: str = ""


class Arguments:
    """The arguments of one class. Ask `text` for each vector; `all` lists what was needed, in order."""

    def __init__(self, members: Sequence[Graph], leaves: Sequence[Abst], taken: Scope) -> None:
        self._members = members
        self._scope = taken
        self._uses: dict[Hashable, _Use] = {}
        self._arguments: dict[Hashable, Argument] = {}
        self._parameters = list(self._block_parameters())
        hints: dict[Hashable, list[str]] = {}
        for leaf in leaves:
            hints.setdefault(_key(leaf.values), []).append(leaf.hint)
        for leaf in leaves:
            self._settle(leaf, _best(hints[_key(leaf.values)]))
        order = {key: i for i, (_, _, key) in enumerate(self._parameters)}
        last = len(order)
        found = list(self._arguments.items())
        found.sort(key=lambda item: -1 if item[1].name.startswith("in_") else order.get(item[0], last))
        self.all: tuple[Argument, ...] = _ordered([argument for _, argument in found])

    def text(self, leaf: Abst, reach: Callable[[str], str]) -> str:
        """The expression for a vector; `reach` says how an argument's name is written here (`self.width`)."""
        use = self._uses[_key(leaf.values)]
        return f"{use.before}{reach(use.argument)}{use.after}"

    def match(self, values: tuple[Any, ...]) -> str | None:
        """The expression for a vector if the existing arguments can give it (for comments)."""
        use = self._uses.get(_key(values)) or self._derive(values, [(a.name, a.values) for a in self.all], distinct=2)
        return self._sum(values) if use is None else f"{use.before}{use.argument}{use.after}"

    def _sum(self, values: tuple[Any, ...]) -> str | None:
        """`a + k * b` for two arguments, such as the channels after `b` layers; three different values at least."""
        numbers = [a for a in self.all if all(type(v) is int for v in (*a.values, *values)) and len(set(a.values)) > 1]
        for a, b in ((a, b) for a in numbers for b in numbers if a is not b and len(set(values)) > 2):
            k = (values[0] - a.values[0]) // b.values[0] if b.values[0] else 0
            if k > 0 and all(v == x + k * y for v, x, y in zip(values, a.values, b.values, strict=True)):
                return f"{a.name} + {k} * {b.name}" if k > 1 else f"{a.name} + {b.name}"
        return None

    # -- choice ------------------------------------------------------------------------------------------------------
    def _block_parameters(self) -> Iterator[tuple[str, tuple[Any, ...], Hashable]]:
        """The block's plain parameters that differ between the members."""
        for name in self._members[0].params:
            if all(name in m.params for m in self._members):
                values = tuple(m.params[name] for m in self._members)
                if len({exact(v) for v in values}) > 1 and all(is_literal(v) for v in values):
                    yield name, values, _key(values)

    def _settle(self, leaf: Abst, hint: str) -> None:
        key = _key(leaf.values)
        if key in self._uses:
            return
        for name, values, own in self._parameters:
            if own == key:
                self._add(name, values, key)
                return
        use = self._derive(leaf.values, [(name, values) for name, values, _ in self._parameters])
        if use is not None:
            values = next(v for n, v, _ in self._parameters if n == use.argument)
            made = self._add(use.argument, values, _key(values))
            self._uses[key] = _Use(made, use.before, use.after)
            return
        use = self._derive(leaf.values, [(a.name, a.values) for a in self._arguments.values()])
        if use is not None:
            self._uses[key] = use
            return
        self._add(hint, leaf.values, key)

    def _add(self, name: str, values: tuple[Any, ...], key: Hashable) -> str:
        if key not in self._arguments:
            free = self._scope.take(identifier(name, "value"))
            self._arguments[key] = Argument(free, values)
            self._uses[key] = _Use(free)
        return self._arguments[key].name

    @staticmethod
    def _derive(values: tuple[Any, ...], given: list[tuple[str, tuple[Any, ...]]], distinct: int = 3) -> _Use | None:
        """`k * a`, `a // k`, `a + k` for an argument a and a number k; sums of few values would be coincidence."""
        if not all(type(v) is int for v in values):
            return None
        numbers = [(n, g) for n, g in given if all(type(v) is int for v in g) and len(set(g)) > 1]
        for name, other in numbers:
            if all(o > 0 for o in other) and values[0] % other[0] == 0:
                k = values[0] // other[0]
                if k > 1 and all(v == k * o for v, o in zip(values, other, strict=True)):
                    return _Use(name, f"{k} * ")
        for name, other in numbers:
            if all(v > 0 for v in values) and other[0] % values[0] == 0:
                k = other[0] // values[0]
                if k > 1 and all(o == k * v for v, o in zip(values, other, strict=True)):
                    return _Use(name, "", f" // {k}")
        for name, other in numbers:
            k = values[0] - other[0]
            if len(set(values)) >= distinct and all(v == o + k for v, o in zip(values, other, strict=True)):
                return _Use(name, "", f" + {k}" if k > 0 else f" - {-k}")
        return None


def _ordered(arguments: list[Argument]) -> tuple[Argument, ...]:
    """The first two by position, as far as they are numbers; the rest by name, those with a default last."""
    count = 0
    while count < min(2, len(arguments)) and all(_positional(v) for v in arguments[count].values):
        count += 1
    named = [replace(a, by_name=True, default=_default(a.values)) for a in arguments[count:]]
    named.sort(key=lambda a: a.default is not ...)
    return (*arguments[:count], *named)


def _positional(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _default(values: tuple[Any, ...]) -> Any:
    """The value that more than half of at least three members have."""
    counts: dict[Hashable, int] = {}
    for value in values:
        counts[exact(value)] = counts.get(exact(value), 0) + 1
        if len(values) > 2 and 2 * counts[exact(value)] > len(values):
            return value
    return ...


def _best(hints: list[str]) -> str:
    """The most telling of the places where a vector stands."""
    for start in ("in_", "out_", ""):
        for hint in hints:
            if hint and hint.startswith(start):
                return hint
    return "value"


def _key(values: tuple[Any, ...]) -> Hashable:
    return tuple(exact(v) for v in values)


def abstracted(item: Any) -> Iterator[Abst]:
    """The leaves that differ, in the order of the text."""
    if isinstance(item, Abst):
        yield item
    elif isinstance(item, tuple):
        for part in item:
            yield from abstracted(part)
    elif hasattr(item, "__dataclass_fields__"):
        for name, f in item.__dataclass_fields__.items():
            if not f.metadata.get("meta"):
                yield from abstracted(getattr(item, name))
