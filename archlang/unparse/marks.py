"""Places in the text of a block that may differ between blocks of one form: numbers, sizes, blocks that are called.

A mark stands in a text as a number between two control characters, and the writer keeps what it stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from archlang.records import dataclass

__all__ = ["Called", "Index", "Initial", "Mark", "Marked", "Marks", "Number", "Width", "called", "found", "put_in"]


@dataclass(frozen=True, slots=True)
class Number:
    """An int or a float that a parameter may stand for.

    hints: names for that parameter, the best first. lead: what stands before it (`stride=`). default: the value at
    which neither is written (None: they always are). atom: an expression there needs parentheses.
    """

    value: int | float
    hints: tuple[str, ...]
    lead: str = ""
    default: int | float | None = None
    atom: bool = False

    @property
    def form(self) -> str:
        """What of it has to agree where blocks are written as one."""
        return f"<{type(self.value).__name__} {self.lead}{self.default} {self.atom}>"


@dataclass(frozen=True, slots=True)
class Index:
    """A number in a label."""

    value: int
    hints = ("index",)

    @property
    def form(self) -> str:
        return "<index>"


@dataclass(frozen=True, slots=True)
class Width:
    """A size of an input's declared type: left open (`_`) where it differs."""

    value: int

    @property
    def form(self) -> str:
        return "<width>"


@dataclass(frozen=True, slots=True)
class Called:
    """A block that is called, by the id of its graph, and the modules that are lent to it. bare: without them, and
    without parameters, the name alone means the instance."""

    graph: int
    lent: tuple[str, ...]
    bare: bool

    @property
    def form(self) -> str:
        return f"{', '.join(self.lent)} {self.bare}"


@dataclass(frozen=True, slots=True)
class Initial:
    """An initialiser, which gets a name where many layers have it. op: a layer that has it."""

    text: str
    op: str

    @property
    def form(self) -> str:
        return self.text


Mark = Union[Number, Index, Width, Called, Initial]
Marked = tuple[str, Sequence[Mark]]  # a text, and what its marks are

_MARK = re.compile("\x00(\\d+)\x01")
_CALL = re.compile("\x02([^\x02\x03]*)\x03")


class Marks:
    """The marks of a text, by number."""

    def __init__(self) -> None:
        self.all: list[Mark] = []

    def put(self, mark: Mark) -> str:
        """The mark as text."""
        self.all.append(mark)
        return f"\x00{len(self.all) - 1}\x01"


def called(name: str, arguments: Iterable[str]) -> str:
    """A call whose arguments may turn out to be empty; without any, it is the name."""
    inner = "\x04".join(arguments)
    return f"{name}\x02{inner}\x03"


def found(text: str, marks: Sequence[Mark]) -> list[Mark]:
    """The marks of a text, in order."""
    return [marks[int(number)] for number in _MARK.findall(text)]


def put_in(text: str, marks: Sequence[Mark], written: Callable[[Mark], str]) -> str:
    """The text with what is written for each mark, and calls in their final form."""
    text = _MARK.sub(lambda match: written(marks[int(match[1])]), text)
    while "\x02" in text:
        text = _CALL.sub(_call, text)
    return text


def _call(match: re.Match[str]) -> str:
    arguments = ", ".join(filter(None, match[1].split("\x04")))
    return f"({arguments})" if arguments else ""
