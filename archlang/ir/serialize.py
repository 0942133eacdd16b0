"""A program as JSON and back, exactly: text form and JSON are equal after a round trip."""

from __future__ import annotations

import math
from typing import Any

from archlang.ir.graph import (
    Attr,
    Child,
    Constraint,
    Graph,
    Init,
    Node,
    Output,
    Port,
    Program,
    Proof,
    Step,
    TensorType,
    Value,
    WeightDecl,
)
from archlang.ir.schema import (
    VERSION,
    ChildModel,
    ConstraintModel,
    FactorModel,
    FloatAttr,
    GraphModel,
    InitModel,
    NodeModel,
    OutputModel,
    PortModel,
    ProgramModel,
    ProofModel,
    SizeAttr,
    SourceModel,
    SpanModel,
    StepModel,
    SumModel,
    TermModel,
    TypeModel,
    ValueModel,
    WeightModel,
)
from archlang.report.diagnostic import Source, Span
from archlang.shapes.dim import Dim, Size, Symbol, symbol

__all__ = ["from_json", "to_json"]


def to_json(program: Program, *, indent: int | None = 1) -> str:
    """The program as JSON text; fields at their defaults are left out."""
    return _Writer().program(program).model_dump_json(indent=indent, exclude_defaults=True) + "\n"


def from_json(text: str | bytes) -> Program:
    """The program that `to_json` wrote. Raises pydantic's ValidationError, or ValueError for a dangling reference."""
    return _Reader(ProgramModel.model_validate_json(text)).program()


# -- writing -----------------------------------------------------------------------------------------------------------
def _size(size: Size) -> Any:
    if isinstance(size, int) or size.as_symbol is not None:
        return size if isinstance(size, int) else size.as_symbol
    terms = []
    for mono, coefficient in size.terms:
        factors = [
            FactorModel(symbol=atom.name, power=power)
            if isinstance(atom, Symbol)
            else FactorModel(floor=_size(atom.numerator), by=_size(atom.denominator), power=power)
            for atom, power in mono
        ]
        terms.append(TermModel(coefficient=coefficient, factors=factors))
    return SumModel(sum=terms)


def _attr(attr: Attr) -> Any:
    if isinstance(attr, tuple):
        return [_attr(a) for a in attr]
    if isinstance(attr, Dim):
        return SizeAttr(size=_size(attr))
    if isinstance(attr, Init):
        return _init(attr)
    if isinstance(attr, float) and not math.isfinite(attr):
        return FloatAttr.model_validate({"float": str(attr)})
    return attr


def _init(init: Init) -> InitModel:
    return InitModel(init=init.name, args={name: _attr(value) for name, value in init.args})


class _Writer:
    def __init__(self) -> None:
        self.sources: list[SourceModel] = []
        self._source_ids: dict[int, int] = {}
        self._ids: dict[int, int] = {}

    def program(self, program: Program) -> ProgramModel:
        graphs = [self.graph(graph) for graph in program.graphs]
        return ProgramModel(
            format="archlang-ir", version=VERSION, root=program.root.name, sources=self.sources, graphs=graphs
        )

    def graph(self, graph: Graph) -> GraphModel:
        self._ids = {id(value): i for i, value in enumerate(graph.values)}
        return GraphModel(
            name=graph.name, block=graph.block, span=self.span(graph.span),
            inputs=[self.port(port) for port in graph.inputs],
            outputs=[self.output(output) for output in graph.outputs],
            nodes=[self.node(node) for node in graph.nodes],
            children={path: self.child(child) for path, child in graph.children.items()},
            weights={path: self.weight(decl) for path, decl in graph.weights.items()},
            borrowed={path: self.child(child) for path, child in graph.borrowed.items()},
            aliases=dict(graph.aliases), symbols=list(graph.symbols),
            constraints=[self.constraint(c) for c in graph.constraints],
            params=self.attrs(graph.params), doc=graph.doc,
            sequential=graph.sequential, reversible=graph.reversible,
            proof=self.proof(graph) if graph.proof is not None else None,
        )  # fmt: skip

    def span(self, span: Span | None) -> SpanModel | None:
        if span is None:
            return None
        key = id(span.source)
        if key not in self._source_ids:
            self._source_ids[key] = len(self.sources)
            self.sources.append(SourceModel(path=span.source.path, text=span.source.text))
        line, column = span.source.position(span.start)
        return SpanModel(file=self._source_ids[key], line=line, column=column, start=span.start, end=span.end)

    def attrs(self, attrs: Any) -> dict[str, Any]:
        return {name: _attr(value) for name, value in attrs.items()}

    def value(self, value: Value) -> ValueModel:
        kind = TypeModel(shape=[_size(s) for s in value.type.shape], dtype=value.type.dtype)
        return ValueModel(id=self._ids[id(value)], type=kind, name=value.name)

    def port(self, port: Port) -> PortModel:
        values = [self.value(v) for v in port.values]
        return PortModel(
            name=port.name, values=values, kind=port.kind, context=port.context, span=self.span(port.span)  # type: ignore[arg-type]
        )  # fmt: skip

    def output(self, output: Output) -> OutputModel:
        ids = [self._ids[id(v)] for v in output.values]
        return OutputModel(values=ids, name=output.name, kind=output.kind, training=output.training)  # type: ignore[arg-type]

    def node(self, node: Node) -> NodeModel:
        return NodeModel(
            op=node.op, inputs=[self._ids[id(v)] for v in node.inputs], outputs=[self.value(v) for v in node.outputs],
            span=self.span(node.span), attrs=self.attrs(node.attrs), path=node.path,
            callee=node.callee.name if node.callee is not None else None, count=node.count,
            sizes={name: _size(size) for name, size in node.sizes.items()}, modules=dict(node.modules),
            phase=node.phase, inverted=node.inverted, log_det=node.log_det,  # type: ignore[arg-type]
        )  # fmt: skip

    def proof(self, graph: Graph) -> ProofModel:
        proof = graph.proof
        assert proof is not None
        places = {id(node): i for i, node in enumerate(graph.nodes)}
        steps = [
            StepModel(
                kind=step.kind, node=places[id(step.node)] if step.node is not None else None,  # type: ignore[arg-type]
                consumed=[self._ids[id(v)] for v in step.consumed], made=[self._ids[id(v)] for v in step.made],
                span=self.span(step.span), names=list(step.names),
            )
            for step in proof.steps
        ]  # fmt: skip
        return ProofModel(
            grade=proof.grade, steps=steps, outputs=proof.outputs,  # type: ignore[arg-type]
            hypotheses=list(proof.hypotheses), effects=list(proof.effects), tolerance=proof.tolerance,
        )  # fmt: skip

    def child(self, child: Child) -> ChildModel:
        return ChildModel(
            path=child.path, span=self.span(child.span), op=child.op, attrs=self.attrs(child.attrs),
            weights=[self.weight(decl) for decl in child.weights],
            graph=child.graph.name if child.graph is not None else None, count=child.count,
        )  # fmt: skip

    def weight(self, decl: WeightDecl) -> WeightModel:
        return WeightModel(
            name=decl.name, shape=list(decl.shape), init=_init(decl.init) if decl.init is not None else None,
            dtype=decl.dtype, kind=decl.kind, trainable=decl.trainable,  # type: ignore[arg-type]
            persistent=decl.persistent, constraint=decl.constraint, span=self.span(decl.span),
        )  # fmt: skip

    def constraint(self, c: Constraint) -> ConstraintModel:
        return ConstraintModel(
            left=_size(c.left), right=_size(c.right), relation=c.relation,  # type: ignore[arg-type]
            reason=c.reason, span=self.span(c.span), phase=c.phase, rule=c.rule,  # type: ignore[arg-type]
            cases=[[self.constraint(inner) for inner in case] for case in c.cases],
        )  # fmt: skip


# -- reading -----------------------------------------------------------------------------------------------------------
def _read_size(model: Any) -> Size:
    if isinstance(model, int):
        return model
    if isinstance(model, str):
        return symbol(model)
    total: Size = 0
    for term in model.sum:
        product: Size = term.coefficient
        for factor in term.factors:
            for _ in range(factor.power):
                product = product * _read_factor(factor)
        total = total + product
    return total


def _read_factor(factor: FactorModel) -> Size:
    if factor.symbol is not None and factor.floor is None and factor.by is None:
        return symbol(factor.symbol)
    if factor.symbol is None and factor.floor is not None and factor.by is not None:
        by = _read_size(factor.by)
        if by == 0:
            raise ValueError("a size divides by zero")
        return _read_size(factor.floor) // by
    raise ValueError("a factor of a size is either `symbol`, or `floor` with `by`")


def _read_attr(model: Any) -> Attr:
    if isinstance(model, list):
        return tuple(_read_attr(m) for m in model)
    if isinstance(model, SizeAttr):
        return _read_size(model.size)
    if isinstance(model, FloatAttr):
        return float(model.float)
    if isinstance(model, InitModel):
        return _read_init(model)
    attr: Attr = model
    return attr


def _read_init(model: InitModel) -> Init:
    return Init(model.init, tuple((name, _read_attr(value)) for name, value in model.args.items()))


class _Reader:
    def __init__(self, model: ProgramModel) -> None:
        self.model = model
        self.sources = [Source(s.path, s.text) for s in model.sources]
        self.graphs: dict[str, Graph] = {}
        self._values: dict[int, Value] = {}

    def program(self) -> Program:
        graphs = [self.graph(model) for model in self.model.graphs]
        return Program(self.callee(self.model.root), graphs)

    def callee(self, name: str) -> Graph:
        if name not in self.graphs:
            raise ValueError(f"graph `{name}` is used before it is defined")
        return self.graphs[name]

    def graph(self, m: GraphModel) -> Graph:
        if m.name in self.graphs:
            raise ValueError(f"two graphs are called `{m.name}`")
        self._values = {}
        graph = Graph(
            name=m.name, block=m.block, span=self.span(m.span),
            children={path: self.child(child) for path, child in m.children.items()},
            weights={path: self.weight(decl) for path, decl in m.weights.items()},
            borrowed={path: self.child(child) for path, child in m.borrowed.items()},
            aliases=dict(m.aliases), symbols=tuple(m.symbols),
            constraints=[self.constraint(c) for c in m.constraints],
            params=_read_attrs(m.params), doc=m.doc, sequential=m.sequential, reversible=m.reversible,
        )  # fmt: skip
        for port in m.inputs:
            graph.inputs.append(
                Port(port.name, self.define(port.values), port.kind, port.context, self.span(port.span))
            )
        graph.nodes.extend(self.node(node) for node in m.nodes)
        for output in m.outputs:
            graph.outputs.append(Output(self.use(output.values), output.name, output.kind, output.training))
        graph.proof = self.proof(graph, m.proof) if m.proof is not None else None
        self.graphs[m.name] = graph
        return graph

    def proof(self, graph: Graph, m: ProofModel) -> Proof:
        steps = []
        for step in m.steps:
            if step.node is not None and not 0 <= step.node < len(graph.nodes):
                raise ValueError(f"a step of `{graph.name}` refers to node {step.node}, which is not there")
            node = graph.nodes[step.node] if step.node is not None else None
            sides = self.use(step.consumed), self.use(step.made)
            steps.append(Step(step.kind, node, *sides, self.span(step.span), tuple(step.names)))
        return Proof(m.grade, tuple(steps), m.outputs, tuple(m.hypotheses), tuple(m.effects), m.tolerance)

    def span(self, m: SpanModel | None) -> Span | None:
        if m is None:
            return None
        if not 0 <= m.file < len(self.sources):
            raise ValueError(f"a span points into source {m.file}, which is not listed")
        if not 0 <= m.start <= m.end <= len(self.sources[m.file].text):
            raise ValueError(f"a span lies outside of source {m.file}")
        return Span(self.sources[m.file], m.start, m.end)

    def define(self, models: list[ValueModel]) -> tuple[Value, ...]:
        for m in models:
            if m.id in self._values:
                raise ValueError(f"value {m.id} is defined twice")
            kind = TensorType(tuple(_read_size(s) for s in m.type.shape), m.type.dtype)
            self._values[m.id] = Value(kind, m.name)
        return tuple(self._values[m.id] for m in models)

    def use(self, ids: list[int]) -> tuple[Value, ...]:
        for i in ids:
            if i not in self._values:
                raise ValueError(f"value {i} is used before it is defined")
        return tuple(self._values[i] for i in ids)

    def node(self, m: NodeModel) -> Node:
        return Node(
            op=m.op, inputs=self.use(m.inputs), outputs=self.define(m.outputs), span=self.span(m.span),
            attrs=_read_attrs(m.attrs), path=m.path, callee=self.callee(m.callee) if m.callee is not None else None,
            count=m.count, sizes={name: _read_size(size) for name, size in m.sizes.items()}, modules=dict(m.modules),
            phase=m.phase, inverted=m.inverted, log_det=m.log_det,
        )  # fmt: skip

    def child(self, m: ChildModel) -> Child:
        return Child(
            path=m.path, span=self.span(m.span), op=m.op, attrs=_read_attrs(m.attrs),
            weights=tuple(self.weight(decl) for decl in m.weights),
            graph=self.callee(m.graph) if m.graph is not None else None, count=m.count,
        )  # fmt: skip

    def weight(self, m: WeightModel) -> WeightDecl:
        return WeightDecl(
            name=m.name, shape=tuple(m.shape), init=_read_init(m.init) if m.init is not None else None,
            dtype=m.dtype, kind=m.kind, trainable=m.trainable, persistent=m.persistent,
            constraint=m.constraint, span=self.span(m.span),
        )  # fmt: skip

    def constraint(self, m: ConstraintModel) -> Constraint:
        left, right = _read_size(m.left), _read_size(m.right)
        cases = tuple(tuple(self.constraint(inner) for inner in case) for case in m.cases)
        return Constraint(left, right, m.relation, m.reason, self.span(m.span), m.phase, m.rule, cases)


def _read_attrs(models: dict[str, Any]) -> dict[str, Attr]:
    return {name: _read_attr(model) for name, model in models.items()}
