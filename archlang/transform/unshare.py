"""Blocks with layers that are not theirs alone, written out where they are called, so that each layer has one owner."""

from __future__ import annotations

from archlang.ir.graph import Child, Graph, Node, Value
from archlang.ir.paths import Paths, join
from archlang.optimize.clone import copy_node
from archlang.optimize.weights import DROP, Change, within
from archlang.records import replace
from archlang.transform.work import Work

__all__ = ["unshared", "written_out"]


def unshared(work: Work, graph: Graph) -> None:
    """Writes out what an opened graph lends its layers to, or runs on several types; second names are gone.

    The graph borrows nothing itself.
    """
    paths = Paths(graph)
    for node in graph.nodes:
        node.path = None if node.path is None else paths.canonical(node.path)
        node.modules = {slot: paths.canonical(path) for slot, path in node.modules.items()}
    while (path := next((n.path for n in graph.nodes if _shares(graph, n)), None)) is not None:
        written_out(work, graph, path)
    if graph.aliases:
        work.changes.setdefault(id(graph), []).append(Change(DROP, drops=tuple(graph.aliases)))
        graph.aliases = {}


def _shares(graph: Graph, node: Node) -> bool:
    """Whether a call runs layers of its caller, or its block runs on another type elsewhere."""
    if node.op != "call" or node.callee is None or node.path is None or node.inverted or node.log_det:
        return False
    child = graph.children.get(node.path)
    return bool(node.callee.borrowed) or child is None or child.graph is not node.callee


def written_out(work: Work, graph: Graph, path: str) -> None:
    """Puts the nodes of a block in the place of its calls in an opened graph, whose layers its layers become."""
    child = graph.children.pop(path)
    given: dict[int, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node.inputs = tuple(given.get(id(v), v) for v in node.inputs)
        if node.path != path or node.callee is None:
            nodes.append(node)
            continue
        results = _body(node, nodes)
        given |= {id(old): new for old, new in zip(node.outputs, results, strict=True)}
        for old, new in zip(node.outputs, results, strict=True):
            new.name = new.name or old.name
        _adopt(graph, node.callee, path)
    for output in graph.outputs:
        output.values = tuple(given.get(id(v), v) for v in output.values)
    graph.nodes = nodes
    assert child.graph is not None
    work.changes.setdefault(id(graph), []).extend(within(c, path) for c in work.changes.get(id(child.graph), ()))
    work.unrolled(graph)


def _body(call: Node, nodes: list[Node]) -> list[Value]:
    """Adds copies of a callee's nodes, as the caller has them; its results."""
    callee, at = call.callee, call.path
    assert callee is not None and at is not None
    paths = Paths(callee)

    def here(path: str) -> str:
        own = paths.canonical(path)
        lent = None if paths.owned(own) is not None else paths.lend(own, call.modules)
        return join(at, own) if lent is None else lent

    entries = [v for port in callee.inputs for v in port.values]
    values = {id(v): given for v, given in zip(entries, call.inputs, strict=True)}
    for inner in callee.nodes:
        copy = copy_node(inner, values, call.sizes, {})
        copy.path = None if copy.path is None else here(copy.path)
        copy.modules = {slot: here(path) for slot, path in copy.modules.items()}
        copy.phase = copy.phase or call.phase
        nodes.append(copy)
    return [values[id(v)] for output in callee.outputs for v in output.values]


def _adopt(graph: Graph, callee: Graph, at: str) -> None:
    """The callee's layers become the caller's, where they are not yet."""
    for child in callee.children.values():
        path = join(at, child.path)
        new = Child(path, child.span, child.op, child.attrs, child.weights, child.graph, child.count)
        graph.children.setdefault(path, new)
    for path, decl in callee.weights.items():
        graph.weights.setdefault(join(at, path), replace(decl, name=join(at, path)))
    graph.aliases |= {join(at, second): join(at, first) for second, first in callee.aliases.items()}
