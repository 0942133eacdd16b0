"""Lipschitz constants of branches: the certificate that `x + f(x)` can be undone by iteration.

What bounds a value are constants c by p: its p-norm changes by at most c times the change of the stream, in the norm
that is looked at. A bound in a p-norm is one in every q-norm with q > p, which is smaller. A branch contracts where it
leads from some norm to the same norm with a constant below 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from archlang.ir.graph import Graph, Node, Value
from archlang.ops.base import registry
from archlang.records import dataclass

__all__ = ["TOLERANCE", "Clash", "clash", "contraction", "estimated"]

TOLERANCE = 1e-6  # to which `x + f(x)` is undone, relative to x

Bounds = Mapping[float, float]
_FIXED: Bounds = {1.0: 0.0}  # of what does not depend on the stream
_NONE: Bounds = {}


@dataclass(frozen=True, slots=True)
class Clash:
    """A layer that is bounded from the norm `wants`, and gets what is known in the norm `has` only; node None: the
    branch as a whole, which ends in the norm `has`."""

    node: Node | None
    has: float
    wants: float


def contraction(values: Sequence[Value], stream: Value, makers: Mapping[int, Node]) -> float | None:
    """A constant below 1 of the sum of the values as a function of the stream; None where none is known."""
    norms = {1.0, 2.0, math.inf}.union(*_between(_layers(values, makers)))
    best = min(_Chain(p).total(values, stream, makers) for p in norms)
    return best if best < 1 else None


def clash(values: Sequence[Value], stream: Value, makers: Mapping[int, Node]) -> Clash | None:
    """Where norms of the branch do not fit together, in the one that its first bounded layer is for; None: they do."""
    first = next(_between(_layers(values, makers)), None)
    if first is None:
        return None
    chain = _Chain(first[0])
    chain.total(values, stream, makers)
    return chain.clash


def estimated(values: Sequence[Value], makers: Mapping[int, Node]) -> bool:
    """Whether a layer is bounded by a power iteration for mixed norms, which may find less than the norm."""
    pairs = _between(_layers(values, makers))
    return any(p != 1 and q != math.inf and (p, q) != (2, 2) for p, q in pairs)


def _layers(values: Sequence[Value], makers: Mapping[int, Node]) -> list[Node]:
    """The nodes that lead to the values, the first one first."""
    pending, found = [*values], dict[int, Node]()
    while pending:
        node = makers.get(id(pending.pop()))
        if node is not None and id(node) not in found:
            found[id(node)] = node
            pending += node.inputs
    return [*found.values()][::-1]


def _between(nodes: Iterable[Node]) -> Iterator[tuple[float, float]]:
    """The norms that bounded layers lead from and to, also those inside of what is called."""
    for node in nodes:
        if node.callee is not None:
            yield from _between(node.callee.nodes)
        elif node.op in registry():
            pair = registry()[node.op].norms(node.attrs)
            if pair is not None:
                yield pair


class _Chain:
    """Bounds along a branch, for a change of 1 of the stream in the norm `start`."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.clash: Clash | None = None  # the first

    def total(self, values: Sequence[Value], stream: Value, makers: Mapping[int, Node]) -> float:
        """The constant of the sum of the values; inf where none is known."""
        return sum(self.known(self.of(v, stream, makers, {self.start: 1.0}), self.start) for v in values)

    def known(self, bounds: Bounds, p: float, node: Node | None = None) -> float:
        best = min((c for q, c in bounds.items() if q <= p), default=math.inf)
        if bounds and math.isinf(best) and self.clash is None:
            self.clash = Clash(node, min(bounds), p)
        return best

    def of(self, value: Value, stream: Value, makers: Mapping[int, Node], given: Bounds) -> Bounds:
        """The bounds of a value, others than the stream being fixed."""
        found = {id(stream): given}
        pending = [value]
        while pending:
            v = pending[-1]
            node = makers.get(id(v))
            if id(v) in found or node is None:
                found.setdefault(id(v), _FIXED)
                pending.pop()
                continue
            missing = [i for i in node.inputs if id(i) not in found]
            if missing:
                pending += missing
                continue
            made = self.step(node, [found[id(i)] for i in node.inputs])
            for o in node.outputs:
                found.setdefault(id(o), made)  # the stream may be one of several results of its maker
        return found[id(value)]

    def step(self, node: Node, ins: Sequence[Bounds]) -> Bounds:
        """The bounds of a node's results, from those of its inputs."""
        moving = [b for b in ins if b is not _FIXED]
        if not moving:
            return _FIXED
        if not all(moving) or node.phase is not None or node.inverted or node.log_det:
            return _NONE
        if node.op == "call":
            return self.call(node, ins)
        if node.op in ("weight", "phase", "extern"):
            return _NONE
        if node.op in ("add", "sub"):
            kind = node.outputs[0].type  # what is repeated by broadcasting counts several times
            if any(v.type != kind for v, b in zip(node.inputs, ins, strict=True) if b is not _FIXED):
                return _NONE
            return {p: sum(self.known(b, p, node) for b in moving) for p in {p for b in moving for p in b}}
        if len(ins) > 1:
            return _NONE
        if node.op == "mul":
            return _times(ins[0], abs(float(node.attrs["other"])))
        if node.op == "div" and not node.attrs["reverse"] and node.attrs["other"]:
            return _times(ins[0], 1 / abs(float(node.attrs["other"])))
        return _repeated(partial(self.op, node), ins[0], node.count)

    def op(self, node: Node, given: Bounds) -> Bounds:
        op = registry()[node.op]
        constant = op.lipschitz(node.attrs)
        if constant is None:
            found = op.bijection([v.type for v in node.inputs], node.attrs)
            moves = found is not None and found.volume and not op.weights(node.attrs)
            return given if moves else _NONE
        pair = op.norms(node.attrs)
        if pair is None:
            return _times(given, constant)
        bound = self.known(given, pair[0], node)
        return {pair[1]: constant * bound} if bound < math.inf else _NONE

    def call(self, node: Node, ins: Sequence[Bounds]) -> Bounds:
        graph = node.callee
        assert graph is not None
        results = graph.results
        if len(graph.streams) != 1 or len(results) != 1 or any(b is not _FIXED for b in ins[1:]):
            return _NONE  # of several inputs, or of its context
        return _repeated(partial(self.through, graph, results[0]), ins[0], node.count)

    def through(self, graph: Graph, result: Value, given: Bounds) -> Bounds:
        makers = {id(v): node for node in graph.nodes for v in node.outputs}
        return self.of(result, graph.streams[0], makers, given)


def _times(bounds: Bounds, factor: float) -> Bounds:
    return {p: c * factor for p, c in bounds.items()}


def _repeated(step: Callable[[Bounds], Bounds], given: Bounds, count: int) -> Bounds:
    """What `count` equal steps make of bounds: once a step multiplies all by one number, the others do, too."""
    for done in range(1, count + 1):
        before, given = given, step(given)
        if given is _FIXED or not given:
            return given
        ratios = [given[p] / before[p] for p in given if before.get(p)]
        if before.keys() == given.keys() and len(ratios) == len(given) and max(ratios) <= min(ratios) * (1 + 1e-12):
            return _times(given, max(ratios) ** (count - done))
    return given
