"""Text that generated files carry along: definitions of modules of ours, which are linted and tested as such."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property
from importlib.resources import files

__all__ = ["Carried", "Definition", "names"]

Definition = ast.ClassDef | ast.FunctionDef


class Carried:
    """Modules of a package, as definitions that a file takes one by one. They are read where one is wanted first: most
    files need none."""

    def __init__(self, package: str, *modules: str) -> None:
        """modules: in the order in which a file gets what it takes of them."""
        self._package = package
        self._modules = modules

    @cached_property
    def _texts(self) -> list[str]:
        package = files(self._package)
        return [package.joinpath(f"{module}.py").read_text(encoding="utf-8") for module in self._modules]

    @cached_property
    def _found(self) -> dict[str, tuple[Definition, list[str]]]:
        """The definitions by name, each with the lines of its module."""
        return {
            node.name: (node, lines)
            for text, lines in ((text, text.splitlines()) for text in self._texts)
            for node in ast.parse(text).body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef))
        }

    @property
    def defined(self) -> tuple[str, ...]:
        """What the modules define, in order."""
        return tuple(self._found)

    @cached_property
    def imports(self) -> dict[str, str]:
        """For each name that the modules import, but from each other, where it is from."""
        nodes = [node for text in self._texts for node in ast.parse(text).body if isinstance(node, ast.ImportFrom)]
        return {
            alias.name: node.module
            for node in nodes
            if node.module and node.module != "__future__" and not node.module.startswith(self._package)
            for alias in node.names
        }

    def reached(self, wanted: Iterable[str]) -> dict[str, Definition]:
        """Those definitions that these names lead to, and what they refer to in turn; in order."""
        found: set[str] = set()
        pending = list(wanted)
        while pending:
            name = pending.pop()
            if name in self._found and name not in found:
                found.add(name)
                pending += names(self._found[name][0])
        return {name: node for name, (node, _) in self._found.items() if name in found}

    def text(self, name: str, left_out: Iterable[Definition] = ()) -> str:
        """A definition as it stands there, without these methods."""
        node, lines = self._found[name]
        # A method goes with the empty line before it.
        gone = {i for method in left_out for i in range(method.lineno - 2, method.end_lineno or 0)}
        return "\n".join(lines[i] for i in range(node.lineno - 1, node.end_lineno or 0) if i not in gone)


def names(node: ast.AST) -> set[str]:
    """The variables that code reads or writes."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
