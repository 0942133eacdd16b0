"""The helper that generated files train reversible blocks with: the text of `runtime/rebuild.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from archlang.codegen.exprs import Raw
from archlang.codegen.names import FILE_NAMES
from archlang.ops.code import Helper

__all__ = [
    "BANNER",
    "MEASURE",
    "RUN",
    "UNCHANGED",
    "UNDO",
    "Definition",
    "imports",
    "names",
    "pasted",
    "reached",
    "rebuild",
    "runtime_text",
]

Definition = ast.ClassDef | ast.FunctionDef

_UNDO = '''\
def undo(module: nn.Module, *results: Any) -> Any:
    """What the module made these results of."""
    return module.inverse(*results)  # type: ignore[operator]
'''

_UNCHANGED = '''\
@contextmanager
def unchanged(*modules: nn.Module) -> Iterator[None]:
    """Within it, what modules in training write to their buffers goes to copies."""
    owners = [m for module in modules for m in module.modules() if m.training]
    before = [(m, dict(m._buffers)) for m in owners if m._buffers]
    try:
        for m, buffers in before:
            for name, b in buffers.items():
                m._buffers[name] = None if b is None else b.clone()
        yield
    finally:
        for m, buffers in before:
            m._buffers.update(buffers)
'''

BANNER = """\
# -- Training without stored activations ---------------------------------------------
# `rebuild` runs reversible blocks for autograd: so much of it as this file needs."""
RUN = Raw("steps.run")
MEASURE = Raw("steps.measure")


@cache
def runtime_text() -> str:
    return files("archlang.codegen.runtime").joinpath("rebuild.py").read_text(encoding="utf-8")


@cache
def _tree() -> ast.Module:
    """Parsed where it is wanted first: most files need none of it."""
    return ast.parse(runtime_text())


def imports() -> dict[str, str]:
    """For each name that the text imports, where it is from."""
    found = [n for n in _tree().body if isinstance(n, ast.ImportFrom) and n.module != "__future__"]
    return {a.name: n.module or "" for n in found for a in n.names}


def _definitions() -> dict[str, Definition]:
    return {n.name: n for n in _tree().body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}


def names() -> tuple[str, ...]:
    """What the text defines."""
    return tuple(_definitions())


@cache
def rebuild() -> Helper:
    """Stands for the text in bodies; which part of it a file needs is known when the file is written: `pasted`."""
    return Helper("rebuild", runtime_text(), defines=(*names(), *(n for n in imports() if n not in FILE_NAMES)))


def pasted(texts: Iterable[str]) -> str:
    """The definitions that these texts refer to, and those that they need in turn.

    Of `Steps` and `Plain` only the methods that something calls on `steps`.
    """
    definitions, trees = _definitions(), [ast.parse(text) for text in texts]
    found = reached(definitions, (word for tree in trees for word in _names(tree)))
    called = {word for node in (*trees, *found.values()) for word in _attributes(node, "steps")}
    lines = runtime_text().splitlines()
    parts = [_text(node, lines, called) for name, node in definitions.items() if name in found]
    return "\n\n\n".join(parts)


def reached(definitions: Mapping[str, Definition], names: Iterable[str]) -> dict[str, Definition]:
    """Those of these definitions that names lead to, and what they refer to in turn."""
    found: dict[str, Definition] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in definitions and name not in found:
            found[name] = definitions[name]
            pending += _names(found[name])
    return found


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _attributes(node: ast.AST, name: str) -> set[str]:
    """What is read of something, and of what its methods return."""
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and name in _names(n.value)}


def _text(node: Definition, lines: list[str], called: set[str]) -> str:
    left_out: set[int] = set()
    if node.name in ("Steps", "Plain"):
        methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
        wanted = {"__init__", *called} & methods.keys()
        while more := {w for m in wanted for w in _attributes(methods[m], "self")} & methods.keys() - wanted:
            wanted |= more
        for method in (m for name, m in methods.items() if name not in wanted):
            left_out |= {*range(method.lineno - 2, method.end_lineno or 0)}  # and the empty line before it
    return "\n".join(lines[i] for i in range(node.lineno - 1, node.end_lineno or 0) if i not in left_out)


UNCHANGED = Helper("unchanged", _UNCHANGED, defines=("unchanged", "Iterator", "contextmanager"))
UNDO = Helper("undo", _UNDO, defines=("undo", "Any"))
