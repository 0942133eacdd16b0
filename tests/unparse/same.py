"""Whether two programs are equal but for names of graphs and values, spans, and how results and inputs are grouped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.ir.graph import Constraint, Graph, Node, Program
from archlang.ir.walk import parameters
from archlang.shapes.dim import Size, difference, substitute

__all__ = ["differences", "keys"]


def keys(program: Program) -> list[tuple[object, ...]]:
    """The state dict, with all that is said of each tensor."""
    return [
        (e.key, e.decl.shape, e.decl.dtype, e.decl.kind, e.decl.init, e.decl.trainable, e.decl.constraint, e.alias_of)
        for e in parameters(program)
    ]


def differences(a: Program, b: Program) -> Iterator[str]:
    """What differs, graph by graph, from the roots on."""
    if keys(a) != keys(b):
        yield "the state dicts differ"
    seen: set[tuple[int, int]] = set()
    waiting = [(a.root, b.root)]
    while waiting:
        x, y = waiting.pop()
        if (id(x), id(y)) in seen:
            continue
        seen.add((id(x), id(y)))
        yield from (f"{x.name}: {text}" for text in _graphs(x, y))
        waiting += [
            (m.callee, n.callee)
            for m, n in zip(x.nodes, y.nodes, strict=False)
            if m.callee is not None and n.callee is not None
        ]


def _graphs(x: Graph, y: Graph) -> Iterator[str]:
    names: dict[str, Size] = {}
    for mine, other in zip(*([v.type.shape for p in g.inputs for v in p.values] for g in (x, y)), strict=False):
        names.update((str(b), a) for a, b in zip(mine, other, strict=False))
    slots = dict(zip(y.borrowed, x.borrowed, strict=False))  # called by parameters, not by what lists had there

    def put(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(put, value))
        return value if isinstance(value, (int, str, float, type(None))) else _size(value)

    def _size(value: Any) -> Any:
        return substitute(value, names) if hasattr(value, "terms") else value

    if len(x.nodes) != len(y.nodes):
        yield f"{len(x.nodes)} nodes and {len(y.nodes)}"
        return
    for what in ("reversible",):
        if getattr(x, what) != getattr(y, what):
            yield f"`{what}` differs"
    if (x.proof is None) != (y.proof is None) or (x.proof and y.proof and x.proof.grade != y.proof.grade):
        yield "the proofs differ"
    place = [{id(v): i for i, v in enumerate(graph.values)} for graph in (x, y)]
    for m, n in zip(x.nodes, y.nodes, strict=True):
        one, two = _node(m, place[0], lambda value: value, {}), _node(n, place[1], put, slots)
        if one != two:
            yield f"{one}\nis not {two}"
    outs = [[place[i][id(v)] for o in g.outputs for v in o.values] for i, g in enumerate((x, y))]
    if outs[0] != outs[1]:
        yield "the results differ"
    asked = [
        {_asked(c) for c in x.constraints if c.known is None},
        {_asked(c.at(names)) for c in y.constraints if c.known is None},
    ]
    if asked[0] != asked[1]:
        yield f"the constraints differ: {asked[0] ^ asked[1]}"


def _asked(constraint: Constraint) -> tuple[object, ...]:
    """What a constraint asks, however the sides of an equation are written."""
    if constraint.cases or constraint.relation != "==":
        return constraint.key
    rest = difference(constraint.left, constraint.right)
    return frozenset((rest, -rest)), "==", constraint.phase


def _node(node: Node, place: dict[int, int], put: Any, slots: dict[str, str]) -> tuple[object, ...]:
    attrs = sorted((name, put(value)) for name, value in node.attrs.items() if value is not None and name != "written")
    types = [(put(v.type.shape), v.type.dtype) for v in node.outputs]
    ins = [place[id(v)] for v in node.inputs]
    sizes: list[Size] = [put(size) for size in node.sizes.values()]
    path = None if node.op == "weight" else slots.get(str(node.path), node.path)
    return node.op, str(attrs), types, ins, path, node.count, sizes, node.phase, node.inverted
