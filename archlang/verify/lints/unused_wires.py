"""ARC0429: a wire that is computed and that nothing uses."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.elaborate.errors import warning
from archlang.ir.graph import Node
from archlang.report.diagnostic import Diagnostic
from archlang.verify.lints.links import Links
from archlang.verify.lints.sites import Site

__all__ = ["check"]


def check(links: Links) -> Iterator[Site]:
    """Of a chain that leads nowhere, its last step. A name bound in both phases is no use of what it is bound to."""
    for graph in links.program.graphs:
        for node in graph.nodes:
            if node.op not in ("phase", "weight") and node.span is not None and node.outputs:
                yield node.span, None if _used(links, node) else _finding(node)


def _used(links: Links, node: Node) -> bool:
    for value in node.outputs:
        if id(value) in links.returned:
            return True
        for reader in links.readers.get(id(value), ()):
            if reader.op != "phase" or _used(links, reader):
                return True
    return False


def _finding(node: Node) -> Diagnostic:
    assert node.span is not None
    name = next((f"`{v.name}`" for v in node.outputs if v.name), f"this `{node.op}`" if node.callee is None else "this")
    return warning(
        "ARC0429", f"{name} is computed and never used", node.span, "nothing reads it", help="use it, or remove it"
    )
