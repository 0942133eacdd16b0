"""What a smaller network still needs: results of blocks that nobody reads go, and with them layers and inputs."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Graph, Node, Value
from archlang.optimize.passes.dead_code import dead_code
from archlang.report.diagnostic import Span
from archlang.shapes.dim import symbols
from archlang.transform.work import Place, Work

__all__ = ["trim"]


def trim(work: Work, span: Span) -> None:
    """Takes away what the network's results do not need, in all blocks."""
    work.open(work.root)
    _graph(work, work.root, (), span)


def _graph(work: Work, graph: Graph, above: tuple[tuple[Graph, str], ...], span: Span) -> None:
    dead_code(work.editor(graph))
    for path in list(graph.children):
        child = graph.children.get(path)
        calls = [n for n in graph.nodes if n.path == path and n.callee is not None]
        if child is None or child.graph is None or not calls:
            continue
        unread = _unread(graph, calls)
        if not unread and not work.is_open(child.graph):
            continue
        callee = work.private(Place(graph, path, child, above), span)
        if unread:
            _cut_results(callee, calls, unread)
        _graph(work, callee, (*above, (graph, path)), span)
        if not any(n.inverted or n.log_det for n in calls):
            _cut_inputs(callee, calls)
    dead_code(work.editor(graph))


def _unread(graph: Graph, calls: Sequence[Node]) -> set[int]:
    """Places of results that no call's readers need."""
    if any(n.inverted or n.log_det for n in calls):
        return set()
    used = {id(v) for node in graph.nodes for v in node.inputs} | {id(v) for v in graph.results}
    return {i for i in range(len(calls[0].outputs)) if not any(id(n.outputs[i]) in used for n in calls)}


def _cut_results(callee: Graph, calls: Sequence[Node], unread: set[int]) -> None:
    place = 0
    for output in callee.outputs:
        kept = tuple(v for i, v in enumerate(output.values, place) if i not in unread)
        place += len(output.values)
        output.values = kept
    callee.outputs = [o for o in callee.outputs if o.values]
    for call in calls:
        call.outputs = tuple(v for i, v in enumerate(call.outputs) if i not in unread)


def _cut_inputs(callee: Graph, calls: Sequence[Node]) -> None:
    """Takes away inputs that the callee does not read, and whose sizes others tell."""
    read = {id(v) for node in callee.nodes for v in node.inputs} | {id(v) for v in callee.results}
    ports = [p for p in callee.inputs if any(id(v) in read for v in p.values)]
    told = {s.as_symbol for p in ports for v in p.values for s in v.type.shape if not isinstance(s, int)}
    needed = {name for v in callee.values for s in v.type.shape for name in symbols(s)} & set(callee.symbols)
    gone = [p for p in callee.inputs if p not in ports]
    if not gone or not needed <= told:
        return
    places = [any(p is g for g in gone) for p in callee.inputs for _ in p.values]
    callee.inputs = ports
    for call in calls:
        call.inputs = _without(call.inputs, places)
    unused = set(callee.symbols) - needed
    callee.symbols = tuple(s for s in callee.symbols if s not in unused)


def _without(values: Sequence[Value], gone: Sequence[bool]) -> tuple[Value, ...]:
    return tuple(v for v, out in zip(values, gone, strict=True) if not out)
