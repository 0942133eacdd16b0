"""Parts of one dimension: the ops that give them, items of `index`, and the ends that these stand for."""

from __future__ import annotations

from typing import Any

from archlang.shapes.dim import Size

__all__ = ["CUTS", "WHOLE", "bounds", "short"]

CUTS = ("split", "chunk", "halves")  # ops that give all of one dimension, in parts
WHOLE = (None, None, None)  # the item that takes all


def short(start: Size, stop: Size, step: int, size: Size) -> tuple[Any, ...]:
    """The item of `index` that takes this of a dimension of a size, written as shortly as can be."""
    return (None if start == 0 else start, None if stop == size else stop, None if step == 1 else step)


def bounds(item: tuple[Any, ...], size: Size) -> tuple[Size, Size, int] | None:
    """A slice's ends, counted from the front, and its step; None where the step is not known."""
    start, stop, step = item
    if step is not None and not isinstance(step, int):
        return None
    ends: list[Size] = []
    for bound, absent in ((start, 0), (stop, size)):
        low = isinstance(bound, int) and bound < 0
        ends.append(absent if bound is None else size + bound if low else bound)
    return ends[0], ends[1], 1 if step is None else step
