"""Which compositions stand where they are used, as `chain([a, b])` or `(a -> b)`, and which are blocks of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archlang.elaborate.builtins import BUILTINS
from archlang.ir.graph import Attr, Graph, Init, Node, Program
from archlang.ir.paths import Paths, split_index
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.shapes.dim import Dim

__all__ = ["flows", "in_place"]

SHORT = 3  # nodes: what has no more stands wherever it is used


@dataclass(slots=True)
class _Use:
    """Where a graph is called: nodes, the graphs they are in, and the names of those graphs' blocks."""

    nodes: list[Node]
    callers: list[int]
    blocks: set[str]


def in_place(program: Program, kin: Mapping[int, Sequence[Graph]]) -> set[int]:
    """The graphs, by id, that are written where they are used: short ones, and those that only one place uses."""
    uses: dict[int, _Use] = {}
    for graph in program.graphs:
        for node in graph.nodes:
            if node.callee is not None:
                use = uses.setdefault(id(node.callee), _Use([], [], set()))
                use.nodes.append(node)
                use.callers.append(id(graph))
                use.blocks.add(graph.block)
    chosen: set[int] = set()
    for graph in program.graphs:
        use = uses.get(id(graph), _Use([], [], set()))
        plain = all(node.count == 1 and node.phase is None and not node.log_det for node in use.nodes)
        once = len({*use.callers}) == len(use.callers) and len(use.blocks) == 1
        short = len(graph.nodes) <= SHORT and not any(id(node.callee) in chosen for node in graph.nodes)
        if use.nodes and plain and (once or short) and len(kin[id(graph)]) == 1 and _composed(graph):
            chosen.add(id(graph))
    return chosen


def _composed(graph: Graph) -> bool:
    """Whether a graph is what a composition makes, and has no symbols of its own."""
    whole = graph.sequential and graph.block in ("chain", "sequence") and not graph.doc and not graph.reversible
    if not whole or graph.borrowed or graph.aliases or graph.weights or not graph.nodes:
        return False
    (port,), (output,) = graph.inputs, graph.outputs
    value, place = port.values[0], 0
    paths = Paths(graph)
    for node in graph.nodes:
        if len(node.inputs) != 1 or len(node.outputs) != 1 or node.inputs[0] is not value or not _step(node):
            return False
        index = split_index(node.path) if node.path is not None else None
        if index is not None and index != ("", place):
            return False
        child = paths.owned(node.path) if node.path is not None else None
        if node.callee is not None and (child is None or child.graph is not node.callee or node.callee.borrowed):
            return False
        place += node.count
        value = node.outputs[0]
    return [value] == [*output.values] and not output.name and not output.training


def _step(node: Node) -> bool:
    """Whether a node can stand in the list of a chain."""
    if (
        node.phase is not None
        or node.inverted
        or node.log_det
        or node.modules
        or any(map(_symbolic, node.attrs.values()))
    ):
        return False
    if node.op == "call":
        return node.path is not None
    return node.op in registry() and (node.path is not None or flows(node))


def flows(node: Node) -> bool:
    """Whether a weightless op of one wire reads well as a step, and means the op there."""
    attrs, entry = node.attrs, registry()[node.op]
    operator = getattr(entry, "symbol", None) is not None and attrs.get("other") is not None
    return (
        node.op not in BUILTINS
        and node.op != "index"
        and not operator
        and not entry.inputs[0].variadic
        and not entry.inputs[0].optional
    )


def _symbolic(attr: Attr) -> bool:
    if isinstance(attr, tuple):
        return any(map(_symbolic, attr))
    return isinstance(attr, Dim) or (isinstance(attr, Init) and any(_symbolic(value) for _, value in attr.args))
