"""A design's valid sizes and the symbolic shape of every wire, as `archc check --shapes` prints them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from archlang.ir.graph import Graph, Program, Value
from archlang.report.diagnostic import Span

if TYPE_CHECKING:
    from archlang.verify.sets import Domain

__all__ = ["shapes_text", "sizes_text"]


_LONG = 400  # characters of a set


def shapes_text(program: Program) -> str:
    """The sets of both phases, then every distinct graph's wires in its own symbols, callers first."""
    lines = [f"{program.root.block}: {_types(program.root.entries)}"]
    for phase, title in (("eval", "evaluation"), ("train", "training")):
        lines += [f"  {title + ':':<12}{line}" for line in sizes_text(program, phase)]
    for graph in reversed(program.graphs):
        if graph.nodes:
            lines += ["", f"  {_title(graph)}", *_wires(graph)]
    return "\n".join([*lines, ""])


def sizes_text(program: Program, phase: str) -> list[str]:
    """The set of a phase in one line, and a line for each requirement that is not decided."""
    from archlang.verify.sets import domain
    from archlang.verify.text import set_text

    if not program.root.symbols:
        from archlang.verify.form import requirements

        return ["no size at all" if requirements(program, phase) else "every size is fixed"]
    of = domain(program, phase)
    open = [f"and, not decided, {c} ({c.span})" for c in of.undecided]
    return [_shorter(set_text(of.space, of.set), of), *open]


def _shorter(text: str, of: Domain) -> str:
    """A set of many cases, as `H*W == 3600` is one, by what it is made of."""
    parts = [f"({p.constraint})" if p.constraint.cases else str(p.constraint) for p in of.parts]
    made = " and ".join([*(f"{name} >= 1" for name in of.space.names), *parts])
    return made if parts and len(text) > _LONG > len(made) else text


def _title(graph: Graph) -> str:
    inputs = ", ".join(f"{port.name}: {_types(port.values)}" for port in graph.inputs)
    return f"{graph.name}({inputs})"


def _types(values: Iterable[Value]) -> str:
    return ", ".join(str(v.type) for v in values)


def _wires(graph: Graph) -> Iterator[str]:
    rows = []
    for node in graph.nodes:
        what = node.callee.name if node.callee is not None else node.op
        times = f" x {node.count}" if node.count > 1 else ""
        phase = f"  ({'training' if node.phase == 'train' else 'evaluation'} only)" if node.phase else ""
        label = f"{node.path}: " if node.path else ""
        rows.append((_place(node.span), f"{label}{what}{times}", _types(node.outputs) + phase))
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    for place, what, types in rows:
        yield f"    {place:<{widths[0]}}  {what:<{widths[1]}}  {types}"


def _place(span: Span | None) -> str:
    return f"{os.path.basename(span.source.path)}:{span.line}" if span is not None else ""
