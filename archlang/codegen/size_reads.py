"""The symbolic sizes that a body computes with, each read from a dimension of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import Check, SizeRead, StepItem
from archlang.codegen.errors import fail
from archlang.ir.graph import Graph
from archlang.shapes.dim import Dim, Size, symbols

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = ["size_reads", "solve"]


def size_reads(b: _Builder, steps: tuple[StepItem | Check, ...]) -> tuple[SizeRead, ...]:
    needed: set[str] = set()
    stack: list[object] = list(steps)
    while stack:
        top = stack.pop()
        if isinstance(top, py.Measure):
            needed |= symbols(top.size)
        elif isinstance(top, tuple):
            stack.extend(top)
        elif hasattr(top, "__dataclass_fields__") and not isinstance(top, (py.Ctor, Graph)):
            stack.extend(getattr(top, f) for f in top.__dataclass_fields__ if f not in ("span", "graph"))
    return tuple(read(b, name) for name in order(b, needed))


def order(b: _Builder, needed: set[str]) -> list[str]:
    known = [s for s in b.graph.symbols if s in needed]
    return known + sorted(needed - set(known))


def read(b: _Builder, symbol: str) -> SizeRead:
    found: SizeRead | None = None
    for port in b.graph.inputs:
        for value in port.values:
            for dim, size in enumerate(value.type.shape):
                rule = solve(size, symbol)
                if rule is None:
                    continue
                if rule == (1, 0):
                    return SizeRead(symbol, b.index[id(value)], dim, 1, 0)
                found = found or SizeRead(symbol, b.index[id(value)], dim, *rule)
    if found is None:
        fail("ARC0703", f"the size `{symbol}` cannot be read from the inputs of `{b.graph.block}`",
             b.graph.span, help="take a wire that has it as a dimension as an input")  # fmt: skip
    return found


def solve(size: Size, symbol: str) -> tuple[int, int] | None:
    """(scale, offset) where the size is scale * symbol + offset."""
    if not isinstance(size, Dim) or symbols(size) != {symbol}:
        return None
    scale = offset = 0
    for mono, coefficient in size.terms:
        if not mono:
            offset = coefficient
        elif len(mono) == 1 and mono[0][1] == 1 and str(mono[0][0]) == symbol:
            scale = coefficient
        else:
            return None
    return (scale, offset) if scale > 0 else None
