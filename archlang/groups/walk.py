"""Follows a program instance by instance, and ties the axes of its wires and weights by what each op says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archlang.ir.graph import CONTRACTIONS, Graph, Node, Program, TensorType, Value, WeightDecl, attrs_at
from archlang.ir.paths import Paths, join
from archlang.ops.axes import Axes
from archlang.ops.base import Context, registry
from archlang.ops.channels import Tied, Ties
from archlang.records import dataclass, field
from archlang.shapes.dim import Size, substitute

__all__ = ["Frame", "Walk"]

SIZED = ("columns", "eye", "unit", "values")  # initialisers whose arguments count entries


@dataclass(eq=False, slots=True)
class Frame:
    """An activation of a graph: where the instance stands, the axes of its values, and what was found at its nodes.

    said, frames: for each node by its place, what the op said, or the activations of the callee, in order.
    """

    graph: Graph
    sizes: Mapping[str, Size]
    prefix: str
    lent: Mapping[str, str]
    values: dict[int, Axes] = field(default_factory=dict)
    said: dict[int, list[Tied]] = field(default_factory=dict)
    frames: dict[int, list[Frame]] = field(default_factory=dict)

    def type(self, value: Value) -> TensorType:
        """The value's type, with the root's symbols."""
        return value.type.at(self.sizes)

    def attrs(self, node: Node) -> dict[str, Any]:
        """The node's attributes, with the root's symbols."""
        return attrs_at(node.attrs, self.sizes)


class Walk:
    """The ties of a whole program. `weights` are the axes of each tensor that the network reads, by its first key."""

    def __init__(self, program: Program) -> None:
        self.ties = Ties()
        self.weights: dict[str, Axes] = {}
        self._paths: dict[int, Paths] = {}
        root = program.root
        ins = []
        for port in root.inputs:
            for value in port.values:
                why = f"the input `{port.name}` has it"
                ins.append(tuple(self.ties.fixed(size, why) for size in value.type.shape))
        self.root = Frame(root, {}, "", {})
        for axes in self._run(self.root, ins):
            self.ties.fix(axes, "the network returns it")
        self.ties.settle()

    # -- graphs ----------------------------------------------------------------------------------------------------
    def _run(self, frame: Frame, ins: Sequence[Axes]) -> list[Axes]:
        graph = frame.graph
        for value, axes in zip(graph.entries, ins, strict=True):
            frame.values[id(value)] = axes
        for place, node in enumerate(graph.nodes):
            found = self._node(frame, place, node, [frame.values[id(v)] for v in node.inputs])
            for value, axes in zip(node.outputs, found, strict=True):
                frame.values[id(value)] = axes
        return [frame.values[id(v)] for v in graph.results]

    def _node(self, frame: Frame, place: int, node: Node, ins: list[Axes]) -> Sequence[Axes]:
        if node.op == "phase":
            return (self.ties.pointwise(ins),)
        if node.op == "weight":
            path = self._of(frame.graph).canonical(node.path or "")
            return (self._weight(join(frame.prefix, path), frame.graph.weights[path]),)
        if node.op in CONTRACTIONS:
            return self._contraction(frame, place, node, ins)
        if not node.inverted:
            return self._forward(frame, place, node, ins)
        new = [tuple(self.ties.free(size) for size in frame.type(v).shape) for v in node.outputs]
        context = ins[node.callee.carried :] if node.callee is not None else []
        for made, axes in zip(self._forward(frame, place, node, [*new, *context]), ins, strict=False):
            self.ties.pointwise((made, axes))
        return new

    def _forward(self, frame: Frame, place: int, node: Node, ins: list[Axes]) -> Sequence[Axes]:
        """What an op or a callee gives; of an inverted node, what its forward direction gives."""
        if node.log_det:
            self.ties.hold((axis for axes in ins for axis in axes), "a log-determinant depends on it")
        if node.op == "call":
            return self._call(frame, place, node, ins)
        paths: list[str | None] = [*node.paths]
        for path in paths or [None]:
            said = self._op(frame, node, path, ins)
            frame.said.setdefault(place, []).append(said)
            ins = list(said.outs)
        if node.log_det:
            return (
                tuple(self.ties.fixed(size, "a log-determinant has it") for size in frame.type(node.outputs[0]).shape),
            )
        return ins

    def _call(self, frame: Frame, place: int, node: Node, ins: list[Axes]) -> list[Axes]:
        callee = node.callee
        assert callee is not None
        count = len(callee.streams)
        total = [ins.pop(count)] if node.log_det else []
        sizes = {name: substitute(size, frame.sizes) for name, size in node.sizes.items()}
        lent = {slot: self._full(frame, path) for slot, path in node.modules.items()}
        context = [port.context for port in callee.inputs for _ in port.values]
        outs: list[Axes] = []
        for i, path in enumerate(node.paths):
            if i:
                streams = iter(outs)
                ins = [axes if fixed else next(streams) for axes, fixed in zip(ins, context, strict=True)]
            inner = Frame(callee, sizes, self._full(frame, path), lent)
            frame.frames.setdefault(place, []).append(inner)
            outs = self._run(inner, ins)
        at = callee.carried
        return [*outs[:at], *total, *outs[at:]]

    def _contraction(self, frame: Frame, place: int, node: Node, ins: list[Axes]) -> Sequence[Axes]:
        """`s + f(s)`: s, f(s) and the sum are reordered alike."""
        assert node.callee is not None
        sizes = {name: substitute(size, frame.sizes) for name, size in node.sizes.items()}
        inner = Frame(node.callee, sizes, frame.prefix, frame.lent)
        frame.frames[place] = [inner]
        stream = self.ties.pointwise([ins[0], *self._run(inner, ins)])
        if node.op == "fixed_point":
            return (stream,)
        self.ties.hold(stream, "a log-determinant depends on it")
        return (stream[:1],)

    # -- ops and weights -------------------------------------------------------------------------------------------
    def _op(self, frame: Frame, node: Node, path: str | None, ins: Sequence[Axes]) -> Tied:
        outs = [frame.type(v) for v in (node.inputs if node.inverted else node.outputs)]
        attrs = frame.attrs(node)
        if node.op == "extern":
            return self.ties.opaque(attrs.get("name") or "extern", ins, outs)
        op = registry()[node.op]
        if node.log_det:
            outs = list(op.infer([frame.type(v) for v in node.inputs], attrs, Context()))
        said = op.channels(self.ties, ins, outs, attrs)
        if path is not None:
            child = self._of(frame.graph).child(path)
            assert child is not None
            for decl in child.weights:
                key = join(self._full(frame, path), decl.name)
                mine = self._weight(key, decl, said.weights.get(decl.name), node.op)
                said = (
                    said
                    if decl.name not in said.weights
                    else Tied(said.outs, {**said.weights, decl.name: mine}, said.sizes)
                )
        return said

    def _weight(self, key: str, decl: WeightDecl, said: Axes | None = None, op: str = "") -> Axes:
        """The axes of a tensor: those of its first use, tied to those of this one."""
        if said is None and op:
            said = tuple(self.ties.fixed(size, f"`{op}` ties all of it") for size in decl.shape)
        known = self.weights.get(key)
        if known is None:
            known = self.weights[key] = said or tuple(self.ties.free(size) for size in decl.shape)
            if decl.init is not None and decl.init.name in SIZED:
                self.ties.hold(known, f"the initial value `{decl.init.name}` has its size")
        elif said is not None:
            for mine, other in zip(known, said, strict=True):
                self.ties.tie(mine, other)
        return known

    def _of(self, graph: Graph) -> Paths:
        if id(graph) not in self._paths:
            self._paths[id(graph)] = Paths(graph)
        return self._paths[id(graph)]

    def _full(self, frame: Frame, path: str) -> str:
        """The path from the root of what a graph knows as `path`: its own child, or one that is lent to it."""
        paths = self._of(frame.graph)
        lent = None if paths.owned(path) is not None else paths.lend(path, frame.lent)
        return lent if lent is not None else join(frame.prefix, paths.canonical(path))
