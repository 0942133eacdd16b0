"""Small builders for graphs: a test writes a block as a few calls, sizes and weights come from the op registry."""

from __future__ import annotations

from typing import Any

import archlang.ops  # noqa: F401  (fills the registry)
from archlang.ir.graph import Child, Graph, Node, Output, Port, Program, TensorType, Value, WeightDecl
from archlang.ops.base import REQUIRED, Context, registry
from archlang.report.diagnostic import Source, Span
from archlang.shapes.dim import Size, substitute, symbol, symbols

TEXT = Source("specs/net.arch", "\n" * 200)
B, H, W, T = (symbol(name) for name in "BHWT")


def span(line: int) -> Span:
    return Span(TEXT, line - 1, line - 1)


class Block:
    """A graph under construction."""

    def __init__(self, name: str, *, block: str | None = None, line: int = 1, doc: str = "", **params: Any) -> None:
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
        self.graph = Graph(name, name if block is None else block, span(line), params=plain, doc=doc)
        self.phase: str | None = None

    # -- signature ---------------------------------------------------------------------------------------------------
    def input(self, *shape: Size, name: str = "x", dtype: str = "float", context: bool = False) -> Value:
        value = Value(TensorType(shape, dtype), name)
        self.graph.inputs.append(Port(name, (value,), context=context))
        self._bind(value)
        return value

    def inputs(self, *shapes: tuple[Size, ...], name: str = "xs") -> tuple[Value, ...]:
        values = tuple(Value(TensorType(s)) for s in shapes)
        self.graph.inputs.append(Port(name, values, kind="tensors"))
        for value in values:
            self._bind(value)
        return values

    def _bind(self, value: Value) -> None:
        new = sorted(set().union(*(symbols(s) for s in value.type.shape)) - set(self.graph.symbols), key="BTHWC".find)
        self.graph.symbols = (*self.graph.symbols, *new)

    def returns(self, *values: Value, name: str = "", training: bool = False, kind: str = "tensor") -> None:
        self.graph.outputs.append(Output(values, name, kind, training))

    # -- steps -------------------------------------------------------------------------------------------------------
    def op(self, op: str, *ins: Value, path: str | None = None, bind: str = "", count: int = 1, **args: Any) -> Value:
        return self.ops(op, *ins, path=path, bind=bind, count=count, **args)[0]

    def ops(
        self, op: str, *ins: Value, path: str | None = None, bind: str = "", count: int = 1, **args: Any
    ) -> tuple[Value, ...]:
        entry = registry()[op]
        given = {p.name: args.pop(p.name, p.default) for p in entry.params}
        assert not args and REQUIRED not in given.values(), (op, args, given)
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        cx = Context()
        types = [v.type for v in ins]
        attrs = entry.resolve(types, given, cx)
        made = entry.infer(types, attrs, cx)
        weights = entry.weights(attrs)
        known = {*self.graph.borrowed, *self.graph.children, *self.graph.aliases}
        if path is not None and path not in known:
            self.graph.children[path] = Child(path, None, op, attrs, weights, count=count)
        outs = tuple(Value(t, bind) for t in made)
        self.graph.nodes.append(Node(op, ins, outs, None, attrs, path, count=count, phase=self.phase))
        return outs

    def call(
        self,
        callee: Graph,
        *ins: Value,
        path: str,
        bind: str = "",
        count: int = 1,
        modules: dict[str, str] | None = None,
    ) -> Value:
        return self.calls(callee, *ins, path=path, bind=(bind,), count=count, modules=modules)[0]

    def calls(
        self,
        callee: Graph,
        *ins: Value,
        path: str,
        bind: tuple[str, ...] = (),
        count: int = 1,
        modules: dict[str, str] | None = None,
    ) -> tuple[Value, ...]:
        sizes: dict[str, Size] = {}
        for value, port in zip(ins, (v for p in callee.inputs for v in p.values), strict=True):
            for here, there in zip(value.type.shape, port.type.shape, strict=True):
                if not isinstance(there, int) and there.as_symbol:
                    sizes.setdefault(there.as_symbol, here)
        if path not in self.graph.children and path not in self.graph.borrowed:
            self.graph.children[path] = Child(path, span(1), graph=callee, count=count)
        results = [v.type for o in callee.outputs for v in o.values]
        names = (*bind, *("" for _ in results))
        outs = tuple(
            Value(TensorType(tuple(substitute(s, sizes) for s in t.shape), t.dtype), n)
            for t, n in zip(results, names, strict=False)
        )
        node = Node(
            "call", ins, outs, span(2), {}, path, callee, count, sizes=sizes, modules=modules or {}, phase=self.phase
        )
        self.graph.nodes.append(node)
        return outs

    def weight(self, name: str, *shape: int, bind: str | None = None, **decl: Any) -> Value:
        self.graph.weights.setdefault(name, WeightDecl(name, shape, **decl))
        dtype = self.graph.weights[name].dtype
        value = Value(TensorType(shape, dtype), name if bind is None else bind)
        self.graph.nodes.append(Node("weight", (), (value,), None, {}, name, phase=self.phase))
        return value

    def select(self, train: Value, evaluation: Value, bind: str = "") -> Value:
        value = Value(train.type, bind)
        self.graph.nodes.append(Node("phase", (train, evaluation), (value,), None))
        return value


def chain(name: str, x: tuple[Size, ...], steps: list[Any], block: str = "") -> Graph:
    """A plain composition: ("op", {args}) or a graph, or (graph, count), numbered by position."""
    made = Block(name, block=block)
    made.graph.sequential = True
    value = made.input(*x)
    place = 0
    for step in steps:
        if isinstance(step, Graph):
            value, place = made.call(step, value, path=str(place)), place + 1
        elif isinstance(step[0], Graph):
            value, place = made.call(step[0], value, path=str(place), count=step[1]), place + step[1]
        else:
            op, args = step
            path = str(place) if op in ("batchnorm", "conv", "layernorm", "linear") else None
            value, place = made.op(op, value, path=path, **args), place + 1
    made.returns(value)
    return made.graph


def program(root: Graph) -> Program:
    return Program.of(root)
