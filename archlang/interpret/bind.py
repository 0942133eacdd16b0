"""Sizes from real shapes: solves a root's symbols, checks its constraints, evaluates types and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr, Attrs, Graph, TensorType
from archlang.shapes.dim import Dim, Size, evaluate, size_str, substitute, symbols

__all__ = ["InterpretError", "Plan", "solve"]

Env = Mapping[str, int]


class InterpretError(ValueError):
    """The program cannot be run on these inputs or weights, or an op broke its declared type."""


def solve(types: Sequence[TensorType], shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
    """Values of the symbols for which the types are the shapes. Raises InterpretError.

    Works through dimensions that have one unknown left and are linear in it: `H`, `2*H + 1`, `H*W` once H is known.
    """
    pairs: list[tuple[Size, int]] = []
    for i, (kind, shape) in enumerate(zip(types, shapes, strict=True)):
        if len(kind.shape) != len(shape):
            raise InterpretError(f"input {i} has shape {list(shape)}, declared is {kind}")
        pairs.extend(zip(kind.shape, shape, strict=True))
    env: dict[str, int] = {}
    while pairs:
        left = [pair for pair in pairs if not _settle(*pair, env)]
        if len(left) == len(pairs):
            raise InterpretError(f"the size `{size_str(left[0][0])}` = {left[0][1]} cannot be solved for its symbols")
        pairs = left
    return env


def _settle(size: Size, real: int, env: dict[str, int]) -> bool:
    """Checks a size whose symbols are known, or finds the one that is not; False where neither is possible."""
    size = substitute(size, env)
    if isinstance(size, int):
        if size != real:
            raise InterpretError(f"a size is {real} where {size} is needed")
        return True
    unknown = symbols(size)
    if len(unknown) != 1:
        return False
    (name,) = unknown
    constant = substitute(size, {name: 0})
    slope = substitute(size, {name: 1}) - constant
    if not isinstance(constant, int) or not isinstance(slope, int) or not slope:
        return False
    if (real - constant) % slope:
        raise InterpretError(f"no size `{name}` makes `{size_str(size)}` equal to {real}")
    value = (real - constant) // slope
    if evaluate(size, {name: value}) != real or evaluate(size, {name: 2}) != constant + 2 * slope:
        return False
    env[name] = value
    return True


class Plan:
    """A graph at one choice of its sizes: evaluated types and attributes, made once and used by every instance."""

    def __init__(self, graph: Graph, env: Env) -> None:
        missing = set(graph.symbols) - set(env)
        if missing:
            raise InterpretError(f"`{graph.name}`: nothing gives the size `{min(missing)}`")
        for c in graph.constraints:
            if c.phase is not None:
                continue  # torch itself refuses what one phase does not take
            if not c.holds(env):
                where = f" ({c.span})" if c.span is not None else ""
                sizes = ", ".join(f"{name} = {value}" for name, value in sorted(env.items()))
                raise InterpretError(f"{c.reason}: {c} does not hold at {sizes}{where}")
        self.graph = graph
        self.shapes = {id(v): tuple(evaluate(s, env) for s in v.type.shape) for v in graph.values}
        self.attrs = [evaluated(node.attrs, env) for node in graph.nodes]
        self.sizes = [{name: evaluate(s, env) for name, s in node.sizes.items()} for node in graph.nodes]


def evaluated(attrs: Attrs, env: Env) -> dict[str, Any]:
    """Attributes with their symbolic sizes replaced by numbers."""
    return {name: _attr(value, env) for name, value in attrs.items()}


def _attr(attr: Attr, env: Env) -> Attr:
    if isinstance(attr, Dim):
        return evaluate(attr, env)
    if isinstance(attr, tuple):
        return tuple(_attrs(attr, env))
    return attr


def _attrs(attrs: Iterable[Attr], env: Env) -> Iterable[Attr]:
    return (_attr(a, env) for a in attrs)
