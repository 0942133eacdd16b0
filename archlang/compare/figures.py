"""Quantities of a program beside those of another: parameters, operations, memory, depth."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from archlang.analyze.trace import operations
from archlang.compare.changes import Figure
from archlang.ir.graph import Graph, Program
from archlang.ir.walk import counts, parameters
from archlang.ops.base import registry
from archlang.shapes.dim import Size, size_str, substitute

__all__ = ["figures", "macs", "sizes_for"]

BYTES = {"float64": 8, "int64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1, "bool": 1}  # others have 4


def figures(old: Program, new: Program, at: Mapping[str, int]) -> tuple[Figure, ...]:
    """Every figure of both, those that depend on input sizes at the given sizes."""
    from archlang.analyze import cost

    a, b = counts(old), counts(new)
    x, y = cost(old, _mine(old, at)), cost(new, _mine(new, at))
    formulas = size_str(macs(old)), size_str(macs(new))
    skipped = sorted({*x.uncounted, *y.uncounted})
    saved = "saved for backward" + (f" (without {', '.join(skipped)})" if skipped else "")
    unseen = " (without extern blocks)" if _has_extern(old) or _has_extern(new) else ""
    rows = [
        Figure("parameters", a.parameters, b.parameters),
        Figure("trainable", a.trainable, b.trainable),
        Figure("buffers", a.buffers, b.buffers),
        Figure("weights", _weight_bytes(old), _weight_bytes(new), "B"),
        Figure(f"MACs{unseen}", _known(x.macs), _known(y.macs), "", formulas),
        Figure(f"FLOPs{unseen}", _known(x.flops), _known(y.flops)),
        Figure(saved, _known(x.saved), _known(y.saved), "B"),
        Figure("peak of inference", x.peak.known, y.peak.known, "B"),
        Figure("depth", x.depth, y.depth),
    ]
    return tuple(rows)


def macs(program: Program) -> Size:
    """Multiply-accumulates of one evaluation, in the input sizes. Every graph is summed once."""
    totals: dict[int, Size] = {}
    for graph in program.graphs:
        total: Size = 0
        for node in graph.nodes:
            if node.phase == "train":
                continue
            if node.callee is not None:
                total = total + substitute(totals[id(node.callee)], node.sizes) * node.count
            elif node.op in registry():  # what has no entry does nothing by itself
                ins, outs = [v.type for v in node.inputs], [v.type for v in node.outputs]
                total = total + operations(node, node.attrs, ins, outs)[0] * node.count
        totals[id(graph)] = total
    return totals[id(program.root)]


def sizes_for(old: Graph, new: Graph, given: Mapping[str, int]) -> dict[str, int]:
    """The sizes that figures are shown for: the given ones, one for the batch, fitting ones for the rest."""
    from archlang.inputs import NoSizes, choose_sizes

    for graph in (new, old):
        mine = {name: n for name, n in given.items() if name in graph.symbols}
        first = next((v.type.shape[0] for v in graph.entries if v.type.rank > 1), None)
        name = None if first is None or isinstance(first, int) else first.as_symbol
        for start in ({name: 1, **mine} if name else mine, mine):
            try:
                return {**choose_sizes(graph, start), **given}
            except NoSizes:
                continue
    return dict(given)


def _mine(program: Program, at: Mapping[str, int]) -> dict[str, int]:
    return {name: n for name, n in at.items() if name in program.root.symbols}


def _has_extern(program: Program) -> bool:
    return any(node.op == "extern" for graph in program.graphs for node in graph.nodes)


def _known(size: Size) -> int | None:
    """The number, where all sizes of the input are given."""
    return size if isinstance(size, int) else None


def _weight_bytes(program: Program) -> int:
    """Bytes of parameters and buffers, shared ones once; the module's own floating type taken as float32."""
    return sum(prod(e.decl.shape) * BYTES.get(e.decl.dtype, 4) for e in parameters(program) if e.alias_of is None)
