"""Writes a program as a spec: a block for each graph."""

from __future__ import annotations

from archlang.elaborate import elaborate, load
from archlang.ir.graph import Graph, Program
from archlang.ir.paths import Paths
from archlang.ir.walk import Entry, parameters
from archlang.report.diagnostic import ArchError, Diagnostic, Source
from archlang.unparse.block import Unwritable, Writer, free_name

__all__ = ["to_arch"]


def to_arch(program: Program) -> str:
    """The text of a spec whose last block elaborates to an equal program: the same keys, types and operations.

    Lists as inputs or results of inner blocks become single wires; where an instance is applied to inputs of several
    types, there is one block for all. Raises ArchError (ARC0810) for what cannot be written down.
    """
    try:
        text = _text(program)
    except Unwritable as error:
        help = "`--emit ir` and `--emit json` show the graph"
        raise ArchError(Diagnostic("ARC0810", error.message, error.span, help=help)) from None
    again = elaborate(load(Source("<text>", text)), None, {}).program
    if {*map(_tensor, parameters(again))} != {*map(_tensor, parameters(program))}:  # a bug, which must not pass
        raise AssertionError(f"`{program.root.name}` as a spec has other keys")
    return text


def _tensor(entry: Entry) -> tuple[object, ...]:
    return entry.key, entry.decl.shape, entry.decl.dtype, entry.decl.kind, entry.alias_of


def _text(program: Program) -> str:
    kin = _kin(program)
    names: dict[int, str] = {}
    for graph in program.graphs:
        first = kin[id(graph)][0]
        names[id(graph)] = names[id(first)] if first is not graph else free_name(graph.name, {*names.values()})
    texts: list[str] = []
    for graph in program.graphs:
        if kin[id(graph)][0] is graph:
            found = {Writer(one, program, names, kin[id(graph)]).text() for one in kin[id(graph)]}
            if len(found) > 1:
                what = f"`{graph.block}` is applied to inputs of several types, which it treats differently"
                raise Unwritable(what, graph.span)
            texts += found
    return "\n".join(texts)


def _kin(program: Program) -> dict[int, list[Graph]]:
    """For each graph those that an instance of it may run, in the order of the program: as a rule, only itself."""
    family = {id(graph): [graph] for graph in program.graphs}
    waiting: list[tuple[Graph, Graph]] = []
    for graph in program.graphs:
        paths = Paths(graph)
        for node in graph.nodes:
            child = paths.child(node.path) if node.callee is not None and node.path is not None else None
            if node.callee is not None and child is not None and child.graph is not None:
                waiting.append((child.graph, node.callee))
    order = {id(graph): i for i, graph in enumerate(program.graphs)}
    while waiting:
        a, b = waiting.pop()
        if family[id(a)] is family[id(b)]:
            continue
        both = sorted((*family[id(a)], *family[id(b)]), key=lambda graph: order[id(graph)])
        for graph in both:
            family[id(graph)] = both
        others = {path: child.graph for path, child in b.children.items()}
        pairs = [(child.graph, others.get(path)) for path, child in a.children.items()]
        pairs += [(x.callee, y.callee) for x, y in zip(a.nodes, b.nodes, strict=False)]
        waiting += [(x, y) for x, y in pairs if x is not None and y is not None]
    return family
