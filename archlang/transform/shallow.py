"""A sequence of residual layers as one parallel layer."""

from __future__ import annotations

from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.ir.graph import Graph, Node, Output, Value
from archlang.optimize.clone import copy_graph
from archlang.optimize.edit import Editor
from archlang.report.diagnostic import Span
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.sequence import Layers, counted, in_line, layers, shown
from archlang.transform.work import Work

__all__ = ["shallow"]

_SUM = {"other": None, "reverse": False}


@transforms("shallow", Parameter("path", "path"))
def shallow(work: Work, given: Given, path: str | list[str]) -> str:
    """Runs the residual layers of a chain side by side: x + F_1(x) + ... + F_n(x), where layer l was x + F_l(x).

    These are the terms of first order of what the chain computes (Bermeitinger et al., 2023).
    """
    where = given.at("path")
    run = layers(work, path, where)
    edit = work.editor(run.graph)
    last = _beside(run, edit)
    if last is None:
        in_line(run, where)
        _branches(work, run, where)
        last = run.outputs[0]
    x = run.nodes[0].inputs[0]
    for node in run.nodes:
        edit.rewire(node, (x, *node.inputs[1:]))
    place = run.graph.nodes.index(run.nodes[-1])
    total = Node("add", (x,), (Value(last.type, last.name),), given.span, _SUM)
    edit.replace(last, total.outputs[0])  # may be what a layer gave, which the sum reads from now on
    total.inputs = (x, *(n.outputs[0] for n in run.nodes))
    run.graph.nodes.insert(place + 1, total)
    many = counted(len(run.nodes), "residual layer")
    return f"{run.text}: {many} side by side; terms in which a branch runs on a branch are gone"


# -- sums inside of the layers -----------------------------------------------------------------------------------------
def _branches(work: Work, run: Layers, where: Span) -> None:
    """Each layer x + F(x) of the run gives F(x) from now on."""
    made: dict[int, Graph] = {}
    for name, node in zip(run.names, run.nodes, strict=True):
        if len(node.outputs) != 1:
            _no_run(run, name, "carries several streams", where)
        if node.outputs[0].type != node.inputs[0].type:
            _no_run(run, name, f"makes {shown(node.outputs)} of {shown(node.inputs[:1])}", where)
        if node.callee is None:
            _no_run(run, name, f"is a single `{node.op}`", where)
        work.refuse_special(node, "", where)
        if any(n.path == node.path and not any(n is m for m in run.nodes) for n in run.graph.nodes):
            _no_run(run, name, "is applied elsewhere, too", where)
        if id(node.callee) not in made:
            made[id(node.callee)] = _branch(work, run, name, node.callee, where)
    for node in run.nodes:
        assert node.callee is not None and node.path is not None
        node.callee = made[id(node.callee)]
        run.graph.children[node.path].graph = node.callee


def _branch(work: Work, run: Layers, name: str, layer: Graph, where: Span) -> Graph:
    """A copy of x + F(x) that gives F(x)."""
    graph = copy_graph(layer)
    graph.name = work.name(graph.name)
    work.changes[id(graph)] = list(work.changes.get(id(layer), ()))
    work.open(graph)
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    result = graph.outputs[0].values[0]
    rest = _without(result, graph.inputs[0].values[0], makers)
    if not rest:
        _no_run(run, name, "does not give its input plus something else", where)
    if len(rest) > 1:
        node = Node("add", tuple(rest), (Value(result.type, result.name),), makers[id(result)].span, _SUM)
        graph.nodes.append(node)
        rest = [node.outputs[0]]
    graph.outputs = [Output((rest[0],))]
    return graph


def _without(value: Value, x: Value, makers: dict[int, Node]) -> list[Value]:
    """The terms of a sum beside x, which is one of them, once; empty where it is no such sum."""
    found: list[list[Value]] = []
    stack: list[tuple[Value, list[Value]]] = [(value, [])]
    while stack:
        here, others = stack.pop()
        node = makers.get(id(here))
        if here is x:
            found.append(others)
        elif node is not None and node.op == "add" and node.attrs["other"] is None and node.phase is None:
            for i, term in enumerate(node.inputs):
                stack.append((term, [*others, *node.inputs[:i], *node.inputs[i + 1 :]]))
    kept = found[0] if len(found) == 1 else []
    return kept if all(v.type == value.type for v in kept) else []


# -- sums beside the layers --------------------------------------------------------------------------------------------
def _beside(run: Layers, edit: Editor) -> Value | None:
    """The last sum of `x = x + f_l(x)` in one graph, where that is what the layers are in; None otherwise."""
    stream: Value | None = None
    for node in run.nodes:
        if len(node.outputs) != 1 or not node.inputs or (stream is not None and node.inputs[0] is not stream):
            return None
        before, branch = node.inputs[0], node.outputs[0]
        readers = edit.readers(branch)
        if len(readers) != 1 or edit.is_result(branch) or not _adds(readers[0], before, branch):
            return None
        if stream is not None and (len(edit.readers(stream)) != 2 or edit.is_result(stream)):
            return None
        stream = readers[0].outputs[0]
        if stream.type != before.type or branch.type != before.type:
            return None
    return stream


def _adds(node: Node, a: Value, b: Value) -> bool:
    mine = node.op == "add" and node.phase is None and len(node.inputs) == 2
    return mine and {id(v) for v in node.inputs} == {id(a), id(b)}


def _no_run(run: Layers, name: str, why: str, where: Span) -> NoReturn:
    fail("ARC0864", f"{run.text} is no run of residual layers: `{name}` {why}", where, "not residual",
         help="each layer must give x + F(x), of the type of x")  # fmt: skip
