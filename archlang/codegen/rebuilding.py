"""The helper that generated files train reversible blocks with: the text of `runtime/rebuild.py`."""

from __future__ import annotations

import ast
from functools import cache
from importlib.resources import files

from archlang.codegen.exprs import Raw
from archlang.codegen.names import FILE_NAMES
from archlang.ops.code import Helper

__all__ = ["BANNER", "IMPORTS", "NAMES", "REBUILD", "RUN", "UNCHANGED", "UNDO", "runtime_text"]

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
# The same in every file: `rebuild` runs reversible blocks for autograd."""
RUN = Raw("steps.run")


@cache
def runtime_text() -> str:
    return files("archlang.codegen.runtime").joinpath("rebuild.py").read_text(encoding="utf-8")


def _definitions() -> tuple[str, dict[str, str], tuple[str, ...]]:
    """The text after the imports; for each imported name, where it is from; the names that the text defines."""
    text = runtime_text()
    tree = ast.parse(text)
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module != "__future__"]
    start = max(n.end_lineno or 0 for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom)))
    sources = {a.name: n.module or "" for n in imports for a in n.names}
    names = tuple(n.name for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)))
    return "\n".join(text.splitlines()[start:]).strip("\n") + "\n", sources, names


_TEXT, IMPORTS, NAMES = _definitions()
REBUILD = Helper("rebuild", _TEXT, defines=(*NAMES, *(n for n in IMPORTS if n not in FILE_NAMES)))
UNCHANGED = Helper("unchanged", _UNCHANGED, defines=("unchanged", "Iterator", "contextmanager"))
UNDO = Helper("undo", _UNDO, defines=("undo", "Any"))
