"""What sizes have to be, as it stands after `where`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from archlang.ir.graph import Constraint, Graph
from archlang.ops.base import Context, registry
from archlang.shapes.dim import Dim, Floor, Size, difference
from archlang.unparse.values import size_text

__all__ = ["where"]


def where(graph: Graph, sizes: Mapping[str, Size]) -> str:
    """What the declarations of a graph asked of sizes, its own and those of the blocks that it calls.

    sizes: what stands for symbols.
    """
    need = Context()
    for node in graph.nodes:
        if node.op in registry() and not node.inverted:
            registry()[node.op].infer([v.type for v in node.inputs], node.attrs, need)
    layers = {c.key for c in need.constraints}
    asked = [c for c in graph.constraints if c.rule in ("language", "promise") and c.phase is None]
    left = [c.at(sizes) for c in asked if c.key not in layers]
    texts = dict.fromkeys(_condition(c) for c in left if c.known is None and c.symbols)
    return f" where {' and '.join(texts)}" if texts else ""


def _condition(constraint: Constraint) -> str:
    if constraint.cases:
        cases = [" and ".join(map(_condition, case)) for case in constraint.cases]
        return f"({' or '.join(f'({case})' for case in cases)})"
    if constraint.relation == "==":
        rest = difference(constraint.left, constraint.right)
        for atom in _quotients(rest):
            remainder = atom.numerator % atom.denominator
            if rest in (remainder, -remainder):
                parts = (
                    f"({text})" if " " in text else text for text in map(_text, (atom.numerator, atom.denominator))
                )
                return f"{' % '.join(parts)} == 0"
    return f"{_text(constraint.left)} {constraint.relation} {_text(constraint.right)}"


def _quotients(size: Size) -> Iterator[Floor]:
    if isinstance(size, Dim):
        yield from (atom for mono, _ in size.terms for atom, _ in mono if isinstance(atom, Floor))


def _text(size: Size) -> str:
    return size_text(size, "({} // {})".format)
