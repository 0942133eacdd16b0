"""The differences between two specs as plain data, which the text, Markdown and JSON forms show."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["BlockChange", "Change", "DesignDiff", "Figure", "KeyChange", "Move", "SpecDiff"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs. `old` is "" for what is new, `new` is "" for what is gone.

    kind: "added", "removed", "changed" (a layer, a parameter), "rewired" (a step reads other wires), "type".
    """

    kind: str
    what: str
    old: str = ""
    new: str = ""


@dataclass(frozen=True, slots=True)
class BlockChange:
    """What changed inside a block. `path`: the first place that it stands at, "" for the design; `places`: how many."""

    block: str
    path: str
    places: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A state-dict key that only one side has (the other shape is None), or whose shape or element type differs."""

    key: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """A module that stands under another path; `count`: it and the next ones by number."""

    old: str
    new: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity on both sides, None where unknown. `unit`: "" or "B" for bytes. `formula`: in the input's sizes."""

    name: str
    old: int | None
    new: int | None
    unit: str = ""
    formula: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class DesignDiff:
    """Two versions of one design. `at`: the sizes that figures are given for."""

    name: str
    types: tuple[Change, ...] = ()
    requires: tuple[Change, ...] = ()
    blocks: tuple[BlockChange, ...] = ()
    moves: tuple[Move, ...] = ()
    keys: tuple[KeyChange, ...] = ()  # beside what follows from the moves, under the new paths
    figures: tuple[Figure, ...] = ()
    at: dict[str, int] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        same = all(f.old == f.new and (f.formula is None or f.formula[0] == f.formula[1]) for f in self.figures)
        return same and not (self.types or self.requires or self.blocks or self.moves or self.keys)


@dataclass(frozen=True, slots=True)
class SpecDiff:
    """Two specs, design by design. `old` and `new` are what the user called them."""

    old: str
    new: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    designs: tuple[DesignDiff, ...] = ()

    @property
    def changed(self) -> list[DesignDiff]:
        return [d for d in self.designs if not d.equal]

    @property
    def equal(self) -> bool:
        return not (self.added or self.removed or self.changed)
