"""The LALR(1) table, made ahead of time from `grammars/archlang.lark` (`generate.py`), as the parser uses it."""

from __future__ import annotations

import functools

from archlang.records import dataclass, field
from archlang.syntax import table

__all__ = ["Rule", "Table", "load_table"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One production, as the parser needs it."""

    origin: str
    action: str  # the builder's method; "" where the children go to the parent rule ("_" rules)
    length: int
    keep: tuple[tuple[int, int], ...]  # (index of a child that is kept, number of `None`s before it)
    trailing: int  # number of `None`s at the end
    unit: bool  # passes its only child on


@dataclass(frozen=True, slots=True)
class Table:
    """`rows[state]` maps a token type to a state (shift) or to `~rule` (reduce), and `<name>` of a rule to a state.

    Tokens with a fixed text have that text as their type (`"->"`, `"block"`).
    """

    rules: tuple[Rule, ...]
    rows: tuple[dict[str, int], ...]
    starts: dict[str, int]
    ends: dict[str, int]
    patterns: dict[str, str]  # terminal -> regular expression
    words: frozenset[str]  # keywords, soft ones included
    signs: tuple[str, ...]  # punctuation, longest first
    chains: dict[tuple[int, int, str], int] = field(default_factory=dict)  # where units lead, as the parser finds it


@functools.cache
def load_table() -> Table:
    """The table; made once a process."""
    words = frozenset(text for text in table.FIXED if text.replace("_", "a").isalnum())
    return Table(
        rules=tuple(Rule(*rule) for rule in table.RULES),
        rows=table.ROWS,
        starts=table.STARTS,
        ends=table.ENDS,
        patterns=table.PATTERNS,
        words=words,
        signs=tuple(sorted((text for text in table.FIXED if text not in words), key=lambda s: (-len(s), s))),
    )
