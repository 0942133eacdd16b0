"""Names in force at a point of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.records import dataclass, field
from archlang.report.diagnostic import Span

__all__ = ["Binding", "Scope"]


@dataclass(slots=True)
class Binding:
    value: Any
    span: Span | None
    fixed: bool = False  # `let`, parameters: cannot be rebound
    kind: str = "name"  # "let" | "parameter" | "size" | "name"


@dataclass(slots=True)
class Scope:
    """One level: a file, a block activation, or the arm of an `if` or `for`; `parent` is the next one out.

    `frame` marks the border of an activation: rebinding looks no further out.
    """

    parent: Scope | None = None
    frame: bool = False
    names: dict[str, Binding] = field(default_factory=dict)

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def holder(self, name: str) -> Scope | None:
        """The scope of this activation that binds the name."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope
            if scope.frame:
                return None
            scope = scope.parent
        return None

    def bind(self, name: str, value: Any, span: Span | None, *, fixed: bool = False, kind: str = "name") -> None:
        self.names[name] = Binding(value, span, fixed, kind)

    def all_names(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.parent
