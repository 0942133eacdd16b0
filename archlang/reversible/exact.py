"""Blocks that are undone bit for bit: to streams on a grid they add nothing but multiples of the grid's step."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Graph, Node, Step, Value
from archlang.ops.base import registry

__all__ = ["grid_of", "off_grid", "on_grid"]

_MOVES = ("split", "concat")  # steps that compute nothing


def grid_of(graph: Graph) -> int | None:
    """The finest grid of what a proved graph adds to its streams: multiples of 2**-bits.

    Its inverse is exact where they lie on it. None where some step is more than a sum with numbers of a grid.
    """
    if graph.proof is None or not graph.proof.steps:
        return None
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    grids = [_of_step(step, makers) for step in graph.proof.steps]
    known = [bits for bits in grids if bits is not None]
    return max(known, default=0) if len(known) == len(grids) else None


def _of_step(step: Step, makers: dict[int, Node]) -> int | None:
    node = step.node
    if step.kind in _MOVES:
        return 0
    if node is not None and node.callee is not None and not node.inverted and step.kind == "apply":
        return grid_of(node.callee)
    if step.kind != "update" or node is None or node.op not in ("add", "sub") or node.attrs.get("other") is not None:
        return None
    grids = [value_grid(v, makers) for v in node.inputs if not any(v is c for c in step.consumed)]
    known = [bits for bits in grids if bits is not None]
    return max(known, default=0) if len(known) == len(grids) else None


def value_grid(value: Value, makers: dict[int, Node]) -> int | None:
    """The grid of a value, as far as the node that makes it tells."""
    node = makers.get(id(value))
    if node is None or node.op in ("weight", "phase", "extern"):
        return None
    if node.callee is None:
        op = registry().get(node.op)
        return None if op is None or node.inverted else op.grid(node.attrs)
    inner = {id(v): n for n in node.callee.nodes for v in n.outputs}
    results = node.callee.results
    place = next(i for i, v in enumerate(node.outputs) if v is value)
    if node.inverted or len(results) != len(node.outputs):
        return None
    return grid_of(node.callee) if node.callee.proof is not None else value_grid(results[place], inner)


def off_grid(graph: Graph, region: Sequence[Node], root: bool) -> list[Value]:
    """The streams that enter a chain of exact calls and are not known to lie on a grid. Those of a graph that is exact
    itself are its callers' matter; the root has none."""
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    made = {id(v) for node in region for v in node.outputs}
    own = {id(v) for v in graph.streams} if not root and grid_of(graph) is not None else set()
    entering = [v for node in region for v in node.inputs[: _streams(node)] if id(v) not in made | own]
    return [v for v in entering if value_grid(v, makers) is None]


def on_grid(graph: Graph, region: Sequence[Node], root: bool) -> bool:
    """Whether a chain of calls is undone bit for bit."""
    exact = all(n.callee is not None and grid_of(n.callee) is not None for n in region)
    return exact and not off_grid(graph, region, root)


def _streams(node: Node) -> int:
    assert node.callee is not None
    return len(node.callee.streams)
