"""Python expressions as the generator sees them: trees whose literal leaves can still be told apart from fixed text.

The nodes are plain frozen dataclasses; `merge.py` compares and joins them field by field, `printer.py` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Union

from archlang.ir.graph import Graph
from archlang.shapes.dim import Dim

__all__ = [
    "INDEX",
    "META",
    "SELF",
    "Abst",
    "Apply",
    "Bin",
    "Call",
    "Choice",
    "Ctor",
    "Get",
    "Item",
    "Kwarg",
    "Leaf",
    "Linear",
    "Map",
    "Measure",
    "Py",
    "Raw",
    "Rep",
    "Roll",
    "Seq",
    "Slice",
    "Un",
    "Var",
]

META = {"meta": True}  # fields that take no part in the comparison of structures


@dataclass(frozen=True, slots=True)
class Leaf:
    """A literal without symbols. `hint` names the constructor argument if it has to become one."""

    value: Any
    hint: str = field(default="", metadata=META, compare=False)


@dataclass(frozen=True, slots=True)
class Abst:
    """A leaf that differs between the members of a class: one value per member."""

    values: tuple[Any, ...]
    hint: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Raw:
    """Fixed text that binds like a name."""

    text: str


SELF = Raw("self")
INDEX = Raw("i")  # the number of a pass, from 0


@dataclass(frozen=True, slots=True)
class Var:
    """A value of the graph, by its number."""

    index: int


@dataclass(frozen=True, slots=True)
class Measure:
    """A symbolic size, computed from variables that are read from input shapes."""

    size: Dim


@dataclass(frozen=True, slots=True)
class Kwarg:
    name: str
    value: Py
    default: Any = field(default=..., metadata=META)


@dataclass(frozen=True, slots=True)
class Call:
    func: Py
    args: tuple[Py, ...] = ()
    kwargs: tuple[Kwarg, ...] = ()


@dataclass(frozen=True, slots=True)
class Get:
    """`value.name`."""

    value: Py
    name: str


@dataclass(frozen=True, slots=True)
class Bin:
    op: str
    left: Py
    right: Py


@dataclass(frozen=True, slots=True)
class Un:
    op: str
    operand: Py


@dataclass(frozen=True, slots=True)
class Slice:
    lower: Py | None
    upper: Py | None
    step: Py | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """`value[items]`."""

    value: Py
    items: tuple[Py | Slice, ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """A tuple or list display."""

    items: tuple[Py, ...]
    kind: str = "tuple"


@dataclass(frozen=True, slots=True)
class Map:
    """A dict display with string keys."""

    items: tuple[tuple[str, Py], ...]


@dataclass(frozen=True, slots=True)
class Rep:
    """Several fresh evaluations: `*(element for _ in range(count))`, without the star where it is the only argument."""

    element: Py
    count: Py
    star: bool = True
    indexed: bool = False  # the element reads `i`


@dataclass(frozen=True, slots=True)
class Roll:
    """Consecutive members of a container that differ at most by arithmetic progressions; becomes a `Rep`."""

    members: tuple[Py, ...]
    count: Leaf


@dataclass(frozen=True, slots=True)
class Linear:
    """`first + step * i`, before it is known what differs between the members of a class."""

    first: Leaf
    step: Leaf


@dataclass(frozen=True, slots=True)
class Choice:
    """`then if test else otherwise`."""

    then: Py
    test: Py
    otherwise: Py


@dataclass(frozen=True, slots=True)
class Ctor:
    """A fresh module of a graph; becomes a constructor call once its class's arguments are known."""

    graph: Graph


@dataclass(frozen=True, slots=True)
class Apply:
    """A call of a graph that is a plain function."""

    graph: Graph
    args: tuple[Py, ...]


Py = Union[Leaf, Abst, Raw, Var, Measure, Call, Get, Bin, Un, Item, Seq, Map, Rep, Roll, Linear, Choice, Ctor, Apply]
