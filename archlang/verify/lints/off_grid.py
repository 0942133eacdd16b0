"""ARC0623: a block whose inverse is exact on a grid of numbers, applied to streams that may be any numbers."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.elaborate.errors import warning
from archlang.reversible.exact import grid_of, off_grid
from archlang.verify.lints.links import Links
from archlang.verify.lints.sites import Site

__all__ = ["check"]


def check(links: Links) -> Iterator[Site]:
    """Every call of such a block; its inverse then errs by rounding, and branches that round can come out otherwise."""
    for graph in links.program.graphs:
        for node in graph.nodes:
            if node.callee is None or node.span is None or node.inverted:
                continue
            bits = grid_of(node.callee)
            if not bits:
                continue
            finding = None
            if off_grid(graph, [node], graph is links.program.root):
                finding = warning(
                    "ARC0623",
                    f"`{node.callee.block}` is exact for multiples of 2**-{bits}, and its streams may be any numbers",
                    node.span,
                    "streams enter here",
                    help=f"round them first: `quantize(x, {bits})`",
                )
            yield node.span, finding
