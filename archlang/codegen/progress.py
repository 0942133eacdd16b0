"""Runs of constructor calls whose literals are equal or arithmetic progressions: found, and folded to one call.

Whether a run is one is decided before graphs are grouped, on all literals below its members; what its one call looks
like, once the arguments of the classes that it constructs are known.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import pairwise
from typing import Any

from archlang.codegen.exprs import INDEX, Abst, Apply, Bin, Ctor, Leaf, Linear, Py, Roll
from archlang.codegen.literals import exact
from archlang.ir.graph import Graph

__all__ = ["SHORTEST", "Alike", "fold", "linear", "roll_neighbours"]

SHORTEST = 3  # what occurs twice stays written out
_NESTING = 20  # graphs inside graphs whose literals are compared


@dataclass
class Alike:
    """Compares code of equal structure, with everything that it constructs and applies."""

    class_of: Callable[[Graph], Hashable]
    below: Callable[[Graph], tuple[Any, ...]]  # the bodies that a graph became
    _known: dict[tuple[bool, tuple[int, ...]], bool] = field(default_factory=dict)

    def equal(self, items: Sequence[Any]) -> bool:
        """Whether the items are the same code."""
        return self._fits(tuple(items), False, 0)

    def progress(self, items: Sequence[Any]) -> bool:
        """Whether every literal is equal in all items, or an arithmetic progression of integers."""
        return self._fits(tuple(items), True, 0)

    def _fits(self, items: tuple[Any, ...], steps: bool, nesting: int) -> bool:
        first = items[0]
        if all(i is first for i in items):
            return True
        if any(type(i) is not type(first) for i in items):
            return False
        if isinstance(first, Roll):  # its own index would hide the outer one
            steps = False
        if isinstance(first, Leaf):
            return _steady([i.value for i in items], steps)
        if isinstance(first, Ctor):
            return self._graphs(tuple(i.graph for i in items), steps, nesting)
        if isinstance(first, Apply):
            graphs = tuple(i.graph for i in items)
            return self._graphs(graphs, steps, nesting) and self._fits(tuple(i.args for i in items), steps, nesting)
        if isinstance(first, tuple):
            same = all(len(i) == len(first) for i in items)
            return same and all(self._fits(column, steps, nesting) for column in zip(*items, strict=True))
        if is_dataclass(first):
            names = [f.name for f in fields(first) if not f.metadata.get("meta")]
            return all(self._fits(tuple(getattr(i, n) for i in items), steps, nesting) for n in names)
        return all(i == first for i in items)

    def _graphs(self, graphs: tuple[Graph, ...], steps: bool, nesting: int) -> bool:
        if all(g is graphs[0] for g in graphs):
            return True
        if nesting == _NESTING or len({self.class_of(g) for g in graphs}) > 1:
            return False
        key = (steps, tuple(id(g) for g in graphs))
        if key not in self._known:
            self._known[key] = self._fits(tuple(self.below(g) for g in graphs), steps, nesting + 1)
        return self._known[key]


def _steady(values: list[Any], steps: bool) -> bool:
    if len({exact(v) for v in values}) == 1:
        return True
    step = values[1] - values[0] if steps and all(type(v) is int for v in values) else None
    return step is not None and all(b - a == step for a, b in pairwise(values))


def roll_neighbours(items: tuple[Py, ...], alike: Alike, hint: str) -> tuple[Py, ...]:
    """A container's members with every progression of three or more as one `Roll`."""
    found: list[Py] = []
    at = 0
    while at < len(items):
        end = at + SHORTEST
        while end <= len(items) and alike.progress(items[end - SHORTEST : end]):
            end += 1
        count = end - 1 - at
        if count < SHORTEST:
            found.append(items[at])
            at += 1
        else:
            found.append(Roll(items[at : at + count], Leaf(count, hint)))
            at += count
    return tuple(found)


def fold(items: Sequence[Any]) -> Any:
    """The members of a progression as one: numbers become `first + step * i`."""
    first = items[0]
    if isinstance(first, Leaf):
        if first.value is None or isinstance(first.value, (bool, str)):
            return first
        step = items[1].value - first.value if type(first.value) is int and len(items) > 1 else 0
        return Linear(first, Leaf(step, f"{first.hint}_step" if first.hint else "step"))
    if isinstance(first, tuple):
        return tuple(fold(column) for column in zip(*items, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        joined = {f.name: getattr(first, f.name) for f in fields(first)}
        for f in fields(first):
            if not f.metadata.get("meta"):
                joined[f.name] = fold([getattr(i, f.name) for i in items])
        return type(first)(**joined)
    return first


def linear(first: Leaf | Abst, step: Leaf | Abst) -> Py:
    """`first + step * i`, as short as it gets."""
    if isinstance(step, Abst):
        return Bin("+", first, Bin("*", step, INDEX))
    if not step.value:
        return first
    size = abs(step.value)
    times: Py = INDEX if size == 1 else Bin("*", Leaf(size), INDEX)
    if isinstance(first, Leaf) and not first.value and step.value > 0:
        return times
    return Bin("+" if step.value > 0 else "-", first, times)
