"""Root mean squares of a network's values as it is initialised, and how small errors of inputs pass on: estimates.

Inputs have RMS 1 and independent entries; a layer of weights with standard deviation s and n inputs a unit multiplies
both signal and error by s * sqrt(n); a normalisation gives RMS 1 and divides errors by the RMS before it. Batch
normalisation does so in training (`calibrated`); in evaluation, before its statistics are calibrated, it does nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from math import prod

from archlang.ir.graph import Child, Graph, Init, Node, Value, WeightDecl
from archlang.ops.base import registry
from archlang.records import dataclass, field
from archlang.reversible.factors import constant
from archlang.reversible.runs import runs

__all__ = ["STEPS", "Activation", "Signals", "jump"]

STEPS = 12  # of a run of equal children, as many are followed one by one; then each stands for ever more of them
_MOST = 1e30

_NORMS = ("layernorm", "layernorm2d", "rmsnorm", "groupnorm", "instancenorm", "normalize", "batchnorm")
_GAINS = {  # RMS of f(z) / RMS of z for z ~ N(0, 1): of signals and of errors
    "relu": 0.71, "gelu": 0.65, "silu": 0.60, "mish": 0.65, "elu": 0.80, "selu": 1.0, "celu": 0.80, "hardswish": 0.55,
    "relu6": 0.71, "leaky_relu": 0.71, "tanh": 0.63, "softsign": 0.40, "sigmoid": 0.25, "hardsigmoid": 0.20,
    "softplus": 0.60, "maxpool": 1.0, "avgpool": 0.7, "global_avgpool": 0.3,
}  # fmt: skip
_AT_ZERO = {"sigmoid": 0.5, "hardsigmoid": 0.5, "softplus": 0.69}  # small signals leave this, and add to it
_BOUNDED = ("tanh", "softsign", "sigmoid", "hardsigmoid", "relu6")  # the result is at most about 1


@dataclass(eq=False)
class Activation:
    """RMS of every value of a graph in one place of the network, and the activations of what it calls."""

    graph: Graph
    rms: dict[int, float] = field(default_factory=dict)  # id of the value -> RMS
    calls: dict[int, list[tuple[Activation, int]]] = field(default_factory=dict)
    # id of a call -> activations of its children in order, each with the number of children that it stands for


class Signals:
    """Follows signals and errors through graphs. calibrated: whether batch statistics are those of the data."""

    def __init__(self, calibrated: bool) -> None:
        self.calibrated = calibrated
        self._gains: dict[int, float | None] = {}  # id of a node -> see `_gain`
        self._between: dict[tuple[int, tuple[int, ...], tuple[int, ...]], list[Node]] = {}  # see `_between`
        self._known: dict[tuple[float, ...], Activation] = {}

    def forward(self, graph: Graph, inputs: Sequence[float]) -> Activation:
        """The RMS of every value, from those of the inputs in order."""
        key = (id(graph), *inputs)
        if key not in self._known:
            self._known[key] = self._forward(graph, inputs)
        return self._known[key]

    def _forward(self, graph: Graph, inputs: Sequence[float]) -> Activation:
        here = Activation(graph)
        here.rms.update(zip((id(v) for v in graph.entries), inputs, strict=True))
        for node in graph.nodes:
            outs = self.node(here, node, [here.rms[id(v)] for v in node.inputs])
            here.rms.update((id(v), min(out, _MOST)) for v, out in zip(node.outputs, outs, strict=True))
        return here

    def node(self, here: Activation, node: Node, ins: list[float]) -> list[float]:
        if node.op == "call" and node.callee is not None and not node.inverted:
            return self.call(here, node, ins)
        if node.op == "weight":
            return [_spread(here.graph.weights.get(node.path or ""), [1])]
        out, _ = self.rule(here.graph, node, ins)
        return [out] * len(node.outputs)

    def call(self, here: Activation, node: Node, ins: list[float]) -> list[float]:
        """The children one after the other; after STEPS of them, at ever larger distances.

        One that stands for several is the last of their first third: where a rate of growth falls as 1 / depth, its
        power is no less than the product of theirs.
        """
        callee = runs(node)
        assert callee is not None
        done = here.calls[id(node)] = []
        context = [port.context for port in callee.inputs for _ in port.values]
        recent, at, place = [ins], 0, 0  # inputs of consecutive children, the last of them `at`
        while True:
            weight = 1 if len(done) < STEPS else min(node.count - place, STEPS << (len(done) - STEPS))
            ins = _ahead(recent, place + weight // 3 - at)
            inner = self.forward(callee, ins)
            done.append((inner, weight))
            outs = _results(inner)
            if node.count == 1:
                return outs
            recent, at = [*(recent if weight == 1 else [ins]), _next(ins, context, outs)], place + weight // 3 + 1
            if weight > 1:
                recent.append(_next(ins, context, _results(self.forward(callee, recent[-1]))))
                at += 1
            recent = recent[-3:]
            place += weight
            if place == node.count:
                ahead = _ahead(recent, place - at)
                return [x for x, fixed in zip(ahead, context, strict=True) if not fixed]

    # -- rules -----------------------------------------------------------------------------------------------------
    def rule(self, graph: Graph, node: Node, ins: Sequence[float]) -> tuple[float, list[float]]:
        """RMS of the result, and for each input what an error of it is multiplied by."""
        name, attrs = node.op, node.attrs
        if not ins:
            return 1.0, []
        if name in ("add", "sub", "mean"):
            other = attrs.get("other")
            extra = float(other) if isinstance(other, (int, float)) else 0.0
            share = 1 / len(ins) if name == "mean" else 1.0
            return share * math.hypot(*ins, extra), [share] * len(ins)
        if name in ("mul", "div"):
            return _product(name, attrs, ins)
        if name in _NORMS:
            scale = self._gain(graph, node)
            assert scale is not None
            if name == "batchnorm" and not self.calibrated:
                return scale * ins[0], [scale]
            return scale, [scale / max(ins[0], 1e-12)] + [0.0] * (len(ins) - 1)
        if name == "exp":  # of z ~ N(0, r^2): of the result and of its slope
            out = math.exp(min(ins[0] ** 2, 60.0))
            return out, [out]
        if name in _AT_ZERO and ins[0] <= 1:
            return math.hypot(_AT_ZERO[name], _GAINS[name] * ins[0]), [_GAINS[name]]
        if name in _GAINS:
            gain = _GAINS[name]
            if name in _BOUNDED and ins[0] > 1:
                return gain, [gain / ins[0]]
            return gain * ins[0], [gain] + [0.0] * (len(ins) - 1)
        weight = self._gain(graph, node)
        if weight is not None:
            return weight * ins[0], [weight] + [0.0] * (len(ins) - 1)
        if name == "concat":
            return math.hypot(*ins) / math.sqrt(len(ins)), [1.0] * len(ins)
        return max(ins), [1.0] * len(ins)

    def _gain(self, graph: Graph, node: Node) -> float | None:
        """What the weight of a layer multiplies an RMS by, found once; None where no weight does."""
        key = id(node)
        if key not in self._gains:
            decl = _decl(graph, node, "weight")
            gain: float | None = None
            if node.op in _NORMS:
                gain = _spread(decl, [1])
            elif decl is not None and len(decl.shape) >= 2 and _multiplies(node):
                gain = _spread(decl, decl.shape)
            self._gains[key] = gain
        return self._gains[key]

    # -- errors ----------------------------------------------------------------------------------------------------
    def errors(self, here: Activation, known: Mapping[int, float], wanted: Sequence[Value]) -> list[float]:
        """The errors of values, from those of the streams that they are made from."""
        key = (id(here.graph), tuple(map(id, wanted)), tuple(known))
        nodes = self._between.get(key)
        if nodes is None:
            nodes = self._between[key] = _between(here.graph, known, wanted)
        found = dict(known)
        for node in nodes:
            passed = self.passed_on(here, node, [found.get(id(i), 0.0) for i in node.inputs])  # context has no error
            for out, error in zip(node.outputs, passed, strict=True):
                found[id(out)] = min(error, _MOST)
        return [found.get(id(v), 0.0) for v in wanted]

    def passed_on(self, here: Activation, node: Node, errors: list[float]) -> list[float]:
        """Errors of a node's outputs, from those of its inputs."""
        if not any(errors):
            return [0.0] * len(node.outputs)
        if node.op == "call" and not node.inverted:
            for inner, weight in here.calls.get(id(node), ()):
                ports = inner.graph.entries
                known = {id(v): e for v, e in zip(ports, errors, strict=True)}
                outs = self.errors(inner, known, inner.graph.results)
                rate = _power(math.hypot(*outs) / math.hypot(*errors), weight - 1) if any(errors) else 1.0
                errors = [e * rate for e in outs] + errors[len(outs) :]
            return errors[: len(node.outputs)]
        _, gains = self.rule(here.graph, node, [here.rms[id(v)] for v in node.inputs])
        return [math.hypot(*(g * e for g, e in zip(gains, errors, strict=True)))] * len(node.outputs)


def _between(graph: Graph, known: Iterable[int], wanted: Sequence[Value]) -> list[Node]:
    """The nodes that make values out of known ones (by id) and context, in order."""
    makers = {id(v): node for node in graph.nodes for v in node.outputs}
    found, nodes, pending = set(known), [], [*wanted]
    while pending:
        v = pending[-1]
        node = makers.get(id(v))
        if id(v) in found or node is None:
            pending.pop()
            continue
        missing = [i for i in node.inputs if id(i) not in found and id(i) in makers]
        if missing:
            pending += missing
            continue
        nodes.append(node)
        found.update(map(id, node.outputs))
    return nodes


def _results(here: Activation) -> list[float]:
    return [here.rms[id(v)] for v in here.graph.results]


def _next(ins: Sequence[float], context: Sequence[bool], outs: Sequence[float]) -> list[float]:
    """What the next child takes: these results, and the same context."""
    rest = iter(outs)
    return [old if fixed else next(rest) for old, fixed in zip(ins, context, strict=True)]


def _ahead(recent: Sequence[Sequence[float]], steps: int) -> list[float]:
    return [min(jump(column, steps), _MOST) for column in zip(*recent, strict=True)]


def jump(last: Sequence[float], steps: int) -> float:
    """The value `steps` after the last one, where its square follows s' = A * s + C."""
    if len(last) < 3 or steps <= 0:
        return last[-1]
    first, second, third = (min(x, 1e60) ** 2 for x in last)
    if abs(second - first) <= 1e-12 * second:
        return math.sqrt(max(third + steps * (third - second), 0.0))
    growth = min(max((third - second) / (second - first), 0.0), 1e4)
    if abs(growth - 1) < 1e-6:
        return math.sqrt(max(third + steps * (third - second), 0.0))
    power = _power(growth, steps)
    return math.sqrt(max(third + (third - second) * growth * (power - 1) / (growth - 1), 0.0))


def _power(x: float, n: int) -> float:
    return math.exp(min(n * math.log(max(x, 1e-12)), 60.0))


def _product(name: str, attrs: Mapping[str, object], ins: Sequence[float]) -> tuple[float, list[float]]:
    other = attrs.get("other")
    if isinstance(other, (int, float)):
        factor = abs(float(other)) if name == "mul" else 1 / max(abs(float(other)), 1e-12)
        return factor * ins[0], [factor]
    if name == "div":
        a, b = ins
        return a / max(b, 1e-12), [1 / max(b, 1e-12), a / max(b, 1e-12) ** 2]
    whole = prod(ins)
    return whole, [whole / m if m else 0.0 for m in ins]


def _multiplies(node: Node) -> bool:
    types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
    return registry()[node.op].macs(types, [v.type for v in node.outputs], node.attrs) != 0


def _decl(graph: Graph, node: Node, name: str) -> WeightDecl | None:
    if node.path is None:
        return None
    child: Child | None = graph.children.get(node.path) or graph.borrowed.get(node.path)
    return next((d for d in child.weights if d.name == name), None) if child is not None else None


def _spread(decl: WeightDecl | None, shape: Sequence[int]) -> float:
    """Standard deviation at the start times sqrt(inputs a unit): what a layer multiplies an RMS by."""
    if decl is None:
        return 1.0
    start = constant(decl.init)
    if start is not None:
        return abs(start) * math.sqrt(prod(shape[1:]))
    fan_in = prod(shape[1:]) if len(shape) > 1 else 1
    if decl.init is None:
        return 1 / math.sqrt(3) if len(decl.shape) > 1 else 1.0  # torch's: uniform in +-1 / sqrt(fan_in)
    return _initial(decl.init, decl.shape, fan_in)


def _initial(init: Init, shape: Sequence[int], fan_in: int) -> float:
    args = dict(init.args)
    fan_out = shape[0] * prod(shape[2:]) if len(shape) > 1 else 1
    if init.name.startswith("kaiming"):
        fan = fan_out if args.get("mode") == "fan_out" else max(fan_in, 1)
        slope = args.get("a", 0.0)
        relu = args.get("nonlinearity", "leaky_relu") in ("relu", "leaky_relu")
        gain = math.sqrt(2 / (1 + float(slope) ** 2)) if relu and isinstance(slope, (int, float)) else 1.0
        return gain * math.sqrt(fan_in / max(fan, 1))
    if init.name.startswith("xavier"):
        return math.sqrt(2 * fan_in / max(fan_in + fan_out, 1))
    std = args.get("std", args.get("b"))
    if isinstance(std, (int, float)):
        return float(std) * math.sqrt(fan_in)
    return 1.0
