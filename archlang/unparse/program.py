"""Writes a program as a spec: a block for each graph."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from archlang.elaborate import elaborate, load
from archlang.ir.graph import Graph, Program
from archlang.ir.paths import Paths
from archlang.ir.walk import Entry, parameters
from archlang.report.diagnostic import ArchError, Diagnostic, Source
from archlang.unparse.block import Setting, Unwritable, Writer
from archlang.unparse.draft import Draft
from archlang.unparse.family import Families, Family
from archlang.unparse.inline import in_place
from archlang.unparse.marks import Called, Initial
from archlang.unparse.names import free_name

__all__ = ["to_arch"]

LONG, OFTEN = 16, 3  # characters and uses of an initialiser that gets a name


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
    families = _families(program)
    initials = _initials(families)
    lets = [f"let {name} = {text}\n" for text, name in initials.items()]
    blocks = [families.text(family, initials) for family in families.all]
    return "\n".join(["".join(lets), *blocks] if lets else blocks)


def _families(program: Program) -> Families:
    """The blocks, and which of the graphs each is for."""
    kin = _kin(program)
    inlined = in_place(program, kin)
    reserved: set[str] = set()
    for graph in program.graphs:
        reserved.add(free_name(graph.block if graph is not program.root else graph.name, reserved))
    families, forms = Families(), dict[Hashable, int]()
    setting = Setting(program, reserved, inlined, families.alike)
    for graph in program.graphs:
        if id(graph) in inlined or kin[id(graph)][0] is not graph:
            continue
        drafts = [Writer(one, kin[id(graph)], setting).draft() for one in kin[id(graph)]]
        form = _common(drafts, families)
        number = forms.setdefault(form if graph is not program.root else None, len(families.all))
        if number == len(families.all):
            name = graph.block if graph is not program.root else graph.name
            families.all.append(Family(free_name(name, {family.name for family in families.all})))
        for one in kin[id(graph)]:
            families.number[id(one)] = number
            families.member[id(one)] = len(families.all[number].members)
        families.all[number].members.append(drafts[0])
    return families


def _common(drafts: Sequence[Draft], families: Families) -> Hashable:
    """The form of blocks that must be one and the same."""
    found = {
        (draft.form(families.number), tuple(mark for mark in draft.found if not isinstance(mark, Called)))
        for draft in drafts
    }
    if len(found) > 1:
        graph = drafts[0].graph
        raise Unwritable(
            f"`{graph.block}` is applied to inputs of several types, which it treats differently", graph.span
        )
    return found.pop()[0]


def _initials(families: Families) -> dict[str, str]:
    """Names for initialisers that many layers have and that are long."""
    uses: dict[str, list[str]] = {}
    taken: set[str] = set()
    for family in families.all:
        taken |= family.members[0].taken
        for mark in family.members[0].found:
            if isinstance(mark, Initial) and len(mark.text) >= LONG:
                uses.setdefault(mark.text, []).append(mark.op)
    names: dict[str, str] = {}
    for text, ops in uses.items():
        if len(ops) >= OFTEN:
            names[text] = free_name(f"{ops[0]}_init", {*taken, *names.values()})
    return names


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
