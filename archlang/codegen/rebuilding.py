"""The helper that generated files train reversible blocks with: what `codegen/runtime` defines."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache

from archlang.codegen.carried import Carried, Definition, names
from archlang.codegen.exprs import Raw
from archlang.codegen.names import FILE_NAMES
from archlang.ops.code import Helper

__all__ = [
    "BANNER",
    "MEASURE",
    "RUN",
    "UNCHANGED",
    "UNDO",
    "defined",
    "imports",
    "pasted",
    "rebuild",
]

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

_RUNTIME = Carried("archlang.codegen.runtime", "rebuild", "steps", "again", "rewind")


def imports() -> dict[str, str]:
    """For each name that the text imports, where it is from."""
    return _RUNTIME.imports


def defined() -> tuple[str, ...]:
    """What the text defines."""
    return _RUNTIME.defined


@cache
def rebuild() -> Helper:
    """Stands for the text in bodies; which part of it a file needs is known when the file is written: `pasted`."""
    return Helper("rebuild", "", defines=(*defined(), *(n for n in imports() if n not in FILE_NAMES)))


def pasted(texts: Iterable[str]) -> str:
    """The definitions that these texts refer to, and those that they need in turn.

    Of `Steps` and `Plain` only the methods that something calls on `steps`.
    """
    trees = [ast.parse(text) for text in texts]
    found = _RUNTIME.reached(word for tree in trees for word in names(tree))
    called = {word for node in (*trees, *found.values()) for word in _attributes(node, "steps")}
    parts = [
        _RUNTIME.text(name, _uncalled(node, called) if name in ("Steps", "Plain") else ())
        for name, node in found.items()
    ]
    return "\n\n\n".join(parts)


def _uncalled(node: Definition, called: set[str]) -> list[ast.FunctionDef]:
    """The methods of a class that are neither called nor needed by those that are."""
    methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
    wanted = {"__init__", *called} & methods.keys()
    while more := {w for m in wanted for w in _attributes(methods[m], "self")} & methods.keys() - wanted:
        wanted |= more
    return [method for name, method in methods.items() if name not in wanted]


def _attributes(node: ast.AST, name: str) -> set[str]:
    """What is read of something, and of what its methods return."""
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and name in names(n.value)}


UNCHANGED = Helper("unchanged", _UNCHANGED, defines=("unchanged", "Iterator", "contextmanager"))
UNDO = Helper("undo", _UNDO, defines=("undo", "Any"))
