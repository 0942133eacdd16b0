"""What is done to a graph around transforms: runs taken apart, changes put together, needs that are gone."""

from __future__ import annotations

from archlang.ir.graph import Constraint, Graph, Node, Value
from archlang.ir.paths import Paths
from archlang.ops.base import Context, registry
from archlang.optimize.edit import named
from archlang.optimize.weights import DROP, Change
from archlang.records import replace

__all__ = ["follow", "forgotten", "members", "merged", "relieve"]


def merged(changes: list[Change]) -> list[Change]:
    """The same changes, with what goes one after the other in one."""
    found: list[Change] = []
    for change in changes:
        if found and change.function == found[-1].function == DROP:
            found[-1] = Change(DROP, drops=(*found[-1].drops, *change.drops))
        else:
            found.append(change)
    return found


def members(node: Node) -> list[Node]:
    """The nodes that run each member of a run by itself."""
    if node.count == 1:
        return [node]
    found: list[Node] = []
    streams = node.inputs[: len(node.outputs)]
    context = node.inputs[len(node.outputs) :]
    for path in node.paths:
        last = len(found) == node.count - 1
        outputs = node.outputs if last else tuple(Value(v.type) for v in node.outputs)
        found.append(
            Node(
                node.op, (*streams, *context), outputs, node.span, node.attrs, path, node.callee, 1, node.sizes,
                node.modules, node.phase, node.inverted, node.log_det,
            )
        )  # fmt: skip
        streams = outputs
    return found


def follow(graph: Graph) -> None:
    """Lets children be what their nodes run, where those that ran what they were are gone (a module that is applied to
    several types has a graph for each)."""
    for child in graph.children.values():
        runs = [node.callee for node in graph.nodes if node.path == child.path and node.callee is not None]
        if runs and not any(callee is child.graph for callee in runs):
            child.graph = runs[0]


def forgotten(graph: Graph) -> list[str]:
    """Takes away second names of layers that no node runs any more, which would keep them: these names."""
    gone = [second for second, first in graph.aliases.items() if not _runs(graph, Paths(graph).canonical(first))]
    for second in gone:
        del graph.aliases[second]
    return gone


def _runs(graph: Graph, path: str) -> bool:
    """Whether something under a path runs: a node names it, or what it is inside of or has inside of it."""
    used = {p for node in graph.nodes for p in named(node)}
    if path in used or any(p.startswith(f"{path}.") for p in used):
        return True
    for child in graph.children.values():
        for own in child.paths:
            if path.startswith(f"{own}.") and own in used:
                return child.graph is None or _runs(child.graph, path.removeprefix(f"{own}."))
    return False


def relieve(graph: Graph) -> None:
    """Takes away what only nodes that are gone needed of sizes; what the author asked for stays."""
    needed = {replace(c, phase=c.phase or node.phase).key for node in graph.nodes for c in _needs(node)}
    graph.constraints = [c for c in graph.constraints if c.rule in ("language", "promise") or c.key in needed]


def _needs(node: Node) -> list[Constraint]:
    """What a node needs of symbolic sizes, in any phase."""
    if node.callee is not None:
        return [c.at(node.sizes) for c in node.callee.constraints]
    cx = Context()
    op = registry().get(node.op)
    if op is not None:
        op.infer([v.type for v in (node.outputs if node.inverted else node.inputs)], node.attrs, cx)
    return cx.constraints
