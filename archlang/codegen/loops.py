"""Loops over modules: the nodes that apply consecutive ones, each to what the one before gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import LAYER, Loop
from archlang.codegen.convert import convert
from archlang.codegen.forms import entry
from archlang.codegen.log_dets import measured, op_code
from archlang.codegen.regions import rebuilt, region
from archlang.ir.externs import is_class
from archlang.ir.graph import Node
from archlang.ir.paths import split_index

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = ["chain", "loop", "loopable"]


def chain(b: _Builder, at: int) -> list[Node]:
    """The node and those after it that apply consecutive modules, each to the one before's results only."""
    nodes = b.graph.nodes
    taken = [nodes[at]]
    while (end := at + len(taken)) < len(nodes) and end not in b.segments and continues(b, taken[-1], nodes[end]):
        taken.append(nodes[end])
    return taken[:1] if len(taken) > 1 and b.iterable(taken) is None else taken


def continues(b: _Builder, node: Node, after: Node) -> bool:
    if node.path is None or after.path is None or not (loopable(b, node) and loopable(b, after)):
        return False
    here, there = split_index(b.paths.canonical(node.path)), split_index(b.paths.canonical(after.path))
    k = len(node.outputs)
    return (
        here is not None
        and there is not None
        and here[0] == there[0]
        and there[1] == here[1] + node.count
        and node.phase == after.phase
        and len(after.outputs) == k
        and after.inputs[:k] == node.outputs
        and after.inputs[k:] == node.inputs[k:]
        and all(b.uses[id(v)] == 1 and not v.name for v in node.outputs)
        and shape(b, node) == shape(b, after)
    )


def loopable(b: _Builder, node: Node) -> bool:
    if node.inverted or region(b, node):
        return False
    if node.op == "call":
        callee = node.callee
        assert callee is not None
        lends = bool(callee.borrowed) or b.forms.function(callee)
        return not lends and not any(o.training for o in callee.outputs)
    if node.op in ("weight", "phase") or node.path is None:
        return False
    module = py.Raw("layer")
    ins = [b.value(v) for v in node.inputs]
    if node.op == "extern":
        return is_class(node.attrs["target"])
    return convert(entry(node).call(node.attrs, len(ins)), ins, lambda: module, {}) == py.Call(module, tuple(ins))


def shape(b: _Builder, node: Node) -> tuple[object, ...]:
    """How a node's streams are grouped into arguments and results."""
    if node.callee is None:
        return ()
    ports = tuple((len(p.values), p.kind) for p in node.callee.inputs)
    return ports, tuple((len(o.values), o.kind) for o in node.callee.outputs)


def loop(b: _Builder, nodes: Sequence[Node]) -> Loop:
    first, last = nodes[0], nodes[-1]
    for node in nodes:
        b.check_instance(node)
        b.check_inverse(node)
    k = len(first.outputs)
    streams = tuple(b.index[id(v)] for v in last.outputs)
    initial = tuple(b.index[id(v)] for v in first.inputs[:k])
    ins = [*(py.Var(i) for i in streams), *(b.value(v) for v in first.inputs[k:])]
    target = b.shaped(last, streams)
    value, by_function = step_of_loop(b, first, ins)
    modules: py.Py | None = None
    numbered: tuple[str, int] | None = None
    if not by_function:
        modules = b.iterable(nodes)
        if modules is None:  # not in a list: reach each by its number
            numbered = split_index(b.paths.canonical(first.path or ""))
            assert numbered is not None
    total = py.Leaf(sum(n.count for n in nodes) if by_function or numbered else 0, "depth")
    label = b.element(first)
    return Loop(target, streams, initial, value, total, modules, numbered, first.phase, label, first.span,
                backwards=first.inverted)  # fmt: skip


def step_of_loop(b: _Builder, node: Node, ins: list[py.Py]) -> tuple[py.Py, bool]:
    """What one pass computes, and whether it does so without a module."""
    if node.callee is not None:
        args = b.grouped(node, ins)
        if node.inverted:
            return b.undone(LAYER, args), False
        if node.log_det:
            return measured(b, LAYER, args), False
        if b.forms.function(node.callee):
            return py.Apply(node.callee, args), True
        if region(b, node):
            return rebuilt(b, [node], LAYER, args), False
        return py.Call(LAYER, args), False
    if node.op == "extern":
        return (py.Call(LAYER, tuple(ins)), False) if is_class(node.attrs["target"]) else (
            b.extern(node, tuple(ins)), True)  # fmt: skip
    op = entry(node)
    b.shared.help(op.helpers(node.attrs))
    used: list[py.Py] = []

    def module() -> py.Py:
        used.append(LAYER)
        return LAYER

    value = op_code(b, node, ins, module)
    return value, not used
