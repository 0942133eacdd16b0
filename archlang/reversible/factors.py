"""Factors of streams: intervals over the nodes that make a value, and from them whether it can be 0.

`bounds` are what holds for any weights and inputs; `nominal` ones take weights at their initial values, for estimates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from archlang.ir.graph import NONZERO_EPS, Graph, Init, Node, Value
from archlang.records import dataclass

__all__ = ["Range", "bounds", "constant", "rounds"]

_INF = math.inf
_SMALLEST = {"float": 1.2e-38, "float16": 6.2e-5, "bfloat16": 1.2e-38, "float32": 1.2e-38, "float64": 2.3e-308}
_DEPTH = 100  # nodes deep; beyond it nothing is known


@dataclass(frozen=True, slots=True)
class Range:
    """low <= x <= high and |x| >= away; `strict`: never 0 in exact arithmetic, though it may come close to it."""

    low: float = -_INF
    high: float = _INF
    away: float = 0.0
    strict: bool = False

    @staticmethod
    def of(low: float, high: float, *, strict: bool = False) -> Range:
        away = max(low, -high, 0.0)
        return Range(low, high, away, strict or away > 0)

    @property
    def most(self) -> float:
        """The largest |x|."""
        return max(abs(self.low), abs(self.high))

    def __add__(self, other: Range) -> Range:
        positive = (self.low >= 0 and other.low >= 0) or (self.high <= 0 and other.high <= 0)
        return Range.of(self.low + other.low, self.high + other.high, strict=positive and (self.strict or other.strict))

    def __neg__(self) -> Range:
        return Range(-self.high, -self.low, self.away, self.strict)

    def __mul__(self, other: Range) -> Range:
        ends = [_product(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Range(min(ends), max(ends), self.away * other.away, self.strict and other.strict)

    def __or__(self, other: Range) -> Range:
        away = min(self.away, other.away)
        return Range(min(self.low, other.low), max(self.high, other.high), away, self.strict and other.strict)

    def inverse(self) -> Range:
        """1 / x; nothing is known where x may be 0."""
        if not self.away:
            return Range(0 if self.low >= 0 else -_INF, 0 if self.high <= 0 else _INF, 0, self.strict)
        ends = [1 / x if x else math.copysign(1 / self.away, x) for x in (self.low, self.high)]
        far = 1 / self.away
        low = min(ends) if self.low > 0 or self.high < 0 else -far
        high = max(ends) if self.low > 0 or self.high < 0 else far
        return Range(low, high, 1 / self.most if self.most < _INF else 0.0, True)

    def map(self, function: Callable[[float], float], *, strict: bool = False) -> Range:
        """The image under a function that never decreases."""
        return Range.of(function(self.low), function(self.high), strict=strict)


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else _INF


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x))


def _softplus(x: float) -> float:
    return x if x > 30 else math.log1p(_exp(x))


_RISING: dict[str, tuple[Callable[[float], float], bool]] = {  # function, whether it is positive everywhere
    "exp": (_exp, True),
    "exp2": (lambda x: _exp(x * math.log(2)), True),
    "sigmoid": (_sigmoid, True),
    "softplus": (_softplus, True),
    "tanh": (math.tanh, False),
    "atan": (math.atan, False),
    "erf": (math.erf, False),
    "softsign": (lambda x: math.copysign(1.0, x) if math.isinf(x) else x / (1 + abs(x)), False),
    "relu": (lambda x: max(x, 0.0), False),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), False),
    "hardsigmoid": (lambda x: min(max(x / 6 + 0.5, 0.0), 1.0), False),
    "expm1": (lambda x: _exp(x) - 1, False),
    "sqrt": (lambda x: math.sqrt(max(x, 0.0)) if x < _INF else x, False),
    "log1p": (lambda x: math.log1p(x) if -1 < x < _INF else x, False),
}
_FIXED = {
    "softmax": Range.of(0, 1, strict=True),
    "softmin": Range.of(0, 1, strict=True),
    "sin": Range.of(-1, 1),
    "cos": Range.of(-1, 1),
    "silu": Range.of(-0.28, _INF),
    "gelu": Range.of(-0.18, _INF),
    "mish": Range.of(-0.31, _INF),
    "sign": Range.of(-1, 1),
    "hardswish": Range.of(-0.375, _INF),
    "log_softmax": Range.of(-_INF, 0),
    "logsigmoid": Range.of(-_INF, 0, strict=True),
}
_SAME = frozenset((
    "identity", "reshape", "flatten", "unflatten", "permute", "transpose", "squeeze", "unsqueeze", "expand", "index",
    "flip", "roll", "rearrange", "repeat", "tile", "concat", "stack", "split", "chunk", "halves", "unbind",
    "contiguous", "detach", "cast", "space_to_depth", "depth_to_space", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "maximum", "minimum", "where", "phase", "gather", "index_select", "repeat_interleave", "maxpool",
))  # fmt: skip


def constant(init: Init | None) -> float | None:
    """The value of a constant initialiser."""
    if init is None:
        return None
    if init.name in ("zeros", "ones"):
        return float(init.name == "ones")
    if init.name == "constant":
        value = dict(init.args).get("value", dict(init.args).get("val"))
        return float(value) if isinstance(value, (int, float)) else None
    return None


def bounds(value: Value, makers: Mapping[int, Node], graph: Graph, *, nominal: bool = False) -> Range:
    """What is known of a value's elements, from the nodes that make it."""
    return _Intervals(nominal).of(value, makers, graph, {}, 0)


def rounds(found: Range, dtype: str, *, reciprocal: bool) -> bool:
    """Whether a factor that is never 0 can round to 0; with `reciprocal`, or become infinite."""
    return found.away < _SMALLEST.get(dtype, _SMALLEST["float"]) or (found.most == math.inf and reciprocal)


class _Intervals:
    def __init__(self, nominal: bool) -> None:
        self.nominal = nominal

    def of(
        self, value: Value, makers: Mapping[int, Node], graph: Graph, given: Mapping[int, Range], depth: int
    ) -> Range:
        if id(value) in given:
            return given[id(value)]
        node = makers.get(id(value))
        if node is None or depth > _DEPTH or node.inverted:
            return Range()
        if node.op == "weight":
            return self.weight(node, graph)
        ins = [self.of(v, makers, graph, given, depth + 1) for v in node.inputs]
        if node.op == "call":
            return self.call(node, value, ins, depth)
        return self.op(node, ins)

    def weight(self, node: Node, graph: Graph) -> Range:
        decl = graph.weights.get(graph.aliases.get(node.path or "", node.path or ""))
        if decl is None:
            return Range()
        start = constant(decl.init)
        if self.nominal and start is not None:
            return Range.of(start, start)
        if start is not None and not decl.trainable and decl.kind == "parameter":
            return Range.of(start, start)
        return Range(away=NONZERO_EPS, strict=True) if decl.constraint == "nonzero" else Range()

    def call(self, node: Node, value: Value, ins: Sequence[Range], depth: int) -> Range:
        callee = node.callee
        assert callee is not None
        inside = callee.entries
        given = dict(zip(map(id, inside), ins, strict=True)) if node.count == 1 else {id(v): Range() for v in inside}
        makers = {id(v): n for n in callee.nodes for v in n.outputs}
        results = callee.results
        result = results[next(i for i, v in enumerate(node.outputs) if v is value)]
        return self.of(result, makers, callee, given, depth + 1)

    def op(self, node: Node, ins: Sequence[Range]) -> Range:
        name, attrs = node.op, node.attrs
        if name in ("add", "sub", "mul", "div", "pow"):
            return _arithmetic(name, attrs, ins)
        if name in _RISING:
            function, positive = _RISING[name]
            return ins[0].map(function, strict=positive)
        if name in _FIXED:
            return _FIXED[name]
        match name:
            case "neg":
                return -ins[0]
            case "abs":
                return Range(ins[0].away, ins[0].most, ins[0].away, ins[0].strict)
            case "square":
                return Range(ins[0].away ** 2, _square(ins[0].most), ins[0].away ** 2, ins[0].strict)
            case "require_nonzero":
                away = max(ins[0].away, _SMALLEST["float"])
                return Range(ins[0].low, ins[0].high, away, True)
            case "reciprocal":
                return ins[0].inverse()
            case "full":
                number = attrs.get("value")
                return Range.of(number, number) if isinstance(number, (int, float)) else Range()
            case "clamp" | "hardtanh":
                least, most = (("min", "max"), ("min_val", "max_val"))[name == "hardtanh"]
                low = attrs[least] if attrs[least] is not None else -_INF
                high = attrs[most] if attrs[most] is not None else _INF
                return ins[0].map(lambda x: min(max(x, low), high))
            case "elu":
                return Range.of(-abs(attrs["alpha"]), _INF)
            case "leaky_relu":
                slope = attrs["negative_slope"]
                return ins[0].map(lambda x: x if x > 0 or not slope else slope * x) if slope >= 0 else Range()
        if name in _SAME and ins:
            inputs = ins[1:] if name == "where" else ins[:1] if name in ("gather", "index_select") else ins
            found = inputs[0] if inputs else Range()
            for other in inputs[1:]:
                found = found | other
            return found
        return Range()


def _square(x: float) -> float:
    return x * x


def _arithmetic(name: str, attrs: Mapping[str, object], ins: Sequence[Range]) -> Range:
    other = attrs.get("other")
    operands = list(ins)
    if isinstance(other, (int, float)):
        number = Range.of(float(other), float(other))
        operands = [number, *ins] if attrs.get("reverse") else [*ins, number]
    elif other is not None:
        return Range()
    first, *rest = operands
    for right in rest:
        if name == "add":
            first = first + right
        elif name == "sub":
            first = first + -right
        elif name == "mul":
            first = first * right
        elif name == "div":
            first = first * right.inverse()
        else:
            even = right.low == right.high and right.low > 0 and right.low % 2 == 0
            if not even:
                return Range()
            first = Range(first.away**right.low, _power(first.most, right.low), first.away**right.low, first.strict)
    return first


def _power(x: float, n: float) -> float:
    try:
        return float(x**n)
    except OverflowError:
        return _INF
