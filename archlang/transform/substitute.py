"""Ops and blocks replaced by others of the same type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.reserved import MODULE_ATTRIBUTES
from archlang.ir.graph import Child, Graph, Node, Program, WeightDecl
from archlang.ir.paths import free_path, join
from archlang.ir.walk import parameters
from archlang.optimize.weights import DROP, Change
from archlang.syntax import tree
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import counted
from archlang.transform.splice import elaborated, placed, splice
from archlang.transform.work import Work, fixed

__all__ = ["put", "substitute"]


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
    types = [v.type for v in node.outputs]
    made = elaborated(work, new, node.inputs, _form(node), types, name, given.at("new"), node.span)
    callee = made.nodes[-1].callee if made.nodes else None
    path = node.path or _free(graph, callee.block if callee is not None else node.op)
    before = _tensors(graph.children.get(path))
    order = list(graph.children)
    graph.children.pop(path, None)
    place = graph.nodes.index(node)
    results = splice(work, graph, place, made, node.inputs, lambda inner: placed(inner, path), phase=node.phase)
    edit = work.editor(graph)
    for old, value in zip(node.outputs, results, strict=True):
        edit.replace(old, value)
    edit.remove(node)
    graph.children = dict(sorted(graph.children.items(), key=lambda item: _rank(item[0], path, order)))
    after = _tensors(graph.children.get(path))
    kept = {key for key, decl in before.items() if key in after and after[key].shape == decl.shape}
    gone = [join(path, key) for key in before if key not in kept] if kept else [path] if before else []
    if gone:
        work.changes.setdefault(id(graph), []).append(Change(DROP, drops=tuple(gone)))
    return sum(key not in kept for key, decl in after.items() if decl.persistent)


def _rank(child: str, path: str, order: list[str]) -> int:
    """The place of a child among those there were: of what is new, the replaced one's."""
    known = child if child in order else path
    return order.index(known) if known in order else len(order)


def _form(node: Node) -> tuple[list[int | None], int]:
    """How the inputs of a node are given: for each, the number of wires in a list; how many of them are context."""
    if node.callee is None:
        return [None] * len(node.inputs), 0
    ports = node.callee.inputs
    lists = [len(port.values) if port.kind == "tensors" else None for port in ports if port.values]
    return lists, sum(port.context for port in ports if port.values)


def _free(graph: Graph, base: str) -> str:
    """A path that nothing has, for what the spec gives no label to."""
    return free_path(graph, f"{base}_" if base in MODULE_ATTRIBUTES else base)


def _tensors(child: Child | None) -> dict[str, WeightDecl]:
    """The tensors of a child, by their keys in it."""
    if child is None:
        return {}
    if child.graph is None:
        return {decl.name: decl for decl in child.weights}
    return {entry.key: entry.decl for entry in parameters(Program(child.graph, []))}
