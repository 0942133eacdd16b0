"""How rounding errors grow when a reversible program is undone."""

from __future__ import annotations

from archlang.ir.graph import Program

__all__ = ["report"]


def report(program: Program) -> list[str]:
    return []
