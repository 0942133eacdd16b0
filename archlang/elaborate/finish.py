"""Closing a graph: what was named and never used, side outputs, and equal consecutive calls folded into runs."""

from __future__ import annotations

from itertools import pairwise

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Session
from archlang.elaborate.values import Instance
from archlang.ir.graph import Graph, Node, Output

__all__ = ["finish"]


def finish(session: Session, builder: Builder) -> None:
    """Checks and canonicalises a graph whose body ran without errors."""
    for item in builder.owned:
        if not item.used:
            instance = item if isinstance(item, Instance) else item.proto
            path = item.path if isinstance(item, Instance) else item.path_of(0)
            fail(
                "ARC0405",
                f"the module `{path}` is never applied, so its sizes are unknown",
                instance.span,
                "made here",
                help="apply it to a wire, or remove it",
            )
    graph = builder.graph
    for path, wire in builder.emits:
        graph.outputs.append(Output((wire.value,), path.replace(".", "_"), training=wire.phase == "train"))
    session.emitted[id(graph)] = len(builder.emits)
    session.slots[id(graph)] = tuple(builder.slots)
    fold_runs(graph)


def fold_runs(graph: Graph) -> None:
    """`x -> f.0 -> f.1 -> ...` on equal graphs becomes one node with a count (what a `for` over layers makes)."""
    if not any(last.callee is node.callee is not None for last, node in pairwise(graph.nodes)):
        return
    uses: dict[int, int] = {}
    for node in graph.nodes:
        for value in node.inputs:
            uses[id(value)] = uses.get(id(value), 0) + 1
    for out in graph.outputs:
        for value in out.values:
            uses[id(value)] = uses.get(id(value), 0) + 1
    paths: dict[str, int] = {}
    for node in graph.nodes:
        if node.path is not None:
            paths[node.path] = paths.get(node.path, 0) + 1
    kept: list[Node] = []
    for node in graph.nodes:
        last = kept[-1] if kept else None
        if last is not None and _continues(graph, last, node, uses, paths):
            first = graph.children[last.path or ""]
            del graph.children[node.path or ""]
            last.count += node.count
            first.count = last.count
            last.outputs = node.outputs
        else:
            kept.append(node)
    graph.nodes = kept


def _continues(graph: Graph, last: Node, node: Node, uses: dict[int, int], paths: dict[str, int]) -> bool:
    """Whether `node` runs the next equal child on exactly what `last` gave."""
    if last.op != "call" or node.op != "call" or last.callee is not node.callee or last.path is None:
        return False
    if node.path is None or last.path not in graph.children or node.path not in graph.children:
        return False
    if last.inverted or node.inverted or last.log_det != node.log_det:
        return False
    if node.callee is None or any(port.context for port in node.callee.inputs):
        return False
    if last.modules or node.modules or last.phase != node.phase or last.sizes != node.sizes:
        return False
    if len(last.outputs) != len(node.inputs) or any(a is not b for a, b in zip(last.outputs, node.inputs, strict=True)):
        return False
    if [v.type for v in last.inputs] != [v.type for v in node.outputs] or len(last.inputs) != len(node.outputs):
        return False
    if any(uses.get(id(v), 0) != 1 for v in last.outputs) or paths[node.path] != 1 or paths[last.path] != 1:
        return False
    stem, _, number = last.path.rpartition(".")
    next_stem, _, next_number = node.path.rpartition(".")
    if not (number.isdigit() and next_number.isdigit()):
        return False
    return stem == next_stem and int(next_number) == int(number) + last.count
