"""Blocks of one op, in place of their calls: what stands around such an op can then be merged with it."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node
from archlang.optimize.absorb import Place, Sink, before, behind, opened
from archlang.optimize.affine import affine
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain


@rewrites("inline", equivalence="exact", level=2)
def inline(edit: Editor) -> None:
    """Writes blocks that have become a single op in place of their calls."""
    for node in edit.nodes("call"):
        callee, path = node.callee, node.path
        if callee is None or path is None or not plain(node) or node.modules or edit.module(node) is None:
            continue
        working = _working(callee)
        if callee.proof is not None or callee.borrowed or callee.aliases or len(working) != 1:
            continue
        (inner,) = working
        if any(o.kind == "tensors" for o in callee.outputs) or not plain(inner):
            continue
        edit.did(node, f"`{callee.block}` is a single `{inner.op}`")
        edit.inline(node)
        if (
            len(callee.children) == 1
            and not callee.weights
            and inner.path is not None
            and inner.path in callee.children
        ):
            edit.rename(f"{path}.{inner.path}", path)


# Late: what can be done without it has been done.
@rewrites("inline-edges", equivalence="exact", level=2, purposes=("inference",), late=True)
def inline_edges(edit: Editor) -> None:
    """Writes blocks out where a scale and a shift before or after them can go into a layer at their edge."""
    for node in edit.nodes():
        _write_out(edit, [s.node for s in _sinks(Place(edit), node) if s.node.callee is not None])
    for call in edit.nodes("call"):
        below = opened(Place(edit), call)
        found = [] if below is None else [s.node for s in _beside(below, edit)]
        _write_out(edit, [call, *(n for n in found if n.callee is not None and n is not call)] if found else [])


def _beside(place: Place, edit: Editor) -> list[Sink]:
    """The layers of a graph that can take over a scale and a shift at the edge of a callee, or of a callee of that."""
    own = {id(node) for node in edit.graph.nodes}
    for node in place.edit.nodes():
        sinks = _sinks(place, node)
        if any(id(s.node) in own for s in sinks):
            return [s for s in sinks if id(s.node) in own]
        below = opened(place, node) if node.callee is not None and _at_edge(place.edit, node) else None
        if below is not None and (found := _beside(below, edit)):
            return found
    return []


def _at_edge(edit: Editor, node: Node) -> bool:
    first = {id(v) for v in edit.graph.entries}
    return any(id(v) in first for v in node.inputs) or any(edit.is_result(v) for v in node.outputs)


def _sinks(place: Place, node: Node) -> list[Sink]:
    """The layers that can take a scale and a shift over; those at hand, if there are, which need no writing out."""
    found = affine(place.edit, node)
    if found is None:
        return []
    choices = [
        behind(place, found.value, found.axis),
        before(place, node.outputs[0], found.axis, shifts=found.shifts),
    ]
    here = [c for c in choices if c and all(s.node.callee is None and _holds(place.edit, s.node) for s in c)]
    return next(iter([*here, *filter(None, choices)]), [])


def _holds(edit: Editor, node: Node) -> bool:
    return edit.maker(node.outputs[0]) is node


def _write_out(edit: Editor, calls: list[Node]) -> None:
    for call in dict.fromkeys(calls):
        assert call.callee is not None
        edit.did(call, f"what is beside `{call.callee.block}` can go into it")
        edit.inline(call)


def _working(graph: Graph) -> list[Node]:
    """The nodes that are not made of declared weights alone."""
    given: set[int] = set()
    found = []
    for node in graph.nodes:
        if node.op == "weight" or (node.inputs and all(id(v) in given for v in node.inputs)):
            given |= {id(v) for v in node.outputs}
        else:
            found.append(node)
    return found
