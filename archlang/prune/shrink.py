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
    TensorType,
    Value,
    WeightDecl,
)
from archlang.ir.paths import Paths, join
from archlang.ops.axes import Axes, Sizes, Var, filled, length
from archlang.ops.base import Context, OpError, registry
from archlang.ops.channels import Tied
from archlang.optimize.clone import copy_proof
from archlang.records import dataclass, replace
from archlang.shapes.dim import Size

__all__ = ["Unprunable", "respelled", "shrink"]


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
    """What a module has become: an op with these attributes, or a graph."""

    attrs: Attrs
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
            copy_proof(old.proof, self.values, self.nodes) if old.proof is not None else None,
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

    # -- nodes -----------------------------------------------------------------------------------------------------
    def node(self, place: int, old: Node) -> list[Node]:
        """What a node becomes: one, or one for each place of a run."""
        said, inner = self.frame.said.get(place, []), self.inner.get(place, [])
        if not said and (not inner or old.op != "call"):
            return [self.one(old, self.mapped(old.inputs), self.mapped(old.outputs), old.path)]
        paths: list[str | None] = [*old.paths]
        steps = list(enumerate(paths or [None]))
        found: list[Node] = []
        streams = self.mapped(old.inputs)
        context = streams[len(old.outputs) :] if len(steps) > 1 else ()
        for i, path in reversed(steps) if old.inverted else steps:
            outs = self.mapped(old.outputs)
            if len(found) < len(steps) - 1:  # handed on to the next
                outs = tuple(Value(kind) for kind in self.between(old, inner[i] if inner else None, said[i : i + 1]))
            if inner:
                self.all.made[self.full(path or "")] = _Made({}, inner[i])
                found.append(self.one(old, streams, outs, path, callee=inner[i]))
            else:
                attrs = self.attrs(old, said[i], path, [v.type for v in streams], [v.type for v in outs])
                found.append(self.one(old, streams, outs, path, attrs=attrs))
            streams = (*outs, *context)
        return found

    def between(self, old: Node, graph: Graph | None, said: Sequence[Tied]) -> Sequence[TensorType]:
        """The types of what a place of a run gives to the next."""
        if graph is None:
            return [TensorType(self.all.sizes(axes), old.outputs[0].type.dtype) for axes in said[0].outs]
        given = graph.streams if old.inverted else [v for output in graph.outputs for v in output.values]
        return [v.type.at(old.sizes) for v in given]

    def one(self, old: Node, ins: tuple[Value, ...], outs: tuple[Value, ...], path: str | None, **changes: Any) -> Node:
        new = replace(old, inputs=ins, outputs=outs, path=path, count=1, **changes)
        self.nodes.setdefault(id(old), new)  # of a run the first, into which the others are folded
        return new

    def attrs(
        self, node: Node, said: Tied, path: str | None, ins: Sequence[TensorType], outs: Sequence[TensorType]
    ) -> Attrs:
        """The attributes of an op for the smaller sizes."""
        entry = registry()[node.op]
        args = entry.spell(node.attrs)
        args |= {name: respelled(args[name], sizes, self.all.of) for name, sizes in said.sizes.items()}
        if node.inverted:
            ins, outs = outs, ins
        try:
            attrs = entry.resolve(ins, args, Context())
            found = entry.infer(ins, attrs, Context())
        except OpError as error:
            where = f" at `{join(self.frame.prefix, path)}`" if path else ""
            raise Unprunable(f"`{node.op}`{where} does not take the smaller sizes: {error.message}") from None
        if not node.log_det and not all(map(_fits, found, outs)):
            raise Unprunable(f"`{node.op}` gives {found}, and its channels say {outs}")
        if path is not None:
            self.all.made[self.full(path)] = _Made(attrs, None)
        return attrs


def _fits(found: TensorType, wanted: TensorType) -> bool:
    """Whether the numbers agree; symbolic sizes are those of before."""
    pairs = zip(found.shape, wanted.shape, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def respelled(old: Any, sizes: Sizes, of: Any) -> Any:
    """An argument with new numbers; what is no number stays as it was written."""
    if isinstance(sizes, tuple):
        olds = old if isinstance(old, tuple) and len(old) == len(sizes) else (None,) * len(sizes)
        return tuple(respelled(one, size, of) for one, size in zip(olds, sizes, strict=True))
    new = filled(sizes, of)
    return new if isinstance(new, (int, str)) or old is None else old
