"""The algebras of paths: layers with weights, multiply-accumulates, receptive fields."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.analyze.largest import Largest
from archlang.analyze.transfer import Algebra
from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Op
from archlang.ops.window import Window
from archlang.records import dataclass

__all__ = ["Depth", "Field", "Macs", "Reach"]


class Depth(Algebra[int]):
    """The longest path in layers with a weight matrix."""

    empty = 0

    def step(self, op: Op, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> int:
        return op.layers(attrs)

    def after(self, outer: int, inner: int) -> int:
        return outer + inner

    def join(self, a: int, b: int) -> int:
        return max(a, b)


class Macs(Algebra[Largest]):
    """The critical path: the longest in multiply-accumulates."""

    empty = Largest((0,))

    def step(self, op: Op, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Largest:
        return Largest((op.macs(ins, outs, attrs),))

    def after(self, outer: Largest, inner: Largest) -> Largest:
        return outer + inner

    def join(self, a: Largest, b: Largest) -> Largest:
        return a | b


@dataclass(frozen=True, slots=True)
class Reach:
    """What an output position sees: a window for each spatial dimension (() where it is its own position).

    whole: on some way it sees the whole input, and the windows are what it sees on the others. flat: there is no map
    any more, and the windows are those of the last one.
    """

    windows: tuple[Window, ...] = ()
    whole: bool = False
    flat: bool = False


class Field(Algebra[Reach]):
    """Receptive fields."""

    empty = Reach()

    def step(self, op: Op, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> Reach:
        windows = op.window(attrs)
        if windows is not None:
            return Reach(windows)
        keeps = bool(ins) and all(x.rank > 2 and x.shape[2:] == ins[0].shape[2:] for x in (*ins, *outs))
        return Reach((), True, not keeps)

    def after(self, outer: Reach, inner: Reach) -> Reach:
        whole = outer.whole or inner.whole
        if inner.flat:
            return Reach(inner.windows, whole, True)
        if not outer.windows or not inner.windows:
            return Reach(outer.windows or inner.windows, whole, outer.flat)
        if len(outer.windows) != len(inner.windows):  # the map has changed its dimensions
            return Reach(inner.windows, True, True)
        return Reach(tuple(o.after(i) for o, i in zip(outer.windows, inner.windows, strict=True)), whole, outer.flat)

    def join(self, a: Reach, b: Reach) -> Reach:
        whole = a.whole or b.whole
        if a.flat != b.flat:
            return Reach(b.windows if a.flat else a.windows, whole, False)
        if len(a.windows) == len(b.windows):
            windows = tuple(x.union(y) for x, y in zip(a.windows, b.windows, strict=True))
        else:
            here = Window.sliding(1, 1, 0, 1)
            windows = tuple(w.union(here) for w in a.windows or b.windows)
        return Reach(windows, whole, a.flat)
