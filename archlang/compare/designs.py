"""Compares two specs design by design: types, requirements, structure, state-dict keys and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from archlang.compare.changes import Change, DesignDiff, KeyChange, SpecDiff
from archlang.compare.figures import figures, sizes_for
from archlang.compare.moves import find_moves, listed, renamed
from archlang.compare.structure import structure
from archlang.ir.graph import Constraint, Graph, Program, WeightDecl
from archlang.ir.walk import parameters

if TYPE_CHECKING:
    from archlang.elaborate import Limits, LoadedModule
    from archlang.syntax.tree import Expr

__all__ = ["compare_programs", "compare_specs"]


def compare_specs(
    old: LoadedModule,
    new: LoadedModule,
    names: tuple[str, str],
    entry: str | None = None,
    values: Mapping[str, Expr] | None = None,
    at: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> SpecDiff:
    """Every design that both files have (or only `entry`), and the names of those that one has.

    Where each file has one design, these are compared whatever they are called. Raises ArchError.
    """
    from archlang.elaborate import elaborate

    a, b = ([entry], [entry]) if entry else (_designs(old), _designs(new))
    pairs = [(name, name) for name in b if name in a]
    if not pairs and len(a) == len(b) == 1:
        pairs = [(a[0], b[0])]
    found = []
    for x, y in pairs:
        before = elaborate(old, x, values, limits).program
        after = elaborate(new, y, values, limits).program
        found.append(compare_programs(before, after, y if x == y else f"{x} -> {y}", at))
    added = tuple(n for n in b if n not in {y for _, y in pairs})
    removed = tuple(n for n in a if n not in {x for x, _ in pairs})
    return SpecDiff(*names, added, removed, tuple(found))


def _designs(module: LoadedModule) -> list[str]:
    """Blocks that stand alone and that no other block of the file uses."""
    from archlang.elaborate.entry import stands_alone, used_blocks

    used = used_blocks(module)
    return [name for name, block in module.blocks.items() if name not in used and stands_alone(module, block)]


def compare_programs(old: Program, new: Program, name: str, at: Mapping[str, int] | None = None) -> DesignDiff:
    """One design on both sides."""
    sizes = sizes_for(old.root, new.root, at or {})
    moves = find_moves(old, new)
    return DesignDiff(
        name,
        tuple(_types(old.root, new.root)),
        tuple(_requirements(old.root, new.root)),
        structure(old, new, moves),
        listed(moves),
        tuple(_keys(old, new, moves)),
        figures(old, new, sizes),
        sizes,
    )


def _types(old: Graph, new: Graph) -> Iterable[Change]:
    a, b = _signature(old), _signature(new)
    for name in {**a, **b}:
        if a.get(name) != b.get(name):
            kind = "added" if name not in a else "removed" if name not in b else "type"
            yield Change(kind, name, a.get(name, ""), b.get(name, ""))


def _signature(graph: Graph) -> dict[str, str]:
    """Inputs and outputs with their types, as the user would name them."""
    found = {}
    for port in graph.inputs:
        types = ", ".join(str(v.type) for v in port.values)
        found[f"input `{port.name}`"] = types if port.kind == "tensor" else f"tensors({types})"
    for i, output in enumerate(graph.outputs):
        name = f"output `{output.name}`" if output.name else "output" if i == 0 else f"output {i + 1}"
        types = ", ".join(str(v.type) for v in output.values)
        found[name + (" (in training)" if output.training else "")] = types
    return found


def _requirements(old: Graph, new: Graph) -> Iterable[Change]:
    """What a design needs of its input sizes."""
    a, b = dict.fromkeys(map(_requirement, old.constraints)), dict.fromkeys(map(_requirement, new.constraints))
    yield from (Change("removed", text) for text in a if text not in b)
    yield from (Change("added", text) for text in b if text not in a)


def _requirement(constraint: Constraint) -> str:
    return f"{constraint}" + (f" in {constraint.phase}" if constraint.phase else "")


def _keys(old: Program, new: Program, moves: Mapping[str, str]) -> Iterable[KeyChange]:
    a = {renamed(e.key, moves): _tensor(e.decl) for e in parameters(old) if e.decl.persistent}
    b = {e.key: _tensor(e.decl) for e in parameters(new) if e.decl.persistent}
    for key in {**a, **b}:
        if a.get(key) != b.get(key):
            yield KeyChange(key, a.get(key), b.get(key))


def _tensor(decl: WeightDecl) -> str:
    shape = "[" + ", ".join(map(str, decl.shape)) + "]"
    return shape if decl.dtype == "float" else f"{decl.dtype}{shape}"
