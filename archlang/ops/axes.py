"""Axes: the indices of dimensions, as terms over index variables.

An *axis* is one dimension of a wire or a weight. Its indices are those of

* a `Var`: n indices that may be reordered together, wherever the variable occurs;
* a `Cat`: those of its parts, one after the other (a concatenation);
* a `Prod`: pairs, the last factor running fastest (heads times width, groups times channels, a flattened image).

A *fixed* variable keeps its indices in their places. A *held* one may be reordered, but not made smaller without a
change of the function: something depends on how many indices there are (a mean over them), or takes them all into
account (a softmax). A *measured* one has norms over it: with fewer indices they take their statistics over those that
are left.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from typing import Union

from archlang.ir.graph import Attr
from archlang.records import dataclass
from archlang.shapes.dim import Size

__all__ = [
    "Axes",
    "Axis",
    "Cat",
    "Prod",
    "Sizes",
    "Var",
    "arranged",
    "count",
    "equally_long",
    "factors",
    "filled",
    "joined",
    "leaves",
    "length",
    "parts",
    "product",
]


@dataclass(eq=False, slots=True)
class Var:
    """Indices that go together. `fixed`, `held` and `measured` say why they keep their places, or their number."""

    size: Size
    fixed: str | None = None
    held: str | None = None
    measured: str | None = None
    bound: Axis | None = None  # what it was found to be


@dataclass(eq=False, slots=True)
class Cat:
    """Axes end to end."""

    parts: tuple[Axis, ...]
    size: Size


@dataclass(eq=False, slots=True)
class Prod:
    """All combinations of the factors' indices, the last factor's running fastest."""

    factors: tuple[Axis, ...]
    size: Size


Axis = Union[Var, Cat, Prod]
Axes = tuple[Axis, ...]
Sizes = Union[Axis, int, None, str, tuple["Sizes", ...]]  # an argument that holds sizes: axes stand for their lengths


# -- reading terms -----------------------------------------------------------------------------------------------------
def _known(axis: Axis) -> Axis:
    """The term with what its variable is bound to put in."""
    found = axis
    while isinstance(found, Var) and found.bound is not None:
        found = found.bound
    while isinstance(axis, Var) and axis.bound is not None and axis.bound is not found:  # the way is walked once
        axis.bound, axis = found, axis.bound
    return found


def parts(axis: Axis) -> list[Axis]:
    """The axis as pieces end to end, none of which is a `Cat`."""
    axis = _known(axis)
    if isinstance(axis, Cat):
        return [piece for part in axis.parts for piece in parts(part)]
    if isinstance(axis, Prod):
        outer, *inner = factors(axis)
        pieces = parts(outer) if isinstance(outer, Cat) else []
        if pieces:
            return [piece for part in pieces for piece in parts(product((part, *inner)))]
        return [product((outer, *inner))]
    return [axis]


def factors(axis: Axis) -> list[Axis]:
    """The axis as a product, outermost first, of terms that are no products; sizes of 1 are left out."""
    axis = _known(axis)
    if isinstance(axis, Prod):
        return [factor for part in axis.factors for factor in factors(part)]
    if isinstance(axis, Cat) and len(pieces := parts(axis)) == 1:
        return factors(pieces[0])
    return [] if axis.size == 1 else [axis]


def leaves(axis: Axis) -> Iterator[Var]:
    """The unbound variables of a term, each as often as it occurs."""
    axis = _known(axis)
    if isinstance(axis, Var):
        yield axis
    else:
        for part in axis.parts if isinstance(axis, Cat) else axis.factors:
            yield from leaves(part)


def length(axis: Axis, of: Callable[[Var], Size]) -> Size:
    """How many indices the axis has where each variable has as many as `of` says."""
    axis = _known(axis)
    if isinstance(axis, Var):
        return of(axis)
    if isinstance(axis, Cat):
        return sum((length(part, of) for part in axis.parts), start=0)
    return prod((length(factor, of) for factor in axis.factors), start=1)


def count(axis: Axis) -> int:
    """The size of an axis whose size is a number, as those of weights are."""
    assert isinstance(axis.size, int)
    return axis.size


def filled(sizes: Sizes, of: Callable[[Var], Size]) -> Attr:
    """The argument with numbers for its axes, where each variable has as many indices as `of` says."""
    if isinstance(sizes, tuple):
        return tuple(filled(item, of) for item in sizes)
    return length(sizes, of) if isinstance(sizes, (Var, Cat, Prod)) else sizes


def arranged(axis: Axis, picked: Callable[[Var], Sequence[int] | None]) -> list[int]:
    """The old indices of an axis in their new order, for what is picked of each variable (None: all, as they are)."""
    rows: list[int] = []
    start = 0
    for piece in parts(axis):
        whole = [0]
        for factor in factors(piece):
            size = count(factor)
            chosen = picked(factor) if isinstance(factor, Var) else arranged(factor, picked)
            here = range(size) if chosen is None else chosen
            whole = [place * size + index for place in whole for index in here]
        rows += [start + place for place in whole]
        start += count(piece)
    return rows


def equally_long(axes: Iterable[Axis]) -> bool:
    """Whether they have one length, however many indices are left of each variable."""
    return len({frozenset(_polynomial(axis).items()) for axis in axes}) < 2


def _polynomial(axis: Axis) -> Counter[tuple[int, ...]]:
    """The length as a sum of products of variables (by id; fixed ones as numbers)."""
    axis = _known(axis)
    if isinstance(axis, Var):
        number = isinstance(axis.size, int) and (axis.fixed is not None or axis.size == 1)
        return Counter({(): axis.size}) if number else Counter({(id(axis),): 1})
    if isinstance(axis, Cat):
        return sum((_polynomial(part) for part in axis.parts), start=Counter())
    total: Counter[tuple[int, ...]] = Counter({(): 1})
    for factor in axis.factors:
        product: Counter[tuple[int, ...]] = Counter()
        for (a, m), (b, n) in itertools.product(total.items(), _polynomial(factor).items()):
            product[tuple(sorted((*a, *b)))] += m * n
        total = product
    return total


def product(items: Iterable[Axis]) -> Axis:
    """Combinations of the axes' indices, the last one's running fastest."""
    kept = tuple(item for item in items if item.size != 1)
    return kept[0] if len(kept) == 1 else Prod(kept, prod((item.size for item in kept), start=1)) if kept else Var(1)


def joined(items: Iterable[Axis]) -> Axis:
    """The axes end to end."""
    kept = tuple(item for item in items if item.size != 0)
    return kept[0] if len(kept) == 1 else Cat(kept, sum((item.size for item in kept), start=0)) if kept else Var(0)
