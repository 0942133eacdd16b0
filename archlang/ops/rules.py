"""Rules that several tensor functions share: dtype promotion, broadcasting, arguments that are dimensions or sizes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ir.graph import TensorType
from archlang.ops.base import Context, OpError
from archlang.shapes.dim import Size, size_str

__all__ = [
    "DTYPES",
    "agree",
    "as_dims",
    "broadcast",
    "check_sizes",
    "dim_of",
    "floating",
    "is_float",
    "kind_of_scalar",
    "not_empty",
    "nth",
    "numel",
    "promote",
    "promote_scalar",
    "refuse_bool",
    "remaining",
    "require_float",
    "require_index",
    "same_dtype",
    "same_rank",
    "sizes_str",
    "torch_dtype",
]

_INTS = ("uint8", "int8", "int16", "int32", "int64")
_FLOATS = ("float16", "bfloat16", "float32", "float", "float64")
DTYPES = ("bool", *_INTS, *_FLOATS)
_RANK = {name: 0 if name == "bool" else 1 if name in _INTS else 2 for name in DTYPES}


def is_float(dtype: str) -> bool:
    return dtype in _FLOATS


def floating(dtype: str) -> str:
    """The dtype that division and the transcendental functions give: integers become floats."""
    return dtype if is_float(dtype) else "float"


def promote(a: str, b: str) -> str:
    """torch's result type of two tensors that have dimensions.

    The module's own "float" is taken to be wider than float32 and narrower than float64: exact for modules in float32
    and float64.
    """
    if a == b:
        return a
    if _RANK[a] != _RANK[b]:
        return a if _RANK[a] > _RANK[b] else b
    if {a, b} == {"float16", "bfloat16"}:
        return "float32"
    if {a, b} == {"uint8", "int8"}:
        return "int16"
    return max(a, b, key=DTYPES.index)


def kind_of_scalar(value: object) -> str:
    """The dtype whose category a Python scalar has; a symbolic size is an integer."""
    if isinstance(value, bool):
        return "bool"
    return "float" if isinstance(value, float) else "int64"


def promote_scalar(dtype: str, value: object) -> str:
    """torch's result type of a tensor and a Python scalar: only a higher category changes the tensor's."""
    scalar = kind_of_scalar(value)
    return scalar if _RANK[scalar] > _RANK[dtype] else dtype


def torch_dtype(dtype: str, like: Any) -> Any:
    """The torch.dtype at run time; `like` is the tensor that shows what the module's "float" is."""
    import torch

    return like.dtype if dtype == "float" else getattr(torch, dtype)


def refuse_bool(op: str, ins: Sequence[TensorType]) -> None:
    """For functions that torch does not define on bool."""
    for i, x in enumerate(ins):
        if x.dtype == "bool":
            message = f"`{op}` does not take bool, and this is {x}"
            raise OpError("ARC0241", message, inputs=(i,), help='convert it first: `cast(x, "float")` or "int64"')


def require_float(op: str, ins: Sequence[TensorType]) -> None:
    for i, x in enumerate(ins):
        if not is_float(x.dtype):
            message = f"`{op}` takes floating-point wires, and this is {x}"
            raise OpError("ARC0241", message, inputs=(i,), help='convert it first: `cast(x, "float")`')


_INDEX_HELP = 'declare the input as `i64[...]`, or convert the wire: `cast(x, "int64")`'


def require_index(op: str, x: TensorType, position: int) -> None:
    if x.dtype not in ("int64", "int32"):
        message = f"`{op}` takes indices of type int64 or int32, and this is {x}"
        raise OpError("ARC0241", message, inputs=(position,), help=_INDEX_HELP)


def same_dtype(op: str, ins: Sequence[TensorType]) -> str:
    """For products, which torch does not promote. float32 counts as the module's "float"."""
    own = [("float" if x.dtype == "float32" else x.dtype) for x in ins]
    for i, dtype in enumerate(own):
        if dtype != own[0]:
            message = f"`{op}` needs wires of the same element type, not {ins[0]} and {ins[i]}"
            raise OpError("ARC0241", message, inputs=(0, i), help="convert one of them with `cast`")
    return ins[0].dtype


def dim_of(op: str, dim: int, x: TensorType, *, param: str = "dim", extra: int = 0, position: int = 0) -> int:
    """A dimension argument, negative ones counted from the end, as an index into `x` (with `extra` new dimensions)."""
    rank = x.rank + extra
    bound = max(rank, 1)  # torch lets the dims 0 and -1 stand for a scalar's missing dimension
    if not -bound <= dim < bound:
        has = f"{x.rank} dimension{'s' if x.rank != 1 else ''}"
        message = f"`{op}`: {param} {dim} is out of range for {x}, which has {has}"
        raise OpError("ARC0351", message, param=param, inputs=(position,), help=f"use {-bound} to {bound - 1}")
    return dim % bound


def as_dims(op: str, dims: Any, x: TensorType, *, param: str = "dim") -> tuple[int, ...]:
    """One dimension or several, normalised; None means all of them. A dimension given twice is an error."""
    if dims is None:
        return tuple(range(x.rank))
    given = dims if isinstance(dims, tuple) else (dims,)
    result = tuple(dim_of(op, d, x, param=param) for d in given)
    for i, dim in enumerate(result):
        if dim in result[:i]:
            raise OpError("ARC0352", f"`{op}`: dimension {dim} of {x} is given twice", param=param)
    return result


def sizes_str(sizes: Sequence[Size]) -> str:
    """`[B, 3, H // 2]`."""
    return "[" + ", ".join(size_str(s) for s in sizes) + "]"


def check_sizes(op: str, sizes: Sequence[Size], *, free: bool, param: str = "shape") -> None:
    """Sizes an author wrote: none negative, at most one -1 (none where `free` is false)."""
    for size in sizes:
        if isinstance(size, int) and (size < -1 or (size == -1 and not free)):
            raise OpError("ARC0354", f"`{op}`: {size} is not a size", param=param)
    if sum(1 for s in sizes if s == -1) > 1:
        raise OpError("ARC0354", f"`{op}`: {sizes_str(sizes)} has more than one -1", param=param)


def remaining(x: TensorType, dims: Sequence[int], keepdim: bool) -> tuple[Size, ...]:
    """The sizes that are left when dimensions are reduced."""
    if keepdim:
        return tuple(1 if i in dims else size for i, size in enumerate(x.shape))
    return tuple(size for i, size in enumerate(x.shape) if i not in dims)


def not_empty(op: str, x: TensorType, dims: Sequence[int], cx: Context) -> None:
    """Needs elements in each dimension: an extreme of none does not exist."""
    for dim in dims if x.rank else ():
        cx.at_least(x.shape[dim], 1, f"`{op}` needs elements in dimension {dim}", inputs=(0,))


def numel(shape: Sequence[Size]) -> Size:
    """The number of elements."""
    return prod(shape, start=1)


def agree(
    cx: Context,
    a: Size,
    b: Size,
    what: str,
    clash: str,
    *,
    inputs: tuple[int, ...],
    code: str,
    dims: tuple[int, ...] = (),
    help: str | None = None,
    rule: str = "torch",
) -> Size:
    """Context.equal with the op's own message: `clash` where the sizes can never be equal, `what` as the reason."""
    difference = a - b
    if isinstance(difference, int) and difference != 0:
        raise OpError(code, clash, inputs=inputs, dims=dims, equation=(a, b), help=help)
    return cx.equal(a, b, what, inputs=inputs, rule=rule)


_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def nth(index: int) -> str:
    return _ORDINALS[index] if index < len(_ORDINALS) else f"{index + 1}th"


def _sides(count: int, i: int, j: int) -> tuple[str, str]:
    return ("on the left", "on the right") if count == 2 else (f"in the {nth(i)}", f"in the {nth(j)}")


def _broadcast_help(rank: int, dim: int, a: Size, b: Size) -> str | None:
    if rank < 3:
        return None
    if dim == 1:
        return f"give one path a 1x1 convolution, such as `conv({size_str(a)}, 1)` on the one with {size_str(b)}"
    if dim >= 2:
        return "one path changes the spatial size and the other does not: compare their strides and paddings"
    return None


def broadcast(op: str, ins: Sequence[TensorType], cx: Context) -> tuple[Size, ...]:
    """torch's broadcasting, except that only an extent that is literally 1 broadcasts; symbolic extents must agree."""
    rank = max(x.rank for x in ins)
    shape: list[Size] = []
    for back in range(rank, 0, -1):
        size: Size = 1
        owner = 0
        for i, x in enumerate(ins):
            if x.rank < back or x.shape[-back] == 1:
                continue
            here = x.shape[-back]
            if size == 1:
                size, owner = here, i
                continue
            if here == size:
                continue
            left, right = _sides(len(ins), owner, i)
            equal_ranks = ins[owner].rank == x.rank
            dim = rank - back if equal_ranks else -back
            clash = (
                f"`{op}` needs equal sizes: dimension {dim} is {size_str(size)} {left} and {size_str(here)} {right}, "
                f"in {ins[owner]} and {x}"
            )
            help = _broadcast_help(rank, dim, size, here) if equal_ranks else None
            what = f"`{op}` needs equal sizes in dimension {dim}"
            dims = (ins[owner].rank - back, x.rank - back)
            where: dict[str, Any] = {"inputs": (owner, i), "dims": dims, "help": help}
            size = agree(cx, size, here, what, clash, code="ARC0350", rule="broadcast", **where)
        shape.append(size)
    return tuple(shape)


def same_rank(op: str, ins: Sequence[TensorType]) -> None:
    for i, x in enumerate(ins):
        if x.rank != ins[0].rank:
            message = f"`{op}` needs wires with the same number of dimensions, not {ins[0]} and {x}"
            raise OpError("ARC0353", message, inputs=(0, i))
