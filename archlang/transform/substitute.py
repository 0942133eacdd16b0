"""Ops and blocks replaced by others of the same type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.elaborate.errors import fail
from archlang.ir.graph import Child, Graph, Node, Program, WeightDecl
from archlang.ir.paths import join
from archlang.ir.walk import parameters
from archlang.optimize.clone import copy_node
from archlang.optimize.weights import DROP, Change
from archlang.records import replace
from archlang.report.diagnostic import ArchError
from archlang.syntax import tree
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import counted, shown
from archlang.transform.work import Work, fixed

__all__ = ["put", "substitute"]

_LABEL = "m"  # what a replacement is called until it has its place


@transforms("substitute", Parameter("old", "any"), Parameter("new", "module"), Parameter("within", "name", ""))
def substitute(work: Work, given: Given, old: Any, new: tree.Expr, within: str) -> str:
    """Replaces layers by a block of the spec or any other module that makes the same types of the same types.

    old: a path, in which `*` and `**` may stand for names, or the bare name of an op or block (`relu`), then everywhere
    or in blocks whose path matches `within`. Tensors that the replacement has under the same names carry over.
    """
    done = fresh = 0
    matches = list(_matches(work, given, old, within))
    times = work.instances()
    for graph, node, prefix in matches:
        if node.path is not None and sum(n.path == node.path for n in graph.nodes) > 1:
            fixed(join(prefix, node.path), "is applied several times", given.at("old"))
        tensors = put(work, graph, node, new, join(prefix, node.path or f"({node.op})"), given)
        fresh += tensors * times[id(graph)]
        done += times[id(graph)]
    if not done:
        fail("ARC0862", f"nothing in `{work.root.block}` matches", given.at("old"), "no such layer")
    work.lift()
    started = f", with {counted(fresh, 'tensor')} to be trained anew" if fresh else ""
    return f"`{new.span.text}` in place of {counted(done, 'layer')}{started}: another function"


def _matches(work: Work, given: Given, old: Any, within: str) -> Iterator[tuple[Graph, Node, str]]:
    """The nodes to replace, with their graphs, which are opened, and the path that leads there."""
    where = given.at("old")
    if isinstance(old, str):
        for path in work.matching(old, where):
            place = work.find(path, where)
            yield from ((place.graph, node, place.prefix) for node in place.nodes)
        return
    named = work.fragments.op_or_block(old)
    if named is None:
        fail("ARC0861", "`old` of `substitute` is a path, or the name of an op or block", where, "this is neither")
    if within:
        outer = work.matching(within, given.at("within"))
        inner = [p for p in work.paths(blocks=True) if any(p == o or p.startswith(f"{o}.") for o in outer)]
        graphs = [(work.inside(path, where).graph, path) for path in inner]
    else:
        graphs = [(graph, "") for graph in work.program.graphs]
    for graph, prefix in graphs:
        nodes = [n for n in graph.nodes if _named(n, *named)]
        if nodes and not within:
            for node in nodes:
                work.refuse_special(node, prefix, where)
            work.open(graph)
            nodes = [n for n in graph.nodes if _named(n, *named)]
        yield from ((graph, node, prefix) for node in nodes)


def _named(node: Node, kind: str, name: str) -> bool:
    return node.op == name if kind == "op" else node.callee is not None and node.callee.block == name


def put(work: Work, graph: Graph, node: Node, new: tree.Expr, name: str, given: Given) -> int:
    """Puts a module in the place of a node; how many of its tensors are new. name: of the node, for messages."""
    where = given.at("new")
    lists, context = _form(node)
    types = [v.type for v in node.inputs]
    try:
        made = work.fragments.applied(new, _LABEL, types, lists, context)
    except ArchError as error:
        note = f"in place of `{name}`, on {shown(node.inputs)}"
        raise ArchError([replace(d, notes=(*d.notes, note)) for d in error.diagnostics]) from None
    results = [v for output in made.outputs for v in output.values]
    if [v.type for v in results] != [v.type for v in node.outputs]:
        message = f"`{name}` makes {shown(node.outputs)} of {shown(node.inputs)}, and its replacement {shown(results)}"
        fail("ARC0868", message, where, "of another type", related=[(node.span, "replaced here")] if node.span else [])
    work.adopt(made)
    edit = work.editor(graph)
    path = node.path or _free(graph, made.nodes[-1].callee.block if made.nodes and made.nodes[-1].callee else node.op)
    before = _tensors(graph.children.get(path))
    values = {id(v): own for port, own in zip(made.inputs, node.inputs, strict=True) for v in port.values}
    place = graph.nodes.index(node)
    for inner in made.nodes:
        copy = copy_node(inner, values, {}, {})
        copy.path = None if copy.path is None else _placed(copy.path, path)
        copy.modules = {slot: _placed(p, path) for slot, p in copy.modules.items()}
        copy.phase = copy.phase or node.phase
        graph.nodes.insert(place, copy)
        place += 1
    edit = work.editor(graph)
    for old, value in zip(node.outputs, results, strict=True):
        edit.replace(old, values[id(value)])
    edit.remove(node)
    mine = [
        Child(_placed(c.path, path), c.span, c.op, c.attrs, c.weights, c.graph, c.count) for c in made.children.values()
    ]
    new_children: dict[str, Child] = {}
    for at, child in graph.children.items():
        new_children |= {c.path: c for c in mine} if at == path else {at: child}
    graph.children = new_children | {c.path: c for c in mine}
    work.need(graph, made.constraints)
    after = _tensors(graph.children.get(path))
    kept = {key for key, decl in before.items() if key in after and after[key].shape == decl.shape}
    gone = [join(path, key) for key in before if key not in kept] if kept else [path] if before else []
    if gone:
        work.changes.setdefault(id(graph), []).append(Change(DROP, drops=tuple(gone)))
    return sum(key not in kept for key, decl in after.items() if decl.persistent)


def _form(node: Node) -> tuple[list[int | None], int]:
    """How the inputs of a node are given: for each, the number of wires in a list; how many of them are context."""
    if node.callee is None:
        return [None] * len(node.inputs), 0
    ports = node.callee.inputs
    lists = [len(port.values) if port.kind == "tensors" else None for port in ports if port.values]
    return lists, sum(port.context for port in ports if port.values)


def _placed(path: str, at: str) -> str:
    return at + path.removeprefix(_LABEL)


def _free(graph: Graph, base: str) -> str:
    """A path that no child has."""
    path, number = base, 1
    while any(p == path or p.startswith(f"{path}.") for p in (*graph.children, *graph.weights)):
        number += 1
        path = f"{base}_{number}"
    return path


def _tensors(child: Child | None) -> dict[str, WeightDecl]:
    """The tensors of a child, by their keys in it."""
    if child is None:
        return {}
    if child.graph is None:
        return {decl.name: decl for decl in child.weights}
    return {entry.key: entry.decl for entry in parameters(Program(child.graph, []))}
