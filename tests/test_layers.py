"""Imports run downwards: a stage knows the ones before it in the order in which a spec flows, never those after."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import archlang

ROOT = Path(archlang.__file__).parent
# Each line is one level; packages of one level do not import each other.
LEVELS = [
    {"records"},
    {"report", "shapes"},
    {"ir"},
    {"ops"},
    {"reversible", "syntax"},
    {"elaborate"},
    {"analyze"},
    {"optimize"},
    {"interpret", "codegen", "keys", "inputs", "groups", "unparse"},
    {"verify", "compare", "prune", "budget"},
    {"transform"},
    {"api"},
    {"loading"},
    {"certify", "importer"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: i for i, level in enumerate(LEVELS) for name in level}
# The public surface looks names up where they are defined, on first use.
FREE = {"__init__"}
# Calls up within a function that has no other way; each with its reason.
ALLOWED = {
    ("api", "loading"),  # `build` is public beside `compile`, and needs torch, which `loading` keeps apart
}
# Files that are there for torch alone. They are imported in functions, or by each other.
TORCH = {
    "certify/certificate.py",
    "certify/drift.py",
    "certify/inverses.py",
    "certify/measure.py",
    "certify/remember.py",
    "certify/report.py",
    "codegen/runtime/again.py",
    "codegen/runtime/rebuild.py",
    "codegen/runtime/rewind.py",
    "codegen/runtime/steps.py",
    "optimize/runtime/weights.py",
}
FILES = sorted(ROOT.rglob("*.py"))


def owner(path: Path) -> str:
    """The package (or top-level module) that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """Packages of archlang that a file imports, at its top or inside a function; types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            skipped.update(child for statement in node.body for child in ast.walk(statement))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found.update(name.split(".")[1] for name in names if name.startswith("archlang.") and name.count("."))
    return {name for name in found if name in LEVEL}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    here = owner(path)
    if here in FREE:
        return
    assert here in LEVEL, f"say in LEVELS where `{here}` belongs"
    for name in sorted(imported(path) - {here}):
        assert LEVEL[name] < LEVEL[here] or (here, name) in ALLOWED, f"{path.relative_to(ROOT)} imports {name}"


def test_torch_is_imported_in_functions_only() -> None:
    """What needs torch says so when it is called; importing any other file of archlang does not."""
    needs = {"torch"} | {f"archlang.{name.removesuffix('.py').replace('/', '.')}" for name in TORCH}
    for path in FILES:
        if path.relative_to(ROOT).as_posix() in TORCH:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = [name for name in names if name in needs or name.startswith("torch.")]
            assert not found, f"{path.relative_to(ROOT)} imports {found}"
