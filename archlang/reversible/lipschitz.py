"""Lipschitz constants of branches: the certificate that `x + f(x)` can be undone by iteration.

A constant is that of a map from a norm to the same norm; the best of the norms "1", "2" and "inf" counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from archlang.ir.graph import Graph, Node, Value
from archlang.ops.base import registry

__all__ = ["TOLERANCE", "contraction"]

TOLERANCE = 1e-6  # to which `x + f(x)` is undone, relative to x

_NORMS = ("1", "2", "inf")
_NONE = math.inf


def contraction(values: Sequence[Value], stream: Value, makers: Mapping[int, Node]) -> float | None:
    """A constant below 1 of the sum of the values as a function of the stream; None where none is known."""
    best = min(sum(_constant(v, stream, makers, norm) for v in values) for norm in _NORMS)
    return best if best < 1 else None


def _constant(value: Value, stream: Value, makers: Mapping[int, Node], norm: str) -> float:
    """The constant of a value, others than the stream being fixed."""
    known = {id(stream): 1.0}
    pending = [value]
    while pending:
        v = pending[-1]
        node = makers.get(id(v))
        if id(v) in known or node is None:
            known.setdefault(id(v), 0.0)
            pending.pop()
            continue
        missing = [i for i in node.inputs if id(i) not in known]
        if missing:
            pending += missing
            continue
        made = _step(node, [known[id(i)] for i in node.inputs], norm)
        for o in node.outputs:
            known.setdefault(id(o), made)  # the stream may be one of several results of its maker
    return known[id(value)]


def _step(node: Node, ins: Sequence[float], norm: str) -> float:
    """The constant of a node's results, from those of its inputs."""
    if not any(ins):
        return 0.0
    if node.phase is not None or node.inverted or node.log_det:
        return _NONE
    if node.op == "call":
        return _call(node, ins, norm)
    if node.op in ("weight", "phase", "extern"):
        return _NONE
    if node.op in ("add", "sub"):
        kind = node.outputs[0].type  # what is repeated by broadcasting counts several times
        return sum(ins) if all(v.type == kind for v, c in zip(node.inputs, ins, strict=True) if c) else _NONE
    if node.op == "mul" and len(node.inputs) == 1:
        return ins[0] * abs(float(node.attrs["other"]))
    if node.op == "div" and len(node.inputs) == 1 and not node.attrs["reverse"] and node.attrs["other"]:
        return ins[0] / abs(float(node.attrs["other"]))
    op = registry()[node.op]
    constant = op.lipschitz(node.attrs, norm)
    if constant is None:
        found = op.bijection([v.type for v in node.inputs], node.attrs)
        moves = found is not None and found.volume and len(node.inputs) == 1 and not op.weights(node.attrs)
        constant = 1.0 if moves else _NONE
    return ins[0] * constant**node.count if len(node.inputs) == 1 else _NONE


def _call(node: Node, ins: Sequence[float], norm: str) -> float:
    graph = node.callee
    assert graph is not None
    streams = graph.streams
    if len(streams) != 1 or any(ins[1:]) or not ins[0]:
        return _NONE  # of several inputs, or of its context
    return ins[0] * _of_graph(graph, norm) ** node.count


def _of_graph(graph: Graph, norm: str) -> float:
    results = [v for output in graph.outputs for v in output.values]
    if len(results) != 1:
        return _NONE
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    return _constant(results[0], graph.streams[0], makers, norm)
