"""Making wires larger: pad, expand, tile, repeat_interleave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Op, OpError, Param, register
from archlang.ops.code import Call, Expr, In, Kw, Lit, Method
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, check_sizes, dim_of, promote_scalar, require_float, sizes_str
from archlang.shapes.dim import Size, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


@register
class Pad(Op):
    """Pads, or with negative numbers crops, from the last dimension on: (left, right, top, bottom, ...), as F.pad."""

    name = "pad"
    params = (
        Param("pad", "sizes"),
        Param("mode", "str", "constant", ("constant", "reflect", "replicate", "circular")),
        Param("value", "float?", None),
    )

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return all(n == 0 for n in attrs["pad"])

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        pad = args["pad"] if isinstance(args["pad"], tuple) else (args["pad"],)
        if len(pad) % 2 or len(pad) > 2 * ins[0].rank:
            message = f"`pad` takes two numbers for each of the last dimensions of {ins[0]}, not {len(pad)} numbers"
            raise OpError("ARC0363", message, param="pad", inputs=(0,))
        if args["mode"] != "constant" and args["value"] is not None:
            raise OpError("ARC0242", f'`pad`: mode "{args["mode"]}" takes no value', param="value")
        return {**args, "pad": pad}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), pad, mode = ins, attrs["pad"], attrs["mode"]
        count = len(pad) // 2
        if mode != "constant":
            require_float(self.name, ins)
            if not 1 <= count <= 3 or x.rank - count not in (1, 2):
                message = (
                    f'`pad` in mode "{mode}" pads all spatial dimensions of [C, ...] or [B, C, ...], and this is {x}'
                )
                raise OpError("ARC0363", f"{message} with {len(pad)} numbers", param="pad", inputs=(0,))
        elif attrs["value"] is not None and promote_scalar(x.dtype, attrs["value"]) != x.dtype:
            raise OpError("ARC0241", f"`pad` cannot put {attrs['value']} around {x}", inputs=(0,), param="value")
        shape = list(x.shape)
        for i in range(count):
            dim = x.rank - 1 - i
            before, after = pad[2 * i], pad[2 * i + 1]
            self._check(mode, x, dim, before, after, cx)
            shape[dim] = shape[dim] + before + after
            least = 0 if mode == "constant" else 1
            cx.at_least(shape[dim], least, f"`pad` leaves dimension {dim} of {x} a size", inputs=(0,))
        return (TensorType(tuple(shape), x.dtype),)

    def _check(self, mode: str, x: TensorType, dim: int, before: Size, after: Size, cx: Context) -> None:
        for amount in (before, after):
            if mode == "reflect":
                cx.at_least(x.shape[dim], amount + 1, f"`pad` reflects less than dimension {dim} of {x}", inputs=(0,))
            elif mode == "circular":
                cx.at_least(x.shape[dim], amount, f"`pad` repeats at most dimension {dim} of {x}", inputs=(0,))
            if mode != "constant" and isinstance(amount, int) and amount < 0:
                raise OpError("ARC0363", f'`pad` in mode "{mode}" takes no negative {amount}', param="pad")

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        pad = attrs["pad"]
        if attrs["mode"] != "constant" or not all(isinstance(n, int) and n >= 0 for n in pad):
            return None
        back = {"pad": tuple(-n for n in pad), "mode": "constant", "value": None}
        return Bijection("injective" if any(pad) else "bijective", inverse=(self.name, back), volume=not any(pad))

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        pad = args["pad"] if isinstance(args["pad"], tuple) else (args["pad"],)
        return self.infer(outs, {**args, "pad": tuple(-n for n in pad)}, Context())

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), pad = ins, attrs["pad"]
        axes = list(x)
        for i in range(len(pad) // 2):
            dim, (before, after) = len(x) - 1 - i, pad[2 * i : 2 * i + 2]
            size = outs[0].shape[dim]
            if attrs["mode"] == "constant" and isinstance(size, int) and min(before, after) >= 0:
                margins = [cx.fixed(amount, "`pad` adds it") for amount in (before, after)]
                axes[dim] = cx.cat(margins[0], x[dim], margins[1])
            elif before != 0 or after != 0:
                cx.fix((x[dim],), "`pad` goes by its order")
                axes[dim] = cx.fixed(size, "`pad` makes it")
        return cx.says(tuple(axes))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.pad(ins[0], outs[0].shape, attrs["mode"], max(attrs["pad"]) <= 0),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        named = (Kw("mode", Lit(attrs["mode"]), "constant"), Kw("value", Lit(attrs["value"]), None))
        return Call("F.pad", (In(0), Lit(attrs["pad"])), named)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,), pad, mode = ins, attrs["pad"], attrs["mode"]
        for i in range(len(pad) // 2):
            dim = x.dim() - 1 - i
            size = x.shape[dim]
            at = torch.arange(-pad[2 * i], size + pad[2 * i + 1], device=x.device)
            outside = (at < 0) | (at >= size)
            if mode == "reflect":
                source = (size - 1) - ((size - 1) - at.abs()).abs()
            elif mode == "circular":
                source = at % size
            else:
                source = at.clamp(0, max(size - 1, 0))
            if mode == "constant" and size == 0:
                x = x.new_zeros([len(at) if d == dim else s for d, s in enumerate(x.shape)])
            else:
                x = x.index_select(dim, source)
            if mode == "constant":
                x = x.masked_fill(outside.reshape([-1 if d == dim else 1 for d in range(x.dim())]), attrs["value"] or 0)
        return x


@register
class Expand(Op):
    """Repeats dimensions of size 1 up to `sizes`; -1 keeps a size; further sizes in front add dimensions."""

    name = "expand"
    params = (Param("sizes", "sizes"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return ins[0] == outs[0]

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"sizes": args["sizes"] if isinstance(args["sizes"], tuple) else (args["sizes"],)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,) = ins
        sizes = attrs["sizes"]
        new = len(sizes) - x.rank
        if new < 0:
            message = f"`expand` of {x} needs at least {x.rank} sizes, and {sizes_str(sizes)} has {len(sizes)}"
            raise OpError("ARC0353", message, param="sizes", inputs=(0,))
        check_sizes(self.name, [s for i, s in enumerate(sizes) if i < new or s != -1], free=False, param="sizes")
        shape = list(sizes[:new])
        for dim, (have, want) in enumerate(zip(x.shape, sizes[new:], strict=True)):
            if want == -1 or have == want:
                shape.append(have)
            elif have == 1:
                shape.append(want)
            else:
                clash = f"`expand`: dimension {dim} of {x} is {size_str(have)}, and only a 1 becomes {size_str(want)}"
                what = f"`expand` keeps dimension {dim}"
                shape.append(agree(cx, have, want, what, clash, inputs=(0,), code="ARC0357", rule="broadcast"))
        return (TensorType(tuple(shape), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        shape, (x,) = outs[0].shape, ins
        grown = [cx.free(size) for size in shape[: len(shape) - len(x)]]  # copies, in any order
        grown += [
            axis if axis.size != 1 or size == 1 else cx.free(size)
            for axis, size in zip(x, shape[len(shape) - len(x) :], strict=True)
        ]
        return cx.says(tuple(grown), sizes={"sizes": tuple(grown)})

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.expand(ins[0], *attrs["sizes"]),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "expand", tuple(Lit(s) for s in attrs["sizes"]) or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        new = len(attrs["sizes"]) - x.dim()
        sizes = [
            *attrs["sizes"][:new],
            *(h if w == -1 else w for h, w in zip(x.shape, attrs["sizes"][new:], strict=True)),
        ]
        return torch.broadcast_to(x, sizes)


@register
class Tile(Op):
    """The wire repeated `dims` times along each dimension; further numbers in front add dimensions, as torch.tile."""

    name = "tile"
    params = (Param("dims", "sizes"),)

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return ins[0] == outs[0] and all(n == 1 for n in attrs["dims"])

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        dims = args["dims"] if isinstance(args["dims"], tuple) else (args["dims"],)
        for count in dims:
            if isinstance(count, int) and count < 0:
                raise OpError("ARC0354", f"`tile`: {count} is not a number of repetitions", param="dims")
        return {"dims": (1,) * (ins[0].rank - len(dims)) + dims}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dims = ins, attrs["dims"]
        shape = (1,) * (len(dims) - x.rank) + x.shape
        return (TensorType(tuple(size * count for size, count in zip(shape, dims, strict=True)), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        new, (x,) = len(attrs["dims"]) - len(ins[0]), ins
        axes = (*(cx.free(1) for _ in range(new)), *x)
        copies = [cx.fixed(count, "`tile` makes copies") for count in attrs["dims"]]
        return cx.says(tuple(cx.product(*pair) for pair in zip(copies, axes, strict=True)))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "repeat", tuple(Lit(d) for d in attrs["dims"]) or (Lit(()),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        (x,) = ins
        x = x.reshape((1,) * (len(attrs["dims"]) - x.dim()) + tuple(x.shape))
        for dim, count in enumerate(attrs["dims"]):
            x = torch.cat([x] * count, dim=dim) if count else x.narrow(dim, 0, 0)
        return x


@register
class RepeatInterleave(Op):
    """Each entry of dimension `dim` `repeats` times in a row."""

    name = "repeat_interleave"
    params = (Param("repeats", "size"), Param("dim", "int"))

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return bool(attrs["repeats"] == 1)

    def moves(self, attrs: Attrs) -> bool:
        return True

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        if isinstance(args["repeats"], int) and args["repeats"] < 0:
            raise OpError("ARC0354", f"`repeat_interleave`: repeats is {size_str(args['repeats'])}", param="repeats")
        if ins[0].rank == 0:
            raise OpError("ARC0353", "`repeat_interleave` needs a wire with dimensions", inputs=(0,))
        return {"repeats": args["repeats"], "dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dim = ins, attrs["dim"]
        return (TensorType((*x.shape[:dim], x.shape[dim] * attrs["repeats"], *x.shape[dim + 1 :]), x.dtype),)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        wide = cx.product(x[dim], cx.fixed(attrs["repeats"], "`repeat_interleave` makes copies"))
        return cx.says((*x[:dim], wide, *x[dim + 1 :]))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Method(In(0), "repeat_interleave", (Lit(attrs["repeats"]),), (Kw("dim", Lit(attrs["dim"])),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,), dim, count = ins, attrs["dim"], attrs["repeats"]
        wide = x.unsqueeze(dim + 1).expand(*x.shape[: dim + 1], count, *x.shape[dim + 1 :])
        return wide.reshape(*x.shape[:dim], x.shape[dim] * count, *x.shape[dim + 1 :])
