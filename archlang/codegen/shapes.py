"""Shapes in comments: the graph's own symbols, and a constructor argument where the members differ."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.codegen.arguments import Arguments
from archlang.codegen.body import Body
from archlang.codegen.printer import Printer, measured
from archlang.shapes.dim import Size, symbol, symbols

__all__ = ["Shapes"]


class Shapes:
    """Texts of the types of a class's values."""

    def __init__(self, bodies: Sequence[Body], arguments: Arguments) -> None:
        self._bodies = bodies
        self._arguments = arguments
        self._texts: dict[int, str] = {}

    def of(self, value: int) -> str:
        """`[B, 4 * width, H, W]`; "" where the members' types have different ranks."""
        if value not in self._texts:
            self._texts[value] = self._text(value)
        return self._texts[value]

    def _text(self, value: int) -> str:
        types = [b.types[value] for b in self._bodies]
        if len({(t.rank, t.dtype) for t in types}) != 1:
            return ""
        sizes = ", ".join(self._size(tuple(column)) for column in zip(*(t.shape for t in types), strict=True))
        return f"[{sizes}]" if types[0].dtype == "float" else f"{types[0].dtype}[{sizes}]"

    def _size(self, sizes: tuple[Size, ...]) -> str:
        first = sizes[0]
        if all(s == first for s in sizes[1:]):
            return Printer().text(measured(first))
        if all(isinstance(s, int) for s in sizes):
            return self._arguments.match(sizes) or "_"
        return self._strided(sizes) or "_"

    def _strided(self, sizes: tuple[Size, ...]) -> str | None:
        """A size that an argument divides: `ceil(H / stride)`."""
        names = sorted(set().union(*(symbols(s) for s in sizes)))
        for argument in self._arguments.all:
            values = argument.values
            if not all(type(v) is int and v > 0 for v in values):
                continue
            for name in names:
                s = symbol(name)
                pairs = list(zip(sizes, values, strict=True))
                if all(size == (s - 1) // k + 1 for size, k in pairs):
                    return f"ceil({name} / {argument.name})"
                if all(size == s // k for size, k in pairs):
                    return f"{name} // {argument.name}"
                if all(size == k * s for size, k in pairs):
                    return f"{argument.name} * {name}"
        return None
