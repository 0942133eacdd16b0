"""Structured torch code: what an op entry says its emission is.

Not text: the generator compares the expressions of equal blocks leaf by leaf, so that a literal which differs between
two instances becomes a constructor argument. Only `Lit` leaves may be abstracted; everything else is fixed.
"""

from __future__ import annotations

from typing import Any, Union

from archlang.ir.graph import Attr
from archlang.records import dataclass

__all__ = [
    "Bin",
    "Buffer",
    "Call",
    "Expr",
    "Fixed",
    "Get",
    "Helper",
    "In",
    "Ins",
    "Item",
    "Kw",
    "Lit",
    "Method",
    "Self",
    "Seq",
    "Un",
]


@dataclass(frozen=True, slots=True)
class Lit:
    """A literal: None, bool, int, float, str, a symbolic size (read from an input's shape), or a tuple of them."""

    value: Attr


@dataclass(frozen=True, slots=True)
class Fixed:
    """Python text that is the same in every instance: `torch.float32`, `self.training`, `...`."""

    text: str


@dataclass(frozen=True, slots=True)
class In:
    """The i-th input wire."""

    index: int


@dataclass(frozen=True, slots=True)
class Ins:
    """All input wires from `start` on, as a list: `[a, b, c]`."""

    start: int = 0


@dataclass(frozen=True, slots=True)
class Self:
    """The op's own nn.Module (`self.conv1`); callable."""


@dataclass(frozen=True, slots=True)
class Kw:
    """`name=value`; left out of the text where every instance has the default."""

    name: str
    value: Expr
    default: Any = ...  # `...`: always written


@dataclass(frozen=True, slots=True)
class Call:
    """`func(args, kwargs)`; `func` is a dotted name (`F.relu`, `nn.Conv2d`, a helper's name) or an expression."""

    func: str | Expr
    args: tuple[Expr, ...] = ()
    kwargs: tuple[Kw, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """`value.name(args, kwargs)`."""

    value: Expr
    name: str
    args: tuple[Expr, ...] = ()
    kwargs: tuple[Kw, ...] = ()


@dataclass(frozen=True, slots=True)
class Get:
    """`value.name`: an attribute, such as the device of a wire."""

    value: Expr
    name: str


@dataclass(frozen=True, slots=True)
class Buffer(Get):
    """A buffer of a module, which a type checker is to know as a tensor."""


@dataclass(frozen=True, slots=True)
class Bin:
    """An infix operator of Python: + - * / // % ** @ == != < <= > >= & |."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Un:
    """A prefix operator: - ~."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Item:
    """`value[items]`; an item is an expression, `Fixed("...")`, `Fixed(":")`, or a slice as (start, stop, step)."""

    value: Expr
    items: tuple[Expr | tuple[Expr | None, Expr | None, Expr | None], ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """A tuple `(a, b)` or list `[a, b]` display."""

    items: tuple[Expr, ...]
    kind: str = "tuple"


Expr = Union[Lit, Fixed, In, Ins, Self, Call, Method, Get, Bin, Un, Item, Seq]


@dataclass(frozen=True, slots=True)
class Helper:
    """A small class or function of torch code that an emission calls by `name`; included once in the generated file.

    defines: all names that the source defines, where there are more.
    """

    name: str
    source: str
    needs: tuple[Helper, ...] = ()
    defines: tuple[str, ...] = ()
