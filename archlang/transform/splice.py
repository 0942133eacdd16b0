"""Graphs made elsewhere, put into a graph: replacements, layers between networks, the back of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from archlang.elaborate.errors import fail
from archlang.ir.graph import Child, Graph, TensorType, Value
from archlang.optimize.clone import copy_node
from archlang.records import replace
from archlang.report.diagnostic import ArchError, Span
from archlang.shapes.dim import Size
from archlang.syntax import tree
from archlang.transform.sequence import shown
from archlang.transform.work import Work

__all__ = ["elaborated", "placed", "splice"]

_LABEL = "m"  # the path of a module until it has its place


def elaborated(
    work: Work,
    expr: tree.Expr,
    inputs: Sequence[Value],
    form: tuple[Sequence[int | None], int],
    wanted: Sequence[TensorType],
    name: str,
    where: Span,
    replaced: Span | None = None,
) -> Graph:
    """What a module makes of these values, which must be of the types that are wanted.

    form: how inputs are grouped, as `Fragments.applied` takes it. name, replaced: of what stands or stood there.
    """
    try:
        made = work.fragments.applied(expr, _LABEL, [v.type for v in inputs], *form)
    except ArchError as error:
        note = f"in place of `{name}`, on {shown(inputs)}"
        raise ArchError([replace(d, notes=(*d.notes, note)) for d in error.diagnostics]) from None
    results = made.results
    if [v.type for v in results] != list(wanted):
        expected = shown([Value(kind) for kind in wanted])
        message = f"`{name}` makes {expected} of {shown(inputs)}, and what is put there {shown(results)}"
        fail("ARC0868", message, where, "of another type", related=[(replaced, "replaced here")] if replaced else [])
    work.adopt(made)
    return made


def placed(path: str, at: str) -> str:
    """The path, with that of the module in the place of its label."""
    return at + path.removeprefix(_LABEL)


def splice(
    work: Work,
    graph: Graph,
    place: int,
    made: Graph,
    inputs: Sequence[Value],
    named: Callable[[str], str],
    sizes: Mapping[str, Size] | None = None,
    phase: str | None = None,
) -> list[Value]:
    """Puts a graph's nodes and children into another, from node `place` on; gives what its results have become.

    named: the paths of children; sizes: of the symbols of `made` here, where they are not the same.
    """
    values = {id(v): own for v, own in zip(made.entries, inputs, strict=True)}
    for i, inner in enumerate(made.nodes):
        copy = copy_node(inner, values, sizes or {}, {})
        copy.path = None if copy.path is None else named(copy.path)
        copy.modules = {slot: named(path) for slot, path in copy.modules.items()}
        copy.phase = copy.phase or phase
        graph.nodes.insert(place + i, copy)
    for c in made.children.values():
        path = named(c.path)
        graph.children[path] = Child(path, c.span, c.op, c.attrs, c.weights, c.graph, c.count)
    graph.weights |= {named(path): replace(decl, name=named(path)) for path, decl in made.weights.items()}
    graph.aliases |= {named(path): named(target) for path, target in made.aliases.items()}
    work.need(graph, [c.at(sizes or {}) for c in made.constraints if c.rule != "promise"])
    return [values[id(v)] for v in made.results]
