"""Ops that no layer of all members stands for: on each member by itself, as samples, or in a dimension of members."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Child, Node, Value, WeightDecl, attr_at
from archlang.ir.paths import join
from archlang.optimize.edit import Editor
from archlang.records import replace
from archlang.shapes.dim import Dim
from archlang.transform.arrange import applied, folded, merged, results, settled, spread, unfolded
from archlang.transform.packing import Side
from archlang.transform.starts import joins
from archlang.transform.ways import FRONT, read

__all__ = ["Apart", "Ins"]

Ins = Sequence[
    tuple[Value, "int | None", bool]
]  # inputs: the axis of members (None: all see the same), if it has a batch


class Apart:
    """Takes members apart, and puts what becomes of them side by side again."""

    def __init__(self, side: Side) -> None:
        self.side, self.count = side, side.count
        self._parts: dict[tuple[int, str | None], tuple[Value, list[Value]]] = {}  # of a value, in a phase
        self._own: dict[tuple[int, str], Child | WeightDecl] = {}  # what stood under a path of a graph

    def each(self, edit: Editor, value: Value, axis: int | None, at: Node) -> list[Value]:
        """A member's part of the value, for each of them."""
        if axis is None:
            return [value] * self.count
        key = (id(value), at.phase)
        if key not in self._parts:
            op, attrs = ("unbind", {"dim": 0}) if axis == FRONT else ("chunk", {"chunks": self.count, "dim": axis})
            self._parts[key] = value, list(results(edit, op, [value], at, attrs))
        return self._parts[key][1]

    def joined(self, edit: Editor, parts: Sequence[Value], axis: int, at: Node) -> Value:
        """The parts of all members as one value."""
        made = applied(edit, "stack" if axis == FRONT else "concat", parts, at, dim=max(axis, 0))
        self._parts[id(made), at.phase] = made, list(parts)
        return made

    def apart(self, edit: Editor, node: Node, ins: Ins, outs: Sequence[int]) -> list[Value]:
        """Runs an op once for each member; each has a layer of its own, `path.0`, `path.1`, ... where it has weights.

        outs: the axes of the results.
        """
        columns = [self.each(edit, value, axis, node) for value, axis, _ in ins]
        paths = self._layers(edit, node)
        made = []
        for i, path in enumerate(paths):
            one = edit.add(node.op, [column[i] for column in columns], node.attrs, at=node, path=path)
            made.append(one.outputs)
        found = [
            self.joined(edit, parts, axis, node) for parts, axis in zip(zip(*made, strict=True), outs, strict=True)
        ]
        self._instead(edit, node, found)
        return found

    def _layers(self, edit: Editor, node: Node) -> list[str | None]:
        """The paths of members' layers in the place of a node's."""
        path, graph = node.path, edit.graph
        child = graph.children.get(path or "") or self._own.get((id(graph), path or ""))
        if path is None or not isinstance(child, Child) or not child.weights:
            return [path] * self.count
        paths = [f"{path}.{i}" for i in range(self.count)]
        if self.side.first(edit, path):
            self._own[id(graph), path] = graph.children.pop(path)
            for i, own in enumerate(paths):
                graph.children[own] = Child(own, child.span, child.op, child.attrs, child.weights)
                for decl in child.weights:
                    if decl.persistent:
                        self.side.renamed(edit, join(path, decl.name), i, join(own, decl.name))
        return [*paths]

    def declared(self, edit: Editor, node: Node, axis: int, wide: int | None) -> Value | None:
        """A weight that a block declares, for several members along an axis; wide: its size there. Where all members'
        cannot start as one tensor, there are several, and their values are put together: that value."""
        path, graph = node.path, edit.graph
        assert path is not None
        first = self.side.first(edit, path)
        decl = graph.weights.pop(path) if first else self._own[id(graph), path]
        assert isinstance(decl, WeightDecl)
        self._own[id(graph), path] = decl
        if joins(decl.init, layer=False):
            kind = node.outputs[0].type
            shape = (self.count, *decl.shape) if wide is None else (*decl.shape[:axis], wide, *decl.shape[axis + 1 :])
            node.outputs[0].type = type(kind)(shape, kind.dtype)
            if first:
                graph.weights[path] = replace(decl, shape=shape)
                if decl.persistent:
                    self.side.joined(edit, [path], [path], **({"dim": axis} if axis else {}))
            return None
        parts = []
        for i in range(self.count):
            own = f"{path}.{i}"
            if first:
                graph.weights[own] = replace(decl, name=own)
                if decl.persistent:
                    self.side.renamed(edit, path, i, own)
            parts.append(self.side.declared(edit, node, own, decl.shape))
        return self.joined(edit, parts, axis, node)

    def beside(self, edit: Editor, node: Node, ins: Ins, axis: int) -> Value:
        """Runs an op of elements with members in one more dimension. axis: of their channels in the result."""
        place, rank = max(axis, 0), node.outputs[0].type.rank
        used = {id(v) for v in read(node)}
        values = [
            spread(edit, value, at, place, rank, self.count, node) if id(value) in used else value
            for value, at, _ in ins
        ]
        made = edit.add(node.op, values, node.attrs, at=node, path=node.path).outputs[0]
        found = settled(edit, made, place, axis, node)
        self._instead(edit, node, [found])
        return found

    def samples(self, edit: Editor, node: Node, ins: Ins, outs: Sequence[int]) -> list[Value]:
        """Runs an op on each member for itself, as if members were samples. outs: the axes of the results."""
        batch = next(v.type.shape[axis == FRONT] for v, axis, batched in ins if batched)
        assert isinstance(batch, Dim) and batch.as_symbol is not None
        inputs = []
        for value, axis, batched in ins:
            if axis is not None:
                inputs.append(folded(edit, value, axis, self.count, node))
            elif batched:
                one = applied(edit, "reshape", [value], node, shape=(batch, 1, *value.type.shape[1:]))
                several = applied(edit, "concat", [one] * self.count, node, dim=1)
                inputs.append(merged(edit, several, 0, node))
            else:
                inputs.append(value)
        at = {batch.as_symbol: batch * self.count}
        attrs = {key: attr_at(value, at) for key, value in node.attrs.items()}
        made = edit.add(node.op, inputs, attrs, at=node, path=node.path)
        pairs = zip(made.outputs, outs, strict=True)
        found = [unfolded(edit, new, axis, self.count, batch, node) for new, axis in pairs]
        self._instead(edit, node, found)
        return found

    @staticmethod
    def _instead(edit: Editor, node: Node, found: Sequence[Value]) -> None:
        """The node's results are these from now on, and the node is gone."""
        for old, new in zip(node.outputs, found, strict=True):
            edit.replace(old, new)
        edit.remove(node)
