"""Builds IR graphs by hand, with the op registry's own rules for attributes, types and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import Child, Constraint, Graph, Init, Node, Output, Port, Program, TensorType, Value, WeightDecl
from archlang.ir.paths import Paths
from archlang.ops.base import Context, registry
from archlang.report.diagnostic import Source, Span
from archlang.shapes.dim import Size, substitute, symbol

SOURCE = Source("hand.arch", "block net(x) {\n    y = x -> conv1: conv(64, 3)\n    return y\n}\n")


def span(start: int, end: int | None = None) -> Span:
    return Span(SOURCE, start, start + 4 if end is None else end)


def sizes(text: str) -> tuple[Size, ...]:
    """`"B 3 H W"` -> sizes: symbols and numbers."""
    return tuple(int(word) if word.isdecimal() else symbol(word) for word in text.split())


class Build:
    """One graph in the making. Methods add to it and return the new wires."""

    def __init__(self, name: str, symbols: str = "", **params: Any) -> None:
        self.graph = Graph(name, name, span(0, 9), symbols=tuple(symbols.split()), params=params)

    # -- ports -----------------------------------------------------------------------------------------------------
    def input(self, name: str, shape: str, dtype: str = "float", context: bool = False) -> Value:
        value = Value(TensorType(sizes(shape), dtype), name)
        self.graph.inputs.append(Port(name, (value,), context=context))
        return value

    def inputs(self, name: str, *shapes: str) -> tuple[Value, ...]:
        values = tuple(Value(TensorType(sizes(s))) for s in shapes)
        self.graph.inputs.append(Port(name, values, kind="tensors"))
        return values

    def output(self, value: Value | Sequence[Value], name: str = "", training: bool = False) -> Graph:
        kind = "tensor" if isinstance(value, Value) else "tensors"
        values = (value,) if isinstance(value, Value) else tuple(value)
        self.graph.outputs.append(Output(values, name, kind, training))
        return self.graph

    # -- children --------------------------------------------------------------------------------------------------
    def child(self, path: str, graph: Graph, count: int = 1) -> Child:
        self.graph.children[path] = Child(path, span(16), graph=graph, count=count)
        return self.graph.children[path]

    def borrow(self, slot: str, child: Child) -> None:
        self.graph.borrowed[slot] = Child(slot, span(16), child.op, child.attrs, child.weights, child.graph)

    # -- nodes -----------------------------------------------------------------------------------------------------
    def weight(self, path: str, shape: Sequence[int], name: str = "", **decl: Any) -> Value:
        self.graph.weights[path] = WeightDecl(path, tuple(shape), span=span(20), **decl)
        out = Value(TensorType(tuple(shape)), name)
        self.graph.nodes.append(Node("weight", (), (out,), span(20), path=path))
        return out

    def op(
        self,
        op: str,
        *ins: Value,
        path: str | None = None,
        count: int = 1,
        phase: str | None = None,
        name: str = "",
        trainable: bool = True,
        **args: Any,
    ) -> Value:
        entry, types, cx = registry()[op], [v.type for v in ins], Context()
        given = {p.name: p.default for p in entry.params} | args
        attrs = entry.resolve(types, given, cx)
        (out,) = (Value(t, name) for t in entry.infer(types, attrs, cx))
        self.require(cx.constraints)
        if path is not None and Paths(self.graph).child(path) is None:
            weights = entry.weights(attrs)
            self.graph.children[path] = Child(path, span(28, 33), op, attrs, weights, count=count)
        self.graph.nodes.append(Node(op, ins, (out,), span(28), attrs, path, count=count, phase=phase))
        return out

    def call(
        self,
        graph: Graph,
        *ins: Value,
        path: str,
        count: int = 1,
        phase: str | None = None,
        modules: Mapping[str, str] | None = None,
        names: Sequence[str] = (),
    ) -> tuple[Value, ...]:
        if Paths(self.graph).child(path) is None:
            self.child(path, graph, count)
        ports = [v for port in graph.inputs for v in port.values]
        at: dict[str, Size] = {}
        for port, value in zip(ports, ins, strict=True):
            for want, real in zip(port.type.shape, value.type.shape, strict=True):
                if not isinstance(want, int) and want.as_symbol:
                    at.setdefault(want.as_symbol, real)
        results = [v for output in graph.outputs for v in output.values]
        outs = tuple(
            Value(TensorType(tuple(substitute(s, at) for s in r.type.shape), r.type.dtype), name)
            for r, name in zip(results, names or [""] * len(results), strict=True)
        )
        node = Node("call", ins, outs, span(24), {}, path, graph, count, at, dict(modules or {}), phase)
        self.graph.nodes.append(node)
        return outs

    def phase(self, train: Value, evaluate: Value, name: str = "") -> Value:
        out = Value(train.type, name)
        self.graph.nodes.append(Node("phase", (train, evaluate), (out,), span(24)))
        return out

    def require(self, constraints: Sequence[Constraint]) -> None:
        for c in constraints:
            self.graph.constraints.append(Constraint(c.left, c.right, c.relation, c.reason, span(28)))

    def program(self) -> Program:
        return Program.of(self.graph)


def extern(build: Build, path: str, target: str, out: TensorType, *ins: Value, **arguments: Any) -> Value:
    """An extern block under `path`."""
    attrs = {"target": target, "args": tuple(arguments.items()), "pure": False}
    value = Value(out)
    build.graph.children[path] = Child(path, span(16), "extern", attrs)
    build.graph.nodes.append(Node("extern", ins, (value,), span(16), attrs, path))
    return value


def constant(value: float) -> Init:
    return Init("constant", (("value", value),))


__all__ = ["SOURCE", "Build", "constant", "extern", "sizes", "span"]
