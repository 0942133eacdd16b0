"""Identifiers for what is written."""

from __future__ import annotations

import re
from collections.abc import Set

from archlang.elaborate.names import builtin
from archlang.syntax.grammar import load_table

__all__ = ["free_name"]


def free_name(wanted: str, taken: Set[str]) -> str:
    """An identifier that nothing else has: no name that is taken, no keyword, nothing of the language itself."""
    name = re.sub(r"\W", "_", wanted) or "x"
    name = f"x{name}" if name[0].isdigit() else name
    found, n = name, 1
    while found in taken or found in load_table().words or builtin(found) is not None:
        n += 1
        found = f"{name}_{n}"
    return found
