"""What the elaborator records of a reversible block's statements: which names they rebind, and from what to what."""

from __future__ import annotations

from archlang.ir.graph import Value
from archlang.records import dataclass
from archlang.report.diagnostic import Span

__all__ = ["Move", "Pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A name (`a`, `c[2]`) before and after a statement; None where it had no wire."""

    name: str
    old: Value | None
    new: Value | None


@dataclass(frozen=True, slots=True)
class Move:
    """A statement that rebinds wires. kind: "assign" (`=`), "update" (`+=`, ...) or "new".

    iteration: the numbers of the loops around it; phase: the arm of `training` that it stands in.
    """

    kind: str
    span: Span
    pairs: tuple[Pair, ...]
    iteration: tuple[int, ...] = ()
    phase: str | None = None
