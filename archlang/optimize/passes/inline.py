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


@rewrites("inline-edges", equivalence="exact", level=2, purposes=("inference",))
def inline_edges(edit: Editor) -> None:
    """Writes blocks out where a scale and a shift before or after them can go into a layer at their edge."""
    for node in edit.nodes():
        _write_out(edit, [s.node for s in _sinks(Place(edit), node) if s.node.callee is not None])
    for call in edit.nodes("call"):
        below = opened(edit, call)
        if below is None:
            continue
        for node in below.edit.nodes():
            sinks = [s.node for s in _sinks(below, node)]
            if any(s not in below.edit.graph.nodes for s in sinks):
                _write_out(edit, [call, *(s for s in sinks if s.callee is not None and s in edit.graph.nodes)])
                break


def _sinks(place: Place, node: Node) -> list[Sink]:
    found = affine(place.edit, node)
    if found is None:
        return []
    sinks = behind(place, found.value, found.axis)
    return sinks or before(place, node.outputs[0], found.axis, shifts=found.shifts)


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
