"""Putting wires together and taking them apart along a dimension: concat, stack, split, chunk, unbind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import Bijection, Context, Input, Op, OpError, Param, register, registry
from archlang.ops.code import Call, Expr, In, Ins, Item, Kw, Lit, Method, Seq
from archlang.ops.eager import Ghost, Tape
from archlang.ops.rules import agree, dim_of, nth, promote, same_rank
from archlang.ops.window import Window
from archlang.shapes.dim import Size, ceil_div, exact_div, size_str

if TYPE_CHECKING:
    from archlang.ops.axes import Axes
    from archlang.ops.channels import Tied, Ties

__all__: list[str] = []


def _sizes_beside(op: str, ins: Sequence[TensorType], skip: int | None, cx: Context) -> list[Size]:
    """The common sizes of wires that must agree in every dimension but `skip`."""
    same_rank(op, ins)
    shape = list(ins[0].shape)
    for i, x in enumerate(ins[1:], 1):
        for d, size in enumerate(x.shape):
            if d == skip or size == shape[d]:
                continue
            along = "" if skip is None else f" along dimension {skip}"
            what = f"`{op}`{along} needs equal sizes in dimension {d}"
            clash = (
                f"`{op}`{along} needs the other sizes equal: dimension {d} is {size_str(shape[d])} in the first and "
                f"{size_str(size)} in the {nth(i)}, in {ins[0]} and {x}"
            )
            if skip is None:
                clash = clash.replace("the other sizes equal", "equal shapes")
            shape[d] = agree(cx, shape[d], size, what, clash, inputs=(0, i), code="ARC0356", dims=(d, d))
    return shape


@register
class Concat(Op):
    """Joins wires end to end along an existing dimension."""

    name = "concat"
    inputs = (Input("xs", variadic=True),)
    params = (Param("dim", "int", 1),)

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == 1 else None

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return len(ins) == 1

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        same_rank(self.name, ins)
        if ins[0].rank == 0:
            raise OpError("ARC0353", "`concat` needs wires with dimensions", inputs=(0,), help="`stack` joins scalars")
        return {"dim": dim_of(self.name, args["dim"], ins[0])}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        dim = attrs["dim"]
        shape = _sizes_beside(self.name, ins, dim, cx)
        total: Size = 0
        for x in ins:
            total = total + x.shape[dim]
        shape[dim] = total
        return (TensorType(tuple(shape), reduce(promote, (x.dtype for x in ins))),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        if len({x.dtype for x in ins}) > 1:
            return None
        sizes = tuple(x.shape[attrs["dim"]] for x in ins)
        size = sizes[0] if len(set(sizes)) == 1 and isinstance(sizes[0], int) else None
        return Bijection(inverse=("split", {"sizes": sizes, "size": size, "dim": attrs["dim"]}), volume=True)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        dim = attrs["dim"]
        rest = cx.pointwise([(*x[:dim], *x[dim + 1 :]) for x in ins])
        return cx.says((*rest[:dim], cx.cat(*(x[dim] for x in ins)), *rest[dim:]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        return (tape.cat(ins, outs[0].shape, outs[0].dtype),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.cat", (Ins(),), (Kw("dim", Lit(attrs["dim"])),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.concatenate(list(ins), dim=attrs["dim"])


@register
class Stack(Op):
    """Joins equal-shaped wires along a new dimension."""

    name = "stack"
    inputs = (Input("xs", variadic=True),)
    params = (Param("dim", "int", 0),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"dim": dim_of(self.name, args["dim"], ins[0], extra=1)}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        shape = _sizes_beside(self.name, ins, None, cx)
        shape.insert(attrs["dim"], len(ins))
        return (TensorType(tuple(shape), reduce(promote, (x.dtype for x in ins))),)

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection | None:
        if len({x.dtype for x in ins}) > 1:
            return None
        return Bijection(inverse=("unbind", {"dim": attrs["dim"], "count": len(ins)}), volume=True)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        rest, dim = cx.pointwise(ins), attrs["dim"]
        return cx.says((*rest[:dim], cx.fixed(len(ins), "`stack` makes it of wires"), *rest[dim:]))

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (out,), dim, shape = outs, attrs["dim"], ins[0].shape
        if dim == len(shape):
            return (tape.cat([tape.unsqueeze(x, dim) for x in ins], out.shape, out.dtype),)
        joined = tape.cat(ins, (*shape[:dim], shape[dim] * len(ins), *shape[dim + 1 :]), out.dtype)
        return (tape.reshape(joined, out.shape),)

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return Call("torch.stack", (Ins(),), (Kw("dim", Lit(attrs["dim"])),))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        import torch

        return torch.cat([x.unsqueeze(attrs["dim"]) for x in ins], dim=attrs["dim"])


def _parts(x: TensorType, dim: int, sizes: Sequence[Size]) -> tuple[TensorType, ...]:
    return tuple(TensorType((*x.shape[:dim], size, *x.shape[dim + 1 :]), x.dtype) for size in sizes)


_MOST_PARTS = 10_000


def _few(op: str, count: int, param: str | None) -> None:
    """Each part is a wire of its own: a number of them that nobody can mean is refused before it is made."""
    if count > _MOST_PARTS:
        raise OpError("ARC0242", f"`{op}` would make {count:,} wires, more than {_MOST_PARTS:,}", param=param)


def _only(call: Expr, count: int) -> Expr:
    """torch returns a tuple for one part too; an op with one output returns the tensor."""
    return Item(call, (Lit(0),)) if count == 1 else call


def _cut(x: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Parts of `x` with the given sizes, for `run`."""
    parts, start = [], 0
    for size in sizes:
        parts.append(x.narrow(dim, start, size))
        start += size
    return parts[0] if len(parts) == 1 else tuple(parts)


def _trace_parts(
    self: Op,
    tape: Tape,
    ins: Sequence[Ghost],
    weights: Mapping[str, Ghost],
    outs: Sequence[TensorType],
    attrs: Attrs,
) -> tuple[Ghost, ...]:
    """Parts are views."""
    return tuple(tape.view(ins[0], out.shape, ins[0].strides) for out in outs)


class _Parts(Op):
    """An op whose outputs, end to end, are its input."""

    trace = _trace_parts

    def window(self, attrs: Attrs) -> tuple[Window, ...] | None:
        return () if attrs["dim"] == 1 else None

    def is_identity(self, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs, training: bool) -> bool:
        return len(outs) == 1 and ins[0] == outs[0]

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("concat", {"dim": attrs["dim"]}), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        concat = registry()["concat"]
        return concat.infer(outs, concat.resolve(outs, {"dim": args["dim"]}, Context()), Context())


@register
class Split(_Parts):
    """Parts of a given size (the last may be smaller), or of the listed sizes, which must add up."""

    name = "split"
    params = (Param("split_size_or_sections", "sizes"), Param("dim", "int", 0))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,), given = ins, args["split_size_or_sections"]
        dim = dim_of(self.name, args["dim"], x)
        if x.rank == 0:
            raise OpError("ARC0353", "`split` needs a wire with dimensions", inputs=(0,))
        size = x.shape[dim]
        if isinstance(given, tuple):
            if not given or any(isinstance(s, int) and s < 0 for s in given):
                raise OpError("ARC0354", "`split` takes sizes of at least 0", param="split_size_or_sections")
            return {"sizes": given, "size": None, "dim": dim}
        if isinstance(given, int) and given < 1:
            raise OpError("ARC0354", f"`split` takes sizes of at least 1, not {given}", param="split_size_or_sections")
        known = isinstance(size, int) and isinstance(given, int)
        parts = ceil_div(size, given) if known else exact_div(size, given)
        if isinstance(parts, int):
            _few(self.name, parts, "split_size_or_sections")
        count = exact_div(size, given)
        if not isinstance(count, int):
            reason = f"`split`: the number of parts of size {size_str(given)}"
            length, step = cx.known(size, reason, inputs=(0,)), cx.known(given, reason)
            sizes: tuple[Size, ...] = tuple(min(step, length - start) for start in range(0, length, step))
        else:
            sizes = (given,) * count
        return {"sizes": sizes, "size": given, "dim": dim}

    def spell(self, attrs: Attrs) -> dict[str, Attr]:
        return {
            "split_size_or_sections": attrs["sizes"] if attrs["size"] is None else attrs["size"],
            "dim": attrs["dim"],
        }

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dim, sizes = ins, attrs["dim"], attrs["sizes"]
        total: Size = sum(sizes)
        have = x.shape[dim]
        clash = f"`split`: the sections add up to {size_str(total)}, and dimension {dim} of {x} is {size_str(have)}"
        agree(cx, total, have, f"the sections of `split` add up to dimension {dim}", clash, inputs=(0,), code="ARC0358")
        return _parts(x, dim, sizes)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        pieces = cx.cut(x[dim], attrs["sizes"])
        made = [(*x[:dim], piece, *x[dim + 1 :]) for piece in pieces]
        return cx.says(*made, sizes={"split_size_or_sections": tuple(pieces)})

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        sizes: Expr = Seq(tuple(Lit(s) for s in attrs["sizes"]), "list")
        if attrs["size"] is not None:
            sizes = Lit(attrs["size"])
        # the method has no types
        return _only(Call("torch.split", (In(0), sizes), (Kw("dim", Lit(attrs["dim"])),)), len(attrs["sizes"]))

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        return _cut(ins[0], attrs["dim"], attrs["sizes"])


class _Chunks(_Parts):
    """A number of equal parts, which must divide the size (torch would make uneven or fewer parts; see `split`)."""

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dim, chunks = ins, attrs["dim"], attrs["chunks"]
        what = f"`{self.name}`: {chunks} equal parts of dimension {dim} of {x}"
        size = cx.divides(chunks, x.shape[dim], what, inputs=(0,), param="chunks", rule="language")
        return _parts(x, dim, (size,) * chunks)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        pieces = cx.cut(x[dim], [out.shape[dim] for out in outs])
        cx.even(pieces, f"`{self.name}` makes equal parts")
        return cx.says(*((*x[:dim], piece, *x[dim + 1 :]) for piece in pieces))

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        chunks = attrs["chunks"]
        return _only(Method(In(0), "chunk", (Lit(chunks),), (Kw("dim", Lit(attrs["dim"])),)), chunks)

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        (x,), chunks = ins, attrs["chunks"]
        return _cut(x, attrs["dim"], (x.shape[attrs["dim"]] // chunks,) * chunks)


@register
class Chunk(_Chunks):
    """`chunks` equal parts along `dim`."""

    name = "chunk"
    params = (Param("chunks", "int"), Param("dim", "int", 0))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        if args["chunks"] < 1:
            raise OpError("ARC0242", f"`chunk` makes at least 1 part, not {args['chunks']}", param="chunks")
        _few(self.name, args["chunks"], "chunks")
        return {"chunks": args["chunks"], "dim": _existing(self.name, args["dim"], ins[0])}


@register
class Halves(_Chunks):
    """The two halves of the channels."""

    name = "halves"
    params = (Param("dim", "int", 1),)

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        return {"chunks": 2, "dim": _existing(self.name, args["dim"], ins[0])}


def _existing(op: str, dim: int, x: TensorType) -> int:
    if x.rank == 0:
        raise OpError("ARC0353", f"`{op}` needs a wire with dimensions", inputs=(0,))
    return dim_of(op, dim, x)


@register
class Unbind(Op):
    """One wire for each index of dimension `dim`, which goes away."""

    name = "unbind"
    params = (Param("dim", "int", 0),)

    def trace(
        self, tape: Tape, ins: Sequence[Ghost], weights: Mapping[str, Ghost], outs: Sequence[TensorType], attrs: Attrs
    ) -> tuple[Ghost, ...]:
        (x,), dim = ins, attrs["dim"]
        rest = [d for d in range(x.rank) if d != dim]
        return tuple(tape.permute(x, *rest) for _ in outs)

    def channels(self, cx: Ties, ins: Sequence[Axes], outs: Sequence[TensorType], attrs: Attrs) -> Tied:
        (x,), dim = ins, attrs["dim"]
        cx.fix((x[dim],), "`unbind` makes wires of it")
        return cx.says(*((*x[:dim], *x[dim + 1 :]) for _ in outs))

    def resolve(self, ins: Sequence[TensorType], args: Attrs, cx: Context) -> dict[str, Attr]:
        (x,) = ins
        dim = _existing(self.name, args["dim"], x)
        count = cx.known(x.shape[dim], "the number of wires from `unbind`", inputs=(0,))
        _few(self.name, count, "dim")
        return {"dim": dim, "count": count}

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        (x,), dim, count = ins, attrs["dim"], attrs["count"]
        cx.equal(x.shape[dim], count, f"`unbind` was made for {count} parts", inputs=(0,))
        part = TensorType((*x.shape[:dim], *x.shape[dim + 1 :]), x.dtype)
        return tuple(part for _ in range(count))

    def bijection(self, ins: Sequence[TensorType], attrs: Attrs) -> Bijection:
        return Bijection(inverse=("stack", {"dim": attrs["dim"]}), volume=True)

    def domain(self, outs: Sequence[TensorType], args: Attrs) -> tuple[TensorType, ...]:
        stack = registry()["stack"]
        return stack.infer(outs, stack.resolve(outs, {"dim": args["dim"]}, Context()), Context())

    def call(self, attrs: Attrs, inputs: int) -> Expr:
        return _only(Method(In(0), "unbind", (Lit(attrs["dim"]),)), attrs["count"])

    def run(self, ins: Sequence[Any], weights: Mapping[str, Any], attrs: Attrs, training: bool) -> Any:
        parts = tuple(ins[0].select(attrs["dim"], i) for i in range(attrs["count"]))
        return parts[0] if len(parts) == 1 else parts
