"""The typed graph with fewer indices: each instance anew, equal ones shared again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.elaborate.finish import fold_runs
from archlang.groups import Groups
from archlang.groups.walk import Frame
from archlang.ir.graph import (
    Attrs,
    Child,
    Graph,
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
from archlang.ir.paths import Paths, join
from archlang.ops.base import Context, OpError, registry
from archlang.ops.channels import Axes, Sizes, Tied, Var, filled, length
from archlang.records import dataclass, replace
from archlang.shapes.dim import Size, substitute

__all__ = ["Unprunable", "shrink"]


class Unprunable(Exception):
    """An op that does not take the smaller sizes."""


def shrink(program: Program, groups: Groups, kept: Mapping[int, Sequence[int]]) -> Program:
    """The program with the indices of each group that `kept` names, and all of the others.

    groups: those of this program. Paths stay as they are; graphs are shared where instances shrink alike. Raises
    Unprunable for an op that needs the sizes as they were.
    """
    counts = {id(groups.variables[i]): len(indices) for i, indices in kept.items()}
    root = _Shrinker(groups, counts).graph(groups.walk.root)
    return Program.of(root, program.given)


@dataclass(frozen=True, slots=True)
class _Made:
    """What a module has become: an op's attributes and tensors, or a graph."""

    attrs: Attrs
    weights: tuple[WeightDecl, ...]
    graph: Graph | None


class _Shrinker:
    def __init__(self, groups: Groups, counts: Mapping[int, int]) -> None:
        self.walk = groups.walk
        self.counts = counts
        self.made: dict[str, _Made] = {}  # by the path from the root
        self.known: dict[tuple[object, ...], Graph] = {}

    def of(self, var: Var) -> Size:
        return self.counts.get(id(var), var.size)

    def sizes(self, axes: Axes) -> tuple[Size, ...]:
        return tuple(length(axis, self.of) for axis in axes)

    def type(self, frame: Frame, value: Value) -> TensorType:
        """The value's type: numbers shrink, symbols stay those of the graph."""
        new = self.sizes(frame.values[id(value)])
        shape = tuple(size if isinstance(old, int) else old for old, size in zip(value.type.shape, new, strict=True))
        return TensorType(shape, value.type.dtype)

    # -- graphs ----------------------------------------------------------------------------------------------------
    def graph(self, frame: Frame) -> Graph:
        """The graph of an activation, shared with those that came out equal."""
        inner = {place: [self.graph(one) for one in frames] for place, frames in frame.frames.items()}
        built = _Build(self, frame, inner).graph()
        key = _key(frame.graph, built)
        return self.known.setdefault(key, built)

    def decl(self, decl: WeightDecl, key: str) -> WeightDecl:
        axes = self.walk.weights.get(key)
        shape = [size for size in self.sizes(axes) if isinstance(size, int)] if axes is not None else decl.shape
        return replace(decl, shape=tuple(shape))


def _key(old: Graph, new: Graph) -> tuple[object, ...]:
    """What tells two shrunk forms of one graph apart."""
    children = [(path, id(c.graph), str(sorted(c.attrs.items())), c.count) for path, c in new.children.items()]
    borrowed = [(path, id(c.graph), str(sorted(c.attrs.items()))) for path, c in new.borrowed.items()]
    nodes = [(n.op, id(n.callee), n.path, n.count, str(sorted(n.attrs.items()))) for n in new.nodes]
    types = [str(value.type) for value in new.values]
    return id(old), str(children), str(borrowed), str(nodes), str(types), str([d.shape for d in new.weights.values()])


class _Build:
    """One activation's graph."""

    def __init__(self, shrinker: _Shrinker, frame: Frame, inner: Mapping[int, list[Graph]]) -> None:
        self.all = shrinker
        self.frame = frame
        self.inner = inner
        self.paths = Paths(frame.graph)
        self.values = {id(v): Value(shrinker.type(frame, v), v.name) for v in frame.graph.values}
        self.nodes: dict[int, Node] = {}  # by the id of the old one, where there is one for one

    def graph(self) -> Graph:
        old, frame = self.frame.graph, self.frame
        nodes = [new for place, node in enumerate(old.nodes) for new in self.node(place, node)]
        weights = {path: self.all.decl(decl, join(frame.prefix, path)) for path, decl in old.weights.items()}
        children: dict[str, Child] = {}
        for child in old.children.values():
            for path in child.paths:
                children[path] = self.child(child, path, join(frame.prefix, path))
        borrowed = {slot: self.child(child, slot, self.lent(slot)) for slot, child in old.borrowed.items()}
        graph = Graph(
            old.name,
            old.block,
            old.span,
            [Port(p.name, self.mapped(p.values), p.kind, p.context, p.span) for p in old.inputs],
            [Output(self.mapped(o.values), o.name, o.kind, o.training) for o in old.outputs],
            nodes,
            children,
            weights,
            borrowed,
            old.aliases,
            old.symbols,
            old.constraints,
            old.params,
            old.doc,
            old.sequential,
            old.reversible,
            self.proof(old.proof) if old.proof is not None else None,
        )
        fold_runs(graph)
        return graph

    def mapped(self, values: Sequence[Value]) -> tuple[Value, ...]:
        return tuple(self.values[id(v)] for v in values)

    def lent(self, slot: str) -> str:
        return self.frame.lent.get(slot) or self.paths.lend(slot, self.frame.lent) or slot

    def full(self, path: str) -> str:
        owned = self.paths.owned(path) is not None
        return join(self.frame.prefix, self.paths.canonical(path)) if owned else self.lent(path)

    def child(self, old: Child, path: str, full: str) -> Child:
        made = self.all.made.get(full)
        if made is None:  # nothing applies it
            return replace(old, path=path, count=1)
        weights = tuple(self.all.decl(decl, join(full, decl.name)) for decl in old.weights)
        return Child(path, old.span, old.op, made.attrs, weights, made.graph)

    def proof(self, old: Proof) -> Proof:
        steps = tuple(
            Step(
                step.kind,
                self.nodes[id(step.node)] if step.node is not None else None,
                self.mapped(step.consumed),
                self.mapped(step.made),
                step.span,
                step.names,
            )
            for step in old.steps
        )
        return replace(old, steps=steps)

    # -- nodes -----------------------------------------------------------------------------------------------------
    def node(self, place: int, old: Node) -> list[Node]:
        """What a node becomes: one, or one for each place of a run."""
        paths: list[str | None] = [*old.paths]
        if old.op == "weight" or (len(paths) < 2 and old.op != "call"):
            attrs = old.attrs if place not in self.frame.said else self.op(old, self.frame.said[place][0], old.path)
            return [self.one(old, self.mapped(old.inputs), self.mapped(old.outputs), old.path, attrs, None)]
        found: list[Node] = []
        streams = self.mapped(old.inputs)
        context = streams[len(old.outputs) :] if old.count > 1 else ()
        order = list(enumerate(paths))
        for i, path in reversed(order) if old.inverted else order:
            last = len(found) == len(paths) - 1
            graph = self.inner[place][i] if old.callee is not None else None
            attrs = old.attrs
            if graph is not None:
                self.all.made[self.full(path or "")] = _Made({}, (), graph)
                results = [v.type for o in graph.outputs for v in o.values]
            else:
                said = self.frame.said[place][i]
                attrs = self.op(old, said, path)
                results = [TensorType(self.all.sizes(axes), old.outputs[0].type.dtype) for axes in said.outs]
            outs = self.mapped(old.outputs) if last else tuple(Value(self._at(t, old)) for t in results)
            found.append(self.one(old, streams, outs, path, attrs, graph))
            streams = (*outs, *context)
        return found

    def _at(self, kind: TensorType, node: Node) -> TensorType:
        return TensorType(tuple(substitute(size, node.sizes) for size in kind.shape), kind.dtype)

    def one(
        self,
        old: Node,
        ins: tuple[Value, ...],
        outs: tuple[Value, ...],
        path: str | None,
        attrs: Attrs,
        graph: Graph | None,
    ) -> Node:
        new = replace(old, inputs=ins, outputs=outs, path=path, attrs=attrs, callee=graph or old.callee, count=1)
        self.nodes[id(old)] = new
        return new

    def op(self, node: Node, said: Tied, path: str | None) -> dict[str, Any]:
        """The attributes for the smaller sizes."""
        entry = registry()[node.op]
        args = entry.spell(node.attrs)
        args |= {name: _merged(args[name], sizes, self.all.of) for name, sizes in said.sizes.items()}
        values = (node.outputs, node.inputs) if node.inverted else (node.inputs, node.outputs)
        ins = [self.values[id(v)].type for v in values[0]]
        try:
            attrs = entry.resolve(ins, args, Context())
            outs = entry.infer(ins, attrs, Context())
        except OpError as error:
            where = f" at `{join(self.frame.prefix, path)}`" if path else ""
            raise Unprunable(f"`{node.op}`{where} does not take the smaller sizes: {error.message}") from None
        wanted = [self.values[id(v)].type for v in values[1]]
        if not node.log_det and not all(map(_fits, outs, wanted)):
            raise Unprunable(f"`{node.op}` gives {outs}, and its channels say {wanted}")
        if path is not None:
            self.all.made[self.full(path)] = _Made(attrs, (), None)
        return attrs


def _fits(found: TensorType, wanted: TensorType) -> bool:
    """Whether the numbers agree; symbolic sizes are those of before."""
    pairs = zip(found.shape, wanted.shape, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _merged(old: Any, sizes: Sizes, of: Any) -> Any:
    """An argument with new numbers; what is no number stays as it was written."""
    if isinstance(sizes, tuple):
        olds = old if isinstance(old, tuple) and len(old) == len(sizes) else (None,) * len(sizes)
        return tuple(_merged(one, size, of) for one, size in zip(olds, sizes, strict=True))
    new = filled(sizes, of)
    return new if isinstance(new, (int, str)) or old is None else old
