"""Ports of blocks that nobody needs: results that no caller reads, inputs that the block does not read."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Node, Port
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor
from archlang.shapes.dim import Dim, symbols


@rewrites("unread-ports", equivalence="exact", level=1)
def unread_ports(edit: Editor) -> None:
    """Takes away results of a block that no caller reads, and inputs that the block does not read."""
    calls = edit.callers.calls(edit.graph) if edit.callers is not None else ()
    if calls:
        _results(edit, calls)
        _inputs(edit, calls)


def _results(edit: Editor, calls: Sequence[Node]) -> None:
    graph, callers = edit.graph, edit.callers
    assert callers is not None
    if any(len(call.outputs) != len(graph.results) for call in calls):
        return
    kept, places, at = [], list[int](), 0
    for output in graph.outputs:
        here = range(at, at + len(output.values))
        at = here.stop
        if any(callers.read(call.outputs[i]) for call in calls for i in here):
            kept.append(output)
            places.extend(here)
    if not kept or len(kept) == len(graph.outputs):
        return  # a call of which nothing is read is dead code itself
    edit.did(calls[0], f"no caller reads {len(graph.outputs) - len(kept)} of the results of `{graph.block}`")
    graph.outputs = kept
    for call in calls:
        call.outputs = tuple(call.outputs[i] for i in places)


def _inputs(edit: Editor, calls: Sequence[Node]) -> None:
    graph = edit.graph
    read = [any(edit.readers(v) or edit.is_result(v) for v in port.values) for port in graph.inputs]
    kept = [port for port, needed in zip(graph.inputs, read, strict=True) if needed]
    for i, port in enumerate(graph.inputs):
        if not read[i] and (not kept or not _told(port, kept)):
            read[i] = True  # the only one that tells a size, or there is
            kept.append(port)
    if all(read):
        return
    edit.did(calls[0], f"`{graph.block}` does not read {read.count(False)} of its inputs")
    places = [place for port, needed in zip(graph.inputs, read, strict=True) for place in [needed] * len(port.values)]
    graph.inputs = [port for port, needed in zip(graph.inputs, read, strict=True) if needed]
    for call in calls:
        call.inputs = tuple(v for v, needed in zip(call.inputs, places, strict=True) if needed)


def _told(port: Port, others: Sequence[Port]) -> bool:
    """Whether other inputs have each size that the port's types are made of."""
    known = {
        size.as_symbol for other in others for v in other.values for size in v.type.shape if isinstance(size, Dim)
    }  # fmt: skip
    return all(name in known for v in port.values for size in v.type.shape for name in symbols(size))
