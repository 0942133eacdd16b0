"""What layer entries share: one value or one per spatial dimension, ranges of arguments, inferred channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.ir.graph import Attr, TensorType
from archlang.ops.base import Context, OpError
from archlang.ops.code import Expr, In, Kw, Lit
from archlang.ops.rules import require_float
from archlang.shapes.dim import Size

__all__ = [
    "channels",
    "check_rank",
    "collapsed",
    "in_range",
    "kwargs",
    "once",
    "per_dim",
    "same_channels",
    "spatial_rank",
    "spelled",
    "window_fits",
    "wires",
]


def _listed(numbers: Sequence[int]) -> str:
    *head, last = [str(n) for n in numbers]
    return f"{', '.join(head)} or {last}" if head else last


def spatial_rank(op: str, x: TensorType, ranks: tuple[int, ...] = (1, 2, 3)) -> int:
    """Number of spatial dimensions of a floating-point [B, C, ...] input."""
    if x.rank - 2 not in ranks:
        plural = "s" if ranks != (1,) else ""
        message = f"`{op}` takes [B, C, ...] with {_listed(ranks)} spatial dimension{plural}, and this is {x}"
        help = "an image wire is [B, C, H, W]; give a [B, T, D] wire its channels second" if x.rank == 2 else None
        raise OpError("ARC0310", message, inputs=(0,), help=help)
    require_float(op, [x])
    return x.rank - 2


def check_rank(op: str, x: TensorType, spatial: int) -> None:
    """A module that was sized for `spatial` dimensions is applied to an input with as many."""
    if x.rank != spatial + 2:
        message = f"this `{op}` was made for {spatial} spatial dimension{'s' * (spatial != 1)}, and this is {x}"
        raise OpError("ARC0310", message, inputs=(0,))


def per_dim(op: str, name: str, value: Any, rank: int, least: int | None = None) -> tuple[Any, ...]:
    """A number or a list of numbers -> one per spatial dimension, each at least `least`."""
    if isinstance(value, tuple) and len(value) != rank:
        message = f"`{op}`: `{name}` has {len(value)} entries for {rank} spatial dimension{'s' * (rank != 1)}"
        raise OpError("ARC0311", message, param=name, help=f"give one number, or {rank}")
    values = value if isinstance(value, tuple) else (value,)
    if least is not None:
        for entry in values:
            in_range(op, name, entry, least=least)
    return values if isinstance(value, tuple) else values * rank


def in_range(op: str, name: str, value: Any, *, least: float | None = None, most: float | None = None) -> None:
    """Refuses a number outside of [least, most]; symbolic sizes and None pass."""
    if not isinstance(value, int | float):
        return
    if least is not None and value < least:
        raise OpError("ARC0220", f"`{op}`: `{name}` is {value}, and must be at least {least}", param=name)
    if most is not None and value > most:
        raise OpError("ARC0220", f"`{op}`: `{name}` is {value}, and must be at most {most}", param=name)


def once(value: Attr) -> Attr:
    """What stands for each dimension, where that is one and the same thing; else as it is."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 and not isinstance(value[0], tuple) else value


def spelled(args: dict[str, Attr], *names: str) -> dict[str, Attr]:
    """The arguments, with the named ones written once where they are alike in all dimensions."""
    return args | {name: once(args[name]) for name in names if name in args}


def collapsed(value: tuple[Attr, ...]) -> Lit:
    """(3, 3) -> 3: how one writes it by hand."""
    return Lit(value[0] if all(entry == value[0] for entry in value) else value)


def kwargs(*entries: tuple[str, Attr, Any]) -> tuple[Kw, ...]:
    """(name, value, default) triples -> keyword arguments, as in Kw; tuples of equal entries collapse."""
    return tuple(
        Kw(name, collapsed(value) if isinstance(value, tuple) else Lit(value), default)
        for name, value, default in entries
    )


def wires(inputs: int) -> tuple[Expr, ...]:
    """All input wires as positional arguments."""
    return tuple(In(i) for i in range(inputs))


def channels(op: str, x: TensorType, cx: Context, dim: int = 1, index: int = 0) -> int:
    """The extent along `dim`, a number, from which a weight takes its size."""
    what = "channels" if dim == 1 else "last dimension"
    reason = f"`{op}` sizes its weights by the {what} of its input, which must be a number"
    if not isinstance(x.shape[dim], int) and dim != 1 and x.rank > 3:
        help = f"`{op}` works on the last dimension of {x}: pool or flatten an image first, or use `conv(n, 1)`"
        raise OpError("ARC0305", f"{reason}: {x.shape[dim]} is symbolic", inputs=(index,), help=help)
    return cx.known(x.shape[dim], reason, inputs=(index,))


def same_channels(op: str, x: TensorType, count: int, cx: Context, dim: int = 1, index: int = 0) -> None:
    """A module that was sized at its first application is applied to an input of the same width."""
    what = "channels" if dim == 1 else "features"
    help = "a module has one set of weights: make a second one for another width"
    cx.equal(x.shape[dim], count, f"{what} of `{op}`'s input and of its weights", inputs=(index,), help=help)


def window_fits(op: str, size: Size, reach: int, cx: Context, slack: int = 0) -> None:
    """`size + slack >= reach`: a window that spans `reach` lies in an input of `size` padded by `slack`.

    Extents are at least 1, so that a window which fits there asks for nothing.
    """
    if reach - slack > 1 or isinstance(size, int):
        padded = "padded input" if slack else "input"
        help = "use a smaller kernel, stride or dilation before this point, more padding, or a larger input"
        cx.at_least(size + slack, reach, f"`{op}`'s window must fit into the {padded}", inputs=(0,), help=help)
