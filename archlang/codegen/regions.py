"""Regions of rebuilt values in generated code: which calls they are, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import LAYER, Body, Loop, Method, Step, StepItem
from archlang.codegen.rebuilding import MEASURE, RUN
from archlang.codegen.rebuilding import rebuild as helper
from archlang.ir.graph import Node, Output, Port
from archlang.ir.paths import split_index

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = ["outlined", "rebuilt", "region", "run_block"]


def region(b: _Builder, node: Node) -> bool:
    """Whether a call starts a region whose values are rebuilt in the backward pass."""
    callee = node.callee
    mine = b.inside or b.forms.has_statements(b.graph)
    if mine or callee is None or node.inverted:
        return False
    return b.forms.has_log_statements(callee) if node.log_det else b.forms.has_statements(callee)


def rebuilt(b: _Builder, nodes: Sequence[Node], module: py.Py, args: Sequence[py.Py]) -> py.Call:
    b.shared.help((helper(),))
    reversal = b.forms.reversal
    random = any(n.callee is not None and reversal.random(n.callee) for n in nodes)
    parts = ["Draws"] if random else []
    parts += ["Carried"] if reversal.writes(nodes, carried=True) else []
    every = reversal.anchors.every(b.graph, nodes)
    kwargs: tuple[py.Kwarg, ...] = ()
    if parts:
        kwargs += (py.Kwarg("replay", py.Seq(tuple(py.Raw(part) for part in parts), "list")),)
    if every:
        kwargs += (py.Kwarg("every", py.Raw(str(every))),)
    if reversal.overlap:
        kwargs += (py.Kwarg("rewind", py.Raw("Overlap")),)
    return py.Call(py.Raw("rebuild"), (module, *args), kwargs)


def outlined(b: _Builder, nodes: list[Node]) -> Step:
    """Several reversible calls as one region, by a method that runs them."""
    inside = {id(v) for node in nodes for v in node.outputs}
    read = {id(v) for node in nodes for v in node.inputs}
    inputs = list({id(v): v for node in nodes for v in node.inputs if id(v) not in inside}.values())
    results = [v for node in nodes for v in node.outputs if id(v) not in read]
    ports = [Port(v.name, (v,)) for v in inputs]
    part = replace(b.graph, inputs=ports, nodes=nodes, outputs=[Output((v,)) for v in results])
    other = b.within(part)
    steps = tuple(run_block(other, node) for node in nodes)
    body = Body("function", other.ports(), other.lents(), (), (), (), (), steps,
                other.outputs(), other.names(), other.types())  # fmt: skip
    name = b.free_name("region")
    b.outlines.append(Method(name, "int", body))
    value = rebuilt(b, nodes, py.Get(py.SELF, name), [b.value(v) for v in inputs])
    target = tuple(b.index[id(v)] for v in results)
    return Step(target, value, None, b.label(nodes[-1]), nodes[0].span)


def run_block(b: _Builder, node: Node) -> StepItem:
    """A call among the statements of a reversible block: the statements of the block that it calls."""
    ins = [b.value(v) for v in node.inputs]
    k = len(node.outputs)
    numbers = [b.index[id(v)] for v in node.outputs]
    label = b.label(node)
    run = MEASURE if node.log_det else RUN
    if node.count == 1:
        value = py.Call(run, (b.module(node), *b.grouped(node, ins)))
        return Step(b.shaped(node, numbers), value, node.phase, label, node.span)
    inside = [*(py.Var(i) for i in numbers), *ins[k:]]
    modules = b.iterable([node])
    numbered = split_index(b.paths.canonical(node.path or "")) if modules is None else None
    passes = py.Leaf(0 if modules is not None else node.count, "depth")
    value = py.Call(run, (LAYER, *b.grouped(node, inside)))
    initial = tuple(b.index[id(v)] for v in node.inputs[:k])
    return Loop(b.shaped(node, numbers), tuple(numbers), initial, value, passes, modules, numbered,
                node.phase, b.element(node), node.span)  # fmt: skip
