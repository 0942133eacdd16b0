"""From a module's path to the place in the spec, and to the innermost part whose figure differs. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from archlang.analyze.tree import Block
from archlang.ir.graph import Graph, Program
from archlang.ir.paths import Paths, join
from archlang.report.diagnostic import Span

__all__ = ["deepest", "span_at"]


def span_at(program: Program, path: str) -> Span | None:
    """Where the part under a state-dict path is written; as far inside as the path leads through the graph."""
    graph: Graph | None = program.root
    span = program.root.span
    rest = path.split(".") if path else []
    while rest and graph is not None:
        paths = Paths(graph)
        for end in range(1, len(rest) + 1):
            child = paths.child(".".join(rest[:end]))
            if child is not None:
                span, graph, rest = child.span or span, child.graph, rest[end:]
                break
        else:
            break
    return span


def deepest(tree: Block, measured: Mapping[str, int], column: str) -> tuple[str, int, int]:
    """The innermost part whose figure differs though no smaller part's does: its path, the figure, and torch's."""
    block, path = tree, ""
    while column:
        inner = [(b, join(path, b.name)) for b in block.children if b.name and b.count == 1]
        wrong = [(b, p) for b, p in inner if p in measured and getattr(b, column) != measured[p]]
        if not wrong:
            break
        block, path = wrong[0]
    return path, int(getattr(block, column)) if column else 0, measured[path]
