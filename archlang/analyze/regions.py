"""What autograd keeps of a region of reversible calls besides its results: anchors, and what steps that jump read."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.analyze.plan import Env, Plans
from archlang.ir.graph import Graph, Node
from archlang.ops.eager import nbytes
from archlang.reversible.kept import inner_blocks, jump_reads
from archlang.reversible.undoing import blocks_in
from archlang.shapes.dim import Size

__all__ = ["crossed", "jumps"]


def crossed(region: Sequence[Node], node: Node, every: int) -> int:
    """How many anchors lie in a node of a region that has one after `every` blocks (0: none), its end aside."""
    if not every:
        return 0
    blocks = [n.count * blocks_in(n.callee) for n in region if n.callee is not None]
    place = next(i for i, n in enumerate(region) if n is node)
    before, after = sum(blocks[:place]), sum(blocks[: place + 1])
    return min(after, sum(blocks) - 1) // every - before // every


def jumps(plans: Plans, graph: Graph, env: Env) -> Size:
    """Bytes of what one application of a reversible block keeps, as what is computed from it can jump."""
    plan = plans.plan(graph, env)
    types = [plan.types[id(v)] for v in jump_reads(graph)]
    total = sum((nbytes(t.shape, t.dtype) for t in types), 0)
    places = {id(node): i for i, node in enumerate(graph.nodes)}
    for node in inner_blocks(graph):
        assert node.callee is not None
        total += node.count * jumps(plans, node.callee, plan.sizes[places[id(node)]])
    return total
