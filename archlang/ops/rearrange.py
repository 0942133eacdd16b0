"""From a solved einops pattern to the torch code one would write: few steps, each in its short form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Attr
from archlang.ops.code import Call, Expr, Kw, Lit, Method
from archlang.ops.rules import numel
from archlang.records import dataclass, field_names
from archlang.shapes.dim import Size

__all__ = ["Plan", "code"]

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order; an empty tuple means nothing to do.

    split: (dimension, sizes) of each input dimension that has parts; () drops a dimension of size 1. whole: all sizes
    after it. drop: dimensions to reduce. early: [start, end] runs to merge before `order`, the permutation. new:
    (place, size) of axes to add. late: lengths of the groups to merge at the end (0: a dimension of size 1), with the
    final shape. direct: where dimensions of size 1 only become longer, the sizes for `expand`, and nothing else counts.
    """

    split: tuple[tuple[int, tuple[Size, ...]], ...]
    whole: tuple[Size, ...]
    drop: tuple[int, ...]
    early: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    new: tuple[tuple[int, Size], ...]
    late: tuple[int, ...]
    shape: tuple[Size, ...]
    direct: tuple[Size, ...]

    @staticmethod
    def of(extents: Sequence[Size], left: Sequence[Group], right: Sequence[Group], sizes: Mapping[str, Size]) -> Plan:
        """The steps from `left` to `right`, groups of axes as in `einops.Pattern`."""
        split = tuple((i, tuple(sizes[a] for a in group)) for i, group in enumerate(left) if len(group) != 1)
        axes = [axis for group in left for axis in group]
        final = [axis for group in right for axis in group]
        drop = tuple(i for i, axis in enumerate(axes) if axis not in final)
        kept = [axis for axis in axes if axis in final]
        groups: list[Group] = list(right)
        runs = [g for g in groups if len(g) > 1]
        early: list[tuple[int, int]] = []
        if runs and all(_adjacent(g, kept) for g in runs):
            starts = sorted((kept.index(g[0]), g) for g in runs)
            for start, group in reversed(starts):  # from the back, so that the places in front stay
                early.append((start, start + len(group) - 1))
                kept[start : start + len(group)] = [group[0]]
            groups = [g[:1] for g in groups]
        flat = [axis for group in groups for axis in group]
        order = tuple(kept.index(axis) for axis in flat if axis in kept)
        return Plan(
            split,
            tuple(sizes[axis] for axis in axes),
            drop,
            tuple(early),
            order if order != tuple(range(len(order))) else (),
            tuple((place, sizes[axis]) for place, axis in enumerate(flat) if axis not in kept),
            tuple(len(g) for g in groups) if any(len(g) != 1 for g in groups) else (),
            tuple(numel([sizes[a] for a in group]) for group in right),
            _expansion(left, right, sizes),
        )

    def as_attr(self) -> Attr:
        """Plain data, for a node's attributes."""
        return tuple(getattr(self, name) for name in field_names(self))

    @staticmethod
    def from_attr(attr: Any) -> Plan:
        return Plan(*attr)


def _expansion(left: Sequence[Group], right: Sequence[Group], sizes: Mapping[str, Size]) -> tuple[Size, ...]:
    """The arguments of `expand` where it does it all: "1 t d -> b t d"; else ()."""
    if len(left) != len(right) or tuple(left) == tuple(right):
        return ()
    for here, there in zip(left, right, strict=True):
        if here != there and not (here == () and len(there) == 1 and there not in left):
            return ()
    return tuple(-1 if here == there else sizes[there[0]] for here, there in zip(left, right, strict=True))


def _adjacent(group: Group, axes: Sequence[str]) -> bool:
    if not all(axis in axes for axis in group):
        return False
    start = axes.index(group[0])
    return tuple(axes[start : start + len(group)]) == group


def code(plan: Plan, x: Expr, reduction: str) -> Expr:
    """The expression that carries out the plan on `x`."""
    if plan.direct:
        return Method(x, "expand", tuple(Lit(size) for size in plan.direct))
    x = _split(plan, x)
    if plan.drop:
        x = _reduce(plan, x, reduction)
    for start, end in plan.early:
        last = plan.early[0] == (start, end) and not plan.new and _ends(plan, start, end)
        x = Method(x, "flatten", (Lit(start),) if last else (Lit(start), Lit(end)))
    x = _permute(plan.order, x)
    if plan.new:
        x = _add(plan, x)
    return _merge(plan, x) if plan.late else x


def _ends(plan: Plan, start: int, end: int) -> bool:
    return end == len(plan.whole) - len(plan.drop) - 1


def _sizes(sizes: Sequence[Size]) -> tuple[Lit, ...]:
    """Literals; the longest symbolic one that is not a bare name is left to torch as -1."""
    compound = [s for s in sizes if not isinstance(s, int) and s.as_symbol is None]
    longest = max(compound, key=lambda s: len(str(s)), default=None)
    at = list(sizes).index(longest) if longest is not None else -1
    return tuple(Lit(-1 if i == at else s) for i, s in enumerate(sizes))


def _many(sizes: Sequence[Size]) -> bool:
    """Whether a reshape would have to compute a size: torch finds one by itself, so they are taken one by one."""
    return sum(not isinstance(s, int) and s.as_symbol is None for s in sizes) > 1


def _split(plan: Plan, x: Expr) -> Expr:
    if not plan.split:
        return x
    if all(sizes == () for _, sizes in plan.split):
        dims = tuple(dim for dim, _ in plan.split)
        return Method(x, "squeeze", (Lit(dims[0] if len(dims) == 1 else dims),))
    if len(plan.split) == 1 or (_many(plan.whole) and all(sizes for _, sizes in plan.split)):
        for dim, sizes in reversed(plan.split):  # from the back, so that the places in front stay
            free = [i for i, s in enumerate(sizes) if not isinstance(s, int)]
            shown = tuple(-1 if free == [i] else s for i, s in enumerate(sizes))
            x = Call("torch.unflatten", (x, Lit(dim), Lit(shown)))  # the method has no types
        return x
    return Method(x, "reshape", _sizes(plan.whole) or (Lit(()),))


def _reduce(plan: Plan, x: Expr, reduction: str) -> Expr:
    if reduction == "prod":  # torch's takes one dimension
        for dim in reversed(plan.drop):
            x = Method(x, "prod", (), (Kw("dim", Lit(dim)),))
        return x
    method = {"max": "amax", "min": "amin"}.get(reduction, reduction)
    return Method(x, method, (), (Kw("dim", Lit(plan.drop[0] if len(plan.drop) == 1 else plan.drop)),))


def _permute(order: tuple[int, ...], x: Expr) -> Expr:
    if not order:
        return x
    moved = [i for i, source in enumerate(order) if i != source]
    if len(moved) == 2:
        return Method(x, "transpose", (Lit(moved[0]), Lit(moved[1])))
    return Method(x, "permute", tuple(Lit(d) for d in order))


def _add(plan: Plan, x: Expr) -> Expr:
    for place, _ in plan.new:
        x = Method(x, "unsqueeze", (Lit(place),))
    count = len(plan.whole) - sum(end - start for start, end in plan.early) + len(plan.new)
    new = dict(plan.new)
    return Method(x, "expand", tuple(Lit(new.get(i, -1)) for i in range(count)))


def _merge(plan: Plan, x: Expr) -> Expr:
    """Groups of several axes become one; groups of none a dimension of size 1."""
    if all(length <= 1 for length in plan.late):
        for place, length in enumerate(plan.late):
            if length == 0:
                x = Method(x, "unsqueeze", (Lit(place),))
        return x
    if all(length >= 1 for length in plan.late) and sum(length > 1 for length in plan.late) == 1:
        place = next(i for i, length in enumerate(plan.late) if length > 1)
        end = place + plan.late[place] - 1
        return Method(x, "flatten", (Lit(place),) if place == len(plan.late) - 1 else (Lit(place), Lit(end)))
    if all(length >= 1 for length in plan.late) and _many(plan.shape):
        for place, length in reversed([*enumerate(plan.late)]):
            start = sum(plan.late[:place])
            if length > 1:
                x = Method(x, "flatten", (Lit(start), Lit(start + length - 1)))
        return x
    return Method(x, "reshape", _sizes(plan.shape) or (Lit(()),))
