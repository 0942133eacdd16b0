"""How ops tie the indices of dimensions to each other.

An op says in `Op.channels` what axes (`axes.py`) its outputs and weights have for those of its inputs, so that
reordering each variable's indices, in the inputs and in the weights alike, reorders the outputs in the same way and
does nothing else. Where two axes must be reordered alike, they are tied: variables are bound to each other, or taken
apart until they match. What cannot be matched is fixed: its indices keep their places. That is always sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

from archlang.ir.graph import TensorType, WeightDecl
from archlang.ops.axes import (
    Axes,
    Axis,
    Cat,
    Sizes,
    Var,
    equally_long,
    factors,
    joined,
    leaves,
    parts,
    product,
)
from archlang.records import dataclass, field
from archlang.shapes.dim import Size, exact_div

__all__ = ["Tied", "Ties"]


@dataclass(frozen=True, slots=True)
class Tied:
    """What an op says: axes of outputs and of weights, and which of its arguments are the sizes of axes."""

    outs: tuple[Axes, ...]
    weights: Mapping[str, Axes] = field(default_factory=dict)
    sizes: Mapping[str, Sizes] = field(default_factory=dict)


class _Mismatch(Exception):
    """Two terms, or a term and sizes, do not fit each other."""


class Ties:
    """Makes axes and ties them. What `Op.channels` takes."""

    def __init__(self) -> None:
        self._even: list[tuple[tuple[Axis, ...], str]] = []

    # -- making ----------------------------------------------------------------------------------------------------
    def free(self, size: Size) -> Axis:
        """New indices. Those of a symbolic size are fixed."""
        return Var(size, None if isinstance(size, int) else "its size is not a number")

    def fixed(self, size: Size, reason: str) -> Axis:
        """New indices that keep their places."""
        return Var(size, reason)

    def cat(self, *items: Axis) -> Axis:
        """The axes end to end."""
        return joined(items)

    def product(self, *items: Axis) -> Axis:
        """Combinations of the axes' indices, the last one's running fastest."""
        return product(items)

    def says(
        self, *outs: Axes, weights: Mapping[str, Axes] | None = None, sizes: Mapping[str, Sizes] | None = None
    ) -> Tied:
        """What an op says. Weights that are not named keep their places."""
        return Tied(outs, weights or {}, sizes or {})

    # -- what happens to axes --------------------------------------------------------------------------------------
    def fix(self, axes: Iterable[Axis], reason: str) -> None:
        """The indices keep their places. reason: a clause such as "`conv` slides over it"."""
        for axis in axes:
            for var in leaves(axis):
                var.fixed = var.fixed or reason

    def hold(self, axes: Iterable[Axis], reason: str) -> None:
        """The indices may be reordered, but none be left out without a change of the function."""
        for axis in axes:
            for var in leaves(axis):
                var.held = var.held or reason

    def measure(self, axes: Iterable[Axis], reason: str) -> None:
        """The indices may be reordered; where some are left out, statistics are those of the others."""
        for axis in axes:
            for var in leaves(axis):
                var.measured = var.measured or reason

    def tie(self, a: Axis, b: Axis) -> None:
        """The indices of both are reordered alike, and left out alike."""
        left, right = [a], [b]
        while left and right:
            x, y = self._head(left), self._head(right)
            if x.size == y.size:
                self._tie_one(x, y)
            elif isinstance(x.size, int) and isinstance(y.size, int):
                large, other = (left, y) if x.size > y.size else (right, x)
                head, tail = self._halve(x if other is y else y, other.size)
                large.insert(0, tail)
                self.tie(head, other)
            else:
                self.fix((x, y), "its size is not a number")

    def cut(self, axis: Axis, sizes: Sequence[Size]) -> list[Axis]:
        """Consecutive pieces of the given sizes."""
        rest, found = [axis], []
        try:
            for size in sizes:
                found.append(self._taken(rest, size))
        except _Mismatch:
            self.fix((axis,), "it is cut where its parts are not")
            return [self.fixed(size, "a piece of what cannot be cut there") for size in sizes]
        return found

    def factor(self, axis: Axis, sizes: Sequence[Size]) -> list[Axis]:
        """The axis as a product of axes of the given sizes, whose product is its size."""
        try:
            return self._factored([axis], sizes)
        except _Mismatch:
            self.fix((axis,), "it is split where its factors are not")
            return [self.fixed(size, "a part of what cannot be split so") for size in sizes]

    def reshape(self, axes: Sequence[Axis], sizes: Sequence[Size]) -> Axes:
        """The axes of the same elements, in row-major order, under other sizes."""
        try:
            return tuple(self._factored(list(axes), sizes))
        except _Mismatch:
            self.fix(axes, "`reshape` mixes it with others")
            return tuple(self.fixed(size, "`reshape` mixes it with others") for size in sizes)

    def pointwise(self, ins: Sequence[Axes]) -> Axes:
        """Ties the dimensions that broadcasting puts together; the result's axes."""
        outs: list[Axis] = []
        for back in range(1, max(map(len, ins), default=0) + 1):
            here = [axes[-back] for axes in ins if len(axes) >= back]
            wide = [axis for axis in here if axis.size != 1] or here
            for other in wide[1:]:
                self.tie(wide[0], other)
            outs.append(wide[0])
        return tuple(reversed(outs))

    def named(self, pairs: Iterable[tuple[str, Axis]]) -> dict[str, Axis]:
        """Ties the axes of one name, where sizes of 1 go with any other; an axis for each name."""
        found: dict[str, Axis] = {}
        for name, axis in pairs:
            if name not in found or found[name].size == 1:
                found[name] = axis
            elif axis.size != 1:
                self.tie(found[name], axis)
        return found

    def window(
        self, name: str, ins: Sequence[Axis], outs: Sequence[Size], kernel: Sequence[Size] = ()
    ) -> tuple[Axes, Axes]:
        """Positions that an op moves over: they keep their places. New axes for the output's and the kernel's."""
        why = f"`{name}` goes by its order"
        self.fix(ins, why)
        return tuple(self.fixed(size, why) for size in outs), tuple(self.fixed(size, why) for size in kernel)

    def even(self, axes: Sequence[Axis], reason: str) -> None:
        """The axes must stay of one size, though they are not reordered alike."""
        self._even.append((tuple(axes), reason))

    def settle(self) -> None:
        """To be called at the end: axes that must be of one size are held unless their ties see to it."""
        for axes, reason in self._even:
            if not equally_long(axes):
                self.hold(axes, reason)

    def opaque(
        self, name: str, ins: Sequence[Axes], outs: Sequence[TensorType], weights: Sequence[WeightDecl] = ()
    ) -> Tied:
        """An op of which nothing is known: everything keeps its place."""
        why = f"`{name}` ties all of it"
        for axes in ins:
            self.fix(axes, why)
        made = tuple(tuple(self.fixed(size, why) for size in out.shape) for out in outs)
        return Tied(made, {decl.name: tuple(self.fixed(n, why) for n in decl.shape) for decl in weights})

    # -- taking terms apart ----------------------------------------------------------------------------------------
    def _bind(self, var: Var, term: Axis) -> None:
        var.bound = term
        if var.fixed:
            self.fix((term,), var.fixed)
        if var.held:
            self.hold((term,), var.held)
        if var.measured:
            self.measure((term,), var.measured)

    def _head(self, queue: list[Axis]) -> Axis:
        """Takes the first piece that is no `Cat`."""
        first, *more = parts(queue.pop(0))
        queue[:0] = more
        return first

    def _tie_one(self, x: Axis, y: Axis) -> None:
        """Two pieces of one size."""
        if x is y:
            return
        if isinstance(y, Var):
            self._bind(y, x)
        elif isinstance(x, Var):
            self._bind(x, y)
        else:
            self._tie_products(factors(x), factors(y))

    def _tie_products(self, xs: list[Axis], ys: list[Axis]) -> None:
        while xs and ys:
            (x, *more_x), (y, *more_y) = factors(xs.pop(0)), factors(ys.pop(0))
            xs[:0], ys[:0] = more_x, more_y
            small = x if isinstance(x.size, int) and isinstance(y.size, int) and x.size < y.size else y
            try:
                left, right = self._factored([x], self._sides(x, small)), self._factored([y], self._sides(y, small))
            except _Mismatch:
                self.fix((x, y, *xs, *ys), "two layouts of it do not match")
                return
            self.tie(left[0], right[0])
            xs[:0], ys[:0] = left[1:], right[1:]

    def _sides(self, axis: Axis, small: Axis) -> tuple[Size, ...]:
        """The size of `small`, and what is left of the axis."""
        rest = exact_div(axis.size, small.size)
        if rest is None:
            raise _Mismatch
        return (small.size,) if rest == 1 else (small.size, rest)

    def _taken(self, rest: list[Axis], size: Size) -> Axis:
        """The first `size` indices of a queue of axes."""
        got: list[Axis] = []
        need = size
        while need != 0:
            if not rest:
                raise _Mismatch
            piece = self._head(rest)
            if piece.size == need or (isinstance(need, int) and isinstance(piece.size, int) and piece.size < need):
                need = need - piece.size
            elif isinstance(need, int) and isinstance(piece.size, int):
                piece, tail = self._halve(piece, need)
                rest.insert(0, tail)
                need = 0
            else:
                raise _Mismatch
            got.append(piece)
        return joined(got)

    def _halve(self, piece: Axis, at: Size) -> tuple[Axis, Axis]:
        """What stands before and after an index."""
        after = piece.size - at
        if isinstance(piece, Var):
            two = (Var(at), Var(after))
            self._bind(piece, joined(two))
            return two
        outer, *inner = factors(piece)
        place = exact_div(at, prod((f.size for f in inner), start=1))
        if place is None:
            self.fix((piece,), "it is cut where its parts are not")
            return self.fixed(at, "a piece of what cannot be cut there"), self.fixed(after, "a piece of the same")
        before, behind = self.cut(outer, (place, outer.size - place))
        return product((before, *inner)), product((behind, *inner))

    def _factored(self, rest: list[Axis], sizes: Sequence[Size]) -> list[Axis]:
        found: list[Axis] = []
        for size in sizes:
            got: list[Axis] = []
            need = size
            while need != 1:
                first = self._first_factor(rest)
                whole = exact_div(need, first.size)
                if whole is None:
                    first, inner = self._split(first, need)
                    rest.insert(0, inner)
                    whole = 1
                got.append(first)
                need = whole
            found.append(product(got))
        if any(factors(axis) for axis in rest):
            raise _Mismatch
        return found

    def _first_factor(self, rest: list[Axis]) -> Axis:
        while rest:
            found = factors(rest.pop(0))
            if found:
                rest[:0] = found[1:]
                return found[0]
        raise _Mismatch

    def _split(self, axis: Axis, outer: Size) -> tuple[Axis, Axis]:
        """A term that is no product as `outer` times the rest."""
        inner = exact_div(axis.size, outer)
        if inner is None:
            raise _Mismatch
        if isinstance(axis, Var):
            two = (Var(outer), Var(inner))
            self._bind(axis, product(two))
            return two
        assert isinstance(axis, Cat)
        counts = [exact_div(part.size, inner) for part in parts(axis)]
        pairs = []
        for part, count in zip(parts(axis), counts, strict=True):
            if count is None:
                raise _Mismatch
            pairs.append(self._factored([part], (count, inner)))
        for _, other in pairs[1:]:
            self.tie(pairs[0][1], other)
        return joined(outside for outside, _ in pairs), pairs[0][1]
