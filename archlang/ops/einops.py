"""Patterns with named axes: rearrange, reduce and repeat, in the notation of einops (Rogozhnikov, 2022).

"b (h d) t -> b h t d": parentheses split an axis on the left and merge axes on the right, `...` stands for any number
of axes, 1 (or empty parentheses) for an axis of size 1. The emission is plain torch and needs no einops.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Expr, In
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rearrange import Plan, code
from archlang.ops.rules import numel, require_float
from archlang.records import dataclass
from archlang.shapes.dim import Dim, Size, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes, Axis
    from archlang.ops.channels import Tied, Ties

__all__ = ["Pattern", "parse_pattern"]

Group = tuple[str, ...]  # the axes of one dimension; () is a dimension of size 1


@dataclass(frozen=True, slots=True)
class Pattern:
    """Both sides, one group per dimension. A number n is an axis of its own name, "n#k", of that size."""

    text: str
    left: tuple[Group, ...]
    right: tuple[Group, ...]


_TOKEN = re.compile(r"\s*(?:(\.\.\.)|([A-Za-z_]\w*)|(\d+)|([()])|(\S))")


def parse_pattern(op: str, text: str) -> Pattern:
    """Reads "left -> right". Raises OpError for what is not a pattern, and for an axis that appears twice on a side."""
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise OpError("ARC0246", f'`{op}`: "{text}" is not of the form "left -> right"', param="pattern")
    counter = iter(range(len(text)))
    sides = tuple(_side(op, text, side, counter) for side in (left, right))
    return Pattern(text, *sides)


def _side(op: str, text: str, side: str, counter: Any) -> tuple[Group, ...]:
    groups: list[Group] = []
    open_group: list[str] | None = None
    seen: set[str] = set()
    for dots, name, number, bracket, other in _TOKEN.findall(side):
        if other:
            raise OpError("ARC0246", f'`{op}`: unexpected `{other}` in "{text}"', param="pattern")
        if bracket == "(":
            if open_group is not None:
                raise OpError("ARC0246", f'`{op}`: parentheses inside parentheses in "{text}"', param="pattern")
            open_group = []
            continue
        if bracket == ")":
            if open_group is None:
                raise OpError("ARC0246", f'`{op}`: `)` without `(` in "{text}"', param="pattern")
            groups.append(tuple(open_group))
            open_group = None
            continue
        axis = dots or name
        if number:
            if int(number) < 1:
                raise OpError("ARC0246", f'`{op}`: an axis of size {number} in "{text}"', param="pattern")
            axis = "" if int(number) == 1 else f"{int(number)}#{next(counter)}"
        if axis and axis in seen:
            raise OpError("ARC0246", f'`{op}`: axis `{axis}` appears twice on one side of "{text}"', param="pattern")
        seen.add(axis)
        if open_group is None:
            groups.append((axis,) if axis else ())
        elif axis:
            open_group.append(axis)
    if open_group is not None:
        raise OpError("ARC0246", f'`{op}`: `(` is not closed in "{text}"', param="pattern")
    return tuple(groups)


def _with_dots(op: str, pattern: Pattern, x: TensorType) -> Pattern:
    """`...` spelled out as axes "...0", "...1" for an input of this rank."""
    if any("..." in group and len(group) > 1 for group in pattern.left):
        message = f'`{op}`: `...` inside parentheses on the left of "{pattern.text}"'
        raise OpError("ARC0246", message, param="pattern", help="parentheses with `...` may stand on the right")
    dots = ("...",) in pattern.left
    named = len(pattern.left) - dots
    if x.rank < named or (x.rank > named and not dots):
        least = "at least " if dots else ""
        message = f'`{op}`: the left of "{pattern.text}" has {least}{named} dimensions, and the wire is {x}'
        raise OpError("ARC0353", message, param="pattern", inputs=(0,))
    axes = tuple(f"...{i}" for i in range(x.rank - named))
    left = [g for group in pattern.left for g in ([(a,) for a in axes] if group == ("...",) else [group])]
    right: list[Group] = []
    for group in pattern.right:
        if group == ("...",):
            right.extend((a,) for a in axes)
        else:
            right.append(tuple(a for axis in group for a in (axes if axis == "..." else (axis,))))
    return Pattern(pattern.text, tuple(left), tuple(right))


def _flat(groups: Sequence[Group]) -> list[str]:
    return [axis for group in groups for axis in group]


def _show(axis: str) -> str:
    return axis.split("#")[0]


def _group_text(group: Group) -> str:
    return f"({' '.join(map(_show, group))})" if len(group) != 1 else _show(group[0])


class _Patterned(Op):
    """Base of the three: solving for the sizes, and the steps of the emission."""

    params: ClassVar[tuple[Param, ...]] = (Param("pattern", "str"), Param("axes", "axes", ()))

    def keeps_order(self, attrs: Attrs) -> bool:
        plan = Plan.from_attr(attrs["plan"])
        return not (plan.drop or plan.order or plan.new or plan.direct)

    def order(self, attrs: Attrs, rank: int) -> tuple[int, ...] | None:
        plan = Plan.from_attr(attrs["plan"])
        others = plan.split or plan.drop or plan.early or plan.new or plan.late or plan.direct
        return plan.order if plan.order and not others else None

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        pattern = _with_dots(self.name, self.checked(args), x)
        sizes = self.solve(pattern, x, dict(args["axes"]), cx)
        plan = Plan.of(x.shape, pattern.left, pattern.right, sizes)
        return {**args, "plan": plan.as_attr(), "shape": tuple(numel([sizes[a] for a in g]) for g in pattern.right)}

    def checked(self, args: Attrs) -> Pattern:
        """The pattern, after the checks that need no input."""
        text = args["pattern"]
        pattern = parse_pattern(self.name, text)
        left, right = set(_flat(pattern.left)), set(_flat(pattern.right))
        for name, _ in args["axes"]:
            if name not in left | right:
                known = ", ".join(f"`{_show(a)}`" for a in sorted(left | right) if "#" not in a and a != "...")
                message = f'`{self.name}`: no axis `{name}` in "{text}"'
                raise OpError("ARC0247", message, param=name, help=f"its axes are {known}")
        lost = sorted(left - right) if not self.may_lose else []
        new = sorted(right - left) if not self.may_add else sorted(a for a in right - left if a == "...")
        for axis, here, there in [*((a, "left", "right") for a in lost), *((a, "right", "left") for a in new)]:
            use = {"left": "`reduce` drops axes", "right": "`repeat` adds axes"}[here]
            message = f'`{self.name}`: axis `{_show(axis)}` is on the {here} of "{text}" and not on the {there}'
            raise OpError("ARC0247", message, param="pattern", help=use)
        return pattern

    may_lose: ClassVar[bool] = False
    may_add: ClassVar[bool] = False

    def solve(self, pattern: Pattern, x: TensorType, given: dict[str, Size], cx: Context) -> dict[str, Size]:
        """The size of every axis: given ones, then those of the input's dimensions, split by division."""
        for name, size in given.items():
            if isinstance(size, bool) or not isinstance(size, int | Dim):
                raise OpError("ARC0354", f"`{self.name}`: the size of axis `{name}` is an int", param=name)
            if isinstance(size, int) and size < 1:
                raise OpError("ARC0354", f"`{self.name}`: axis `{name}` cannot have size {size}", param=name)
        sizes: dict[str, Size] = {a: int(_show(a)) for a in _flat((*pattern.left, *pattern.right)) if "#" in a}
        sizes.update(given)
        for dim, (group, extent) in enumerate(zip(pattern.left, x.shape, strict=True)):
            unknown = [axis for axis in group if axis not in sizes]
            known = numel([sizes[axis] for axis in group if axis in sizes])
            story = self._story(pattern, dim, group, x, sizes, given)
            if len(unknown) > 1:
                names = " and ".join(f"`{a}`" for a in unknown)
                message = f"{story}: the sizes of {names} are not determined"
                raise OpError("ARC0248", message, param="pattern", help=f"give one of them, such as `{unknown[0]}=...`")
            clash = OpError("ARC0359", f"{story}: {self._equation(known, unknown, extent)}", inputs=(0,))
            rest = extent - extent // known * known if unknown else extent - known
            if isinstance(rest, int) and rest != 0:
                raise clash
            if unknown:
                sizes[unknown[0]] = cx.divides(known, extent, story, inputs=(0,))
            else:
                cx.equal(extent, known, story, inputs=(0,))
        for axis in _flat(pattern.right):
            if axis not in sizes:
                message = f'`{self.name}`: the size of the new axis `{axis}` of "{pattern.text}" is not given'
                raise OpError("ARC0248", message, param="pattern", help=f"add `{axis}=...`")
        return sizes

    def _story(
        self, pattern: Pattern, dim: int, group: Group, x: TensorType, sizes: dict[str, Size], given: dict[str, Size]
    ) -> str:
        """The equation of one dimension and where each number comes from."""
        facts = [f"`{a}` = {size_str(sizes[a])} (argument `{a}`)" for a in group if a in given]
        text = (
            f'`{self.name}` "{pattern.text}": {_group_text(group)} = {size_str(x.shape[dim])} (dimension {dim} of {x})'
        )
        return " with ".join([text, " and ".join(facts)] if facts else [text])

    def _equation(self, known: Size, unknown: list[str], extent: Size) -> str:
        if unknown:
            return f"{size_str(known)} * {unknown[0]} = {size_str(extent)} has no whole solution"
        return f"{size_str(known)} is not {size_str(extent)}"

    reduction: ClassVar[str] = ""

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (TensorType(tuple(attrs["shape"]), ins[0].dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (axes,) = ins
        x = TensorType(tuple(axis.size for axis in axes))
        pattern = _with_dots(self.name, self.checked(attrs), x)
        sizes = self.solve(pattern, x, dict(attrs["axes"]), Context())
        found: dict[str, Axis] = {}
        for group, axis in zip(pattern.left, axes, strict=True):
            found.update(zip(group, cx.factor(axis, [sizes[name] for name in group]), strict=True))
        right = _flat(pattern.right)
        if attrs.get("reduction") != "sum":
            cx.hold((axis for name, axis in found.items() if name not in right), f"`{self.name}` is taken over it")
        for name in right:
            if name not in found:
                found[name] = cx.free(sizes[name])  # copies, in any order
        cx.hold((axis for name, axis in found.items() if "#" in name), "it is a number of a pattern")
        merged = tuple(cx.product(*(found[name] for name in group)) for group in pattern.right)
        return cx.says(merged, sizes={"axes": tuple((name, found[name]) for name, _ in attrs["axes"])})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.evaluate(self.call(attrs, 1), ins),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return code(Plan.from_attr(attrs["plan"]), In(0), attrs.get("reduction", ""))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        """Solves again for the real sizes, and moves axes one at a time."""
        import torch

        (x,) = ins
        real = TensorType(tuple(x.shape))
        pattern = _with_dots(self.name, self.checked(attrs), real)
        sizes: dict[str, Any] = self.solve(pattern, real, dict(attrs["axes"]), Context())
        axes = _flat(pattern.left)
        x = x.reshape([sizes[a] for a in axes])
        right = _flat(pattern.right)
        lost = [i for i, a in enumerate(axes) if a not in right]
        if lost:
            x = _reduced(x, attrs["reduction"], lost)
            axes = [a for a in axes if a in right]
        for axis in right:
            if axis not in axes:
                x = torch.stack([x] * sizes[axis], dim=-1)
                axes.append(axis)
        for place, axis in enumerate(right):
            x = x.movedim(axes.index(axis), place)
            axes.insert(place, axes.pop(axes.index(axis)))
        return x.reshape([prod(sizes[a] for a in group) for group in pattern.right])


def _reduced(x: Any, reduction: str, dims: list[int]) -> Any:
    import torch

    if reduction == "mean":
        return torch.mean(x, dims)
    if reduction == "sum":
        return torch.sum(x, dims)
    one_by_one = {"max": torch.amax, "min": torch.amin, "prod": torch.prod, "any": torch.any, "all": torch.all}
    function: Any = one_by_one[reduction]
    for dim in sorted(dims, reverse=True):
        x = function(x, dim)
    return x


@register
class Rearrange(_Patterned):
    """Splits, reorders and merges axes: "b c h w -> b (h w) c"."""

    name = "rearrange"

    def moves(self, attrs: Attrs) -> bool:
        return True

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        """The pattern from right to left; the sizes of merged axes are given, but for one of each group."""
        (x,) = ins
        pattern = _with_dots(self.name, self.checked(attrs), x)
        sizes = self.solve(pattern, x, dict(attrs["axes"]), Context())
        left, _, right = (side.strip() for side in attrs["pattern"].partition("->"))
        given: dict[str, Size] = {}
        for group in pattern.right:
            named = [axis for axis in group if "#" not in axis]
            if any(axis.startswith("...") for axis in named) and len(group) > 1:
                return None  # merged with others, they cannot be told apart again
            free = next((axis for axis in named if not isinstance(sizes[axis], int)), next(iter(named), None))
            given.update({axis: sizes[axis] for axis in named if axis != free})
        args = {"pattern": f"{right} -> {left}", "axes": tuple(given.items())}
        y = TensorType(tuple(attrs["shape"]), x.dtype)
        return Bijection(inverse=(self.name, self.resolve([y], args, Context())), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        left, _, right = (side.strip() for side in args["pattern"].partition("->"))
        back = self.resolve(outs, {"pattern": f"{right} -> {left}", "axes": args["axes"]}, Context())
        return self.infer(outs, back, Context())


@register
class Repeat(_Patterned):
    """Adds axes, whose sizes are given: "b t d -> b (t r) d", r=2."""

    name, may_add = "repeat", True


@register
class Reduce(_Patterned):
    """Drops axes by a reduction: "b c (h p) (w q) -> b c h w" with "max", p=2, q=2."""

    name, may_lose = "reduce", True
    params = (
        Param("pattern", "str"),
        Param("reduction", "str", choices=("mean", "sum", "max", "min", "prod", "any", "all")),
        Param("axes", "axes", ()),
    )

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), reduction = ins, attrs["reduction"]
        plan = Plan.from_attr(attrs["plan"])
        if reduction == "mean" and plan.drop:
            require_float(self.name, ins)
        dtype = x.dtype
        if plan.drop and reduction in ("sum", "prod") and dtype in _INTEGERS:
            dtype = "int64"
        if plan.drop and reduction in ("any", "all"):
            dtype = "uint8" if dtype == "uint8" else "bool"
        return (TensorType(tuple(attrs["shape"]), dtype),)


_INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")
