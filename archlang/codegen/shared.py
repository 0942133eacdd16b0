"""What the classes of one file share: helper sources, imports for `extern` modules, checks left for the end."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass, field

from archlang.codegen.errors import fail
from archlang.codegen.names import FILE_NAMES, Scope, identifier
from archlang.ir.graph import NONZERO_EPS, Child, Node
from archlang.ops.code import Helper
from archlang.report.diagnostic import Span

__all__ = ["Shared"]

_NONZERO = f'''\
def nonzero(w: Tensor) -> Tensor:
    """sign(w) * max(|w|, {NONZERO_EPS:g}), with sign(0) = 1: never zero."""
    size = w.abs().clamp_min({NONZERO_EPS!r})
    return torch.where(w < 0, -size, size)
'''
_CONSTRAINTS = {"nonzero": Helper("nonzero", _NONZERO)}


@dataclass
class Shared:
    """Collected while bodies are built; read by the file template."""

    helpers: dict[str, Helper] = field(default_factory=dict)
    externs: dict[tuple[str, str], str] = field(default_factory=dict)  # (module, class) -> local name
    applications: list[tuple[Child, Node]] = field(default_factory=list)
    swept: frozenset[tuple[str | None, str]] = frozenset()  # (torch class, weight) that the root initialises
    names: Scope = field(default_factory=lambda: Scope(FILE_NAMES))

    def help(self, helpers: Iterable[Helper]) -> None:
        """Includes helpers, what they need first."""
        for helper in helpers:
            if self.helpers.get(helper.name) == helper:
                continue
            if helper.name in self.helpers:
                raise ValueError(f"two helpers are called {helper.name!r}")
            self.help(helper.needs)
            self.helpers[helper.name] = helper
            for name in helper.defines or (helper.name,):
                if name not in self.names:
                    self.names.take(name)

    def constraint(self, name: str) -> str:
        """The helper that a constrained weight is read through."""
        helper = _CONSTRAINTS[name]
        self.help((helper,))
        return helper.name

    def extern(self, target: str, span: Span | None) -> str:
        """Imports `module:Class`; gives the name it has in the file."""
        module, _, name = target.partition(":")
        if not all(_is_name(w) for w in (*module.split("."), *name.split("."))):
            fail("ARC0704", f"`{target}` does not name a Python class", span, help='write it as "package.module:Class"')
        key = (module, name)
        if key not in self.externs:
            self.externs[key] = self.names.take(identifier(name.partition(".")[0]))
        return ".".join([self.externs[key], *name.split(".")[1:]])

    def same_instance(self, child: Child, node: Node) -> None:
        """One instance is applied with another graph: both must come out as the same code (checked at the end)."""
        self.applications.append((child, node))


def _is_name(word: str) -> bool:
    return word.isascii() and word.isidentifier() and not keyword.iskeyword(word)
