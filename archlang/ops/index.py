"""Selecting and moving elements by place: indices, flip, roll."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Expr, Fixed, In, Item, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import as_dims
from archlang.ops.strides import sample
from archlang.ops.window import Window
from archlang.shapes.dim import Dim, Size, ceil_div, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes, Axis
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


@register
class Index(Op):
    """Basic indexing. An item of `items` is an int, a slice as (start, stop, step), None for a new dimension, or "...".

    Bounds must lie within the wire: unlike torch, which clips a slice silently.
    """

    name = "index"
    params = (Param("items", "index"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return all(isinstance(item, tuple) for item in attrs["items"]) and ins[0] == outs[0]

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        items = list(args["items"])
        used = sum(1 for item in items if item is not None and item != "...")
        if items.count("...") > 1:
            raise OpError("ARC0360", "an index has at most one `...`", param="items")
        if used > x.rank:
            message = f"{used} indices into {x}, which has {x.rank} dimension{'s' * (x.rank != 1)}"
            raise OpError("ARC0360", message, param="items", inputs=(0,))
        if "..." in items:
            at = items.index("...")
            items[at : at + 1] = [(None, None, None)] * (x.rank - used)
        while items and items[-1] == (None, None, None):
            items.pop()
        return {"items": tuple(items)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        shape: list[Size] = []
        dim = 0
        for item in attrs["items"]:
            if item is None:
                shape.append(1)
                continue
            size = x.shape[dim]
            where = f"dimension {dim} of {x}"
            if isinstance(item, tuple):
                shape.append(_slice_length(item, size, where, cx))
            else:
                low = isinstance(item, int) and item < 0
                _within(cx, size, -item if low else item + 1, f"index {size_str(item)} into {where}")
            dim += 1
        return (TensorType((*shape, *x.shape[dim:]), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, 0
        left: list[Axis] = []
        items: list[Any] = []
        for item in attrs["items"]:
            if item is None:
                left.append(cx.free(1))
                items.append(None)
                continue
            axis, written = x[dim], item
            if item != (None, None, None):
                axis, written = self._picked(cx, axis, item, outs[0].shape[len(left)] if isinstance(item, tuple) else 1)
            if isinstance(item, tuple):
                left.append(axis)
            items.append(written)
            dim += 1
        return cx.says((*left, *x[dim:]), sizes={"items": tuple(items)})

    def _picked(self, cx: Ties, axis: Axis, item: Any, size: Size) -> tuple[Axis, Any]:
        """The axis of a slice, and the item again with axes for its bounds. What else is picked keeps its place."""
        whole = axis.size
        first, last = item[:2] if isinstance(item, tuple) else (item, None)
        plain = isinstance(item, tuple) and item[2] in (None, 1)
        if not plain or not isinstance(whole, int) or not isinstance(size, int) or isinstance(first, Dim):
            cx.fix((axis,), "an index picks of it")
            return cx.fixed(size, "an index picked it"), item
        start = (first or 0) % whole if whole else 0
        before, kept, _ = cx.cut(axis, (start, size, whole - start - size))
        written = (None if first is None else before, None if last is None else cx.cat(before, kept), item[2])
        return kept, written

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        strides: list[Size] = []
        dim = 0
        for item in attrs["items"]:
            if item is None:
                strides.append(x.shape[dim] * x.strides[dim] if dim < x.rank else 1)
                continue
            if isinstance(item, tuple):
                strides.append(x.strides[dim] * (item[2] or 1))
            dim += 1
        return (tape.view(x, outs[0].shape, (*strides, *x.strides[dim:])),)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        whole = (None, None, None)
        return () if all(item == whole for item in (*attrs["items"][:1], *attrs["items"][2:])) else None

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        items = tuple(_item(item) for item in attrs["items"])
        return Item(In(0), items) if items else In(0)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,), dim = ins, 0
        for item in attrs["items"]:
            if isinstance(item, int):
                x = x.select(dim, item)
                continue
            if item is None:
                x = x.unsqueeze(dim)
            else:
                start, stop, step = slice(*item).indices(x.shape[dim])
                x = x.as_strided(
                    (*x.shape[:dim], max(0, -((start - stop) // step)), *x.shape[dim + 1 :]),
                    (*x.stride()[:dim], x.stride(dim) * step, *x.stride()[dim + 1 :]),
                    x.storage_offset() + start * x.stride(dim),
                )
            dim += 1
        return x


def _within(cx: Context, size: Size, least: Size, what: str, rule: str = "torch") -> None:
    short = size - least
    if isinstance(short, int) and short < 0:
        raise OpError("ARC0361", f"{what} is out of range: the size is {size_str(size)}", param="items", inputs=(0,))
    cx.at_least(size, least, f"{what} is in range", inputs=(0,), rule=rule)


def _slice_length(item: tuple[Any, Any, Any], size: Size, where: str, cx: Context) -> Size:
    start, stop, step = item
    if isinstance(step, int) and step < 1:
        raise OpError(
            "ARC0362", f"a slice's step is at least 1, not {step}", param="items", help="`flip` turns it round"
        )
    ends: list[Size] = []
    for bound, absent in ((start, 0), (stop, size)):
        if bound is None:
            ends.append(absent)
            continue
        low = isinstance(bound, int) and bound < 0
        what = f"slice bound {size_str(bound)} of {where}"
        _within(cx, size, -bound if low else bound, what, "language")  # torch would take what there is
        ends.append(size + bound if low else bound)
    length = ends[1] - ends[0]
    if isinstance(length, int) and length < 0:
        message = f"the slice of {where} ends at {size_str(ends[1])}, before it starts at {size_str(ends[0])}"
        raise OpError("ARC0361", message, param="items", inputs=(0,))
    reason = f"the slice of {where} ends after its start"
    cx.at_least(ends[1], ends[0], reason, inputs=(0,), rule="language")
    return length if step is None else ceil_div(length, step)


def _item(item: Any) -> Expr | tuple[Expr | None, Expr | None, Expr | None]:
    if item is None:
        return Fixed("None")
    if isinstance(item, tuple):
        if item == (None, None, None):
            return Fixed(":")
        start, stop, step = (None if bound is None else Lit(bound) for bound in item)
        return start, stop, step
    return Lit(item)


@register
class Flip(Op):
    """Reverses the order along `dims`."""

    name = "flip"
    memory = "copy"
    params = (Param("dims", "ints"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return all(ins[0].shape[d] == 1 for d in attrs["dims"])

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dims": as_dims(self.name, args["dims"], ins[0], param="dims")}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (ins[0],)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=(self.name, attrs), volume=True)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix((ins[0][d] for d in attrs["dims"]), "`flip` goes by its order")
        return cx.says(ins[0])

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "flip", tuple(Lit(d) for d in attrs["dims"]))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        for dim in attrs["dims"]:
            x = x.index_select(dim, torch.arange(x.shape[dim] - 1, -1, -1, device=x.device))
        return x


@register
class Roll(Op):
    """Shifts cyclically by `shifts` along `dims`."""

    name = "roll"
    params = (Param("shifts", "ints"), Param("dims", "ints"))

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return not any(attrs["shifts"])

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        shifts = args["shifts"] if isinstance(args["shifts"], tuple) else (args["shifts"],)
        dims = as_dims(self.name, args["dims"], ins[0], param="dims")
        if len(shifts) != len(dims):
            message = f"`roll` has {len(shifts)} shifts for {len(dims)} dimensions"
            raise OpError("ARC0352", message, param="shifts")
        return {"shifts": shifts, "dims": dims}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        return (ins[0],)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        cx.fix((ins[0][d] for d in attrs["dims"]), "`roll` goes by its order")
        return cx.says(ins[0])

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        shifts = tuple(-shift for shift in attrs["shifts"])
        return Bijection(inverse=(self.name, {**attrs, "shifts": shifts}), volume=True)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,) = ins
        for shift, dim in zip(attrs["shifts"], attrs["dims"], strict=True):  # two parts change places, one may be empty
            size = sample(x.shape[dim])
            start = -shift % size
            parts = [tape.view(x, (*x.shape[:dim], n, *x.shape[dim + 1 :]), x.strides) for n in (size - start, start)]
            x = tape.cat(parts, x.shape, x.dtype)
        return (x,)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        shifts, dims = attrs["shifts"], attrs["dims"]
        if len(dims) == 1:
            return Method(In(0), "roll", (Lit(shifts[0]), Lit(dims[0])))
        return Method(In(0), "roll", (Lit(shifts), Lit(dims)))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        for shift, dim in zip(attrs["shifts"], attrs["dims"], strict=True):
            if x.shape[dim]:
                x = x.index_select(dim, (torch.arange(x.shape[dim], device=x.device) - shift) % x.shape[dim])
        return x
