"""Several members of an ensemble in one network, by grouped convolutions."""

from __future__ import annotations

from archlang.elaborate.errors import fail
from archlang.ir.graph import Attrs, Graph, Node, Value
from archlang.ir.paths import join
from archlang.ops.base import Context, OpError, registry
from archlang.optimize.edit import Editor
from archlang.optimize.weights import DROP, Change
from archlang.records import dataclass
from archlang.transform.apart import Apart
from archlang.transform.arrange import laid, merged, moved, parted
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.members import (
    ATTENTIONS,
    FEATURES,
    FRONT,
    LAYERS,
    NORMS,
    Members,
    Several,
    packs,
    wanted,
    with_channels,
)
from archlang.transform.packing import Side
from archlang.transform.unshare import written_out
from archlang.transform.ways import attributes
from archlang.transform.work import Work, matches

__all__ = ["pack"]


@transforms(
    "pack",
    Parameter("members", "int"),
    Parameter("alpha", "float", None),
    Parameter("gamma", "int", 1),
    Parameter("layers", "path", "**"),
    Parameter("least", "int", 64),
    Parameter("result", "name", "stack"),
)
def pack(
    work: Work,
    given: Given,
    members: int,
    alpha: float | None,
    gamma: int,
    layers: str | list[str],
    least: int,
    result: str,
) -> str:
    """Packs members of an ensemble into one network, whose layers have a group for each (Laurent et al., 2023).

    alpha: by how much all widths together grow; a member has alpha / members of the network's. By default as many as
    there are members, which are whole then, and whose trained states carry over. gamma: how many times the groups of
    each member's layers there are, in layers whose paths match; fewer in a convolution, where a group would have less
    than `least` channels. result: "stack" gives [B, members, ...], "mean" what they give on the average.
    """
    whole = alpha is None or alpha == members
    if members < 1 or gamma < 1 or (alpha is not None and alpha <= 0):
        fail("ARC0861", "`pack` takes numbers above 0", given.span)
    if result not in ("stack", "mean"):
        fail("ARC0861", f"there is no result `{result}`", given.at("result"), 'it is "stack" or "mean"')
    work.open(work.root)
    found = _found(work, members, members if alpha is None else alpha, given)
    kept = whole and gamma == 1
    groups = _Groups(gamma, [layers] if isinstance(layers, str) else layers, least)
    packing = _Packing(work, found, groups, kept)
    packing.plan()
    places = [None if found.shared(v) else found.axis(v) for o in work.root.outputs for v in o.values]
    packing.graph(*found.order[0])
    results = [v for o in work.root.outputs for v in o.values]
    _results(work, found, {id(v): axis for v, axis in zip(results, places, strict=True)}, result)
    if kept:
        work.sources = tuple(f"*.{i}" for i in range(members))
    else:
        gone = [name for change in work.changes.get(id(work.root), ()) for name in change.drops]
        paths = (*work.root.children, *work.root.weights, *gone)
        tops = list(dict.fromkeys(path.partition(".")[0] for path in paths))
        work.changes = {id(work.root): [Change(DROP, drops=tuple(tops))]}
    width = "whole" if whole else f"{float(found.alpha / members):g} as wide"
    return f"{members} members, {width}, in groups of one network; its result is their {result}"


def _found(work: Work, members: int, alpha: float, given: Given) -> Members:
    """What holds channels of members; blocks that are called with them in several places are written out."""
    while True:
        try:
            return Members(work, members, alpha, given.span)
        except Several as several:
            written_out(work, several.graph, several.path)


@dataclass(frozen=True, slots=True)
class _Groups:
    """How many groups a member's layers get: gamma times theirs, where a pattern matches the path of the layer.

    least: channels of a group of a convolution, below which there are fewer.
    """

    gamma: int
    patterns: list[str]
    least: int

    def numbers(self, name: str) -> range:
        """By how much the groups of a layer may be multiplied, the largest first."""
        return range(self.gamma if any(matches(pattern, name) for pattern in self.patterns) else 1, 0, -1)


class _Packing:
    """Rewrites graphs, callees where they are called. kept: whether the members' states carry over."""

    def __init__(self, work: Work, members: Members, groups: _Groups, kept: bool) -> None:
        self.work, self.members, self.groups = work, members, groups
        self.side = Side(members.count, kept)
        self.alone = Apart(self.side)
        self._attrs: dict[int, Attrs] = {}  # id of a node -> its attributes for several members
        self._wide: dict[int, int | None] = {}  # id of a node -> the channels of what it gives; None where it has none
        self._ins: dict[int, list[tuple[int | None, bool]]] = {}  # of each input, the axis; whether it has a batch
        self._to: dict[int, int] = {}  # id of a node -> where its layer takes the channels
        self._done: set[int] = set()

    # -- what is to be done, from the types that there are ---------------------------------------------------------
    def plan(self) -> None:
        """Decides on the attributes of all nodes that hold several members."""
        found = self.members
        for graph, prefix in found.order:
            for node in graph.nodes:
                name = join(prefix, node.path or f"({node.op})")
                if node.callee is not None or all(map(found.shared, node.outputs)):
                    continue
                axes = [None if found.shared(v) else found.axis(v) for v in node.inputs]
                batches = [found.batch(v) is not None for v in node.inputs]
                self._ins[id(node)] = list(zip(axes, batches, strict=True))
                self._attrs[id(node)] = node.attrs
                front = found.axis(node.outputs[0]) == FRONT
                self._wide[id(node)] = None if front else found.width(node.outputs[0], name)
                if id(node) in found.how:
                    self._attrs[id(node)] = attributes(found, node, name)
                elif packs(node.op):
                    self._planned(node, name, axes[0])

    def _planned(self, node: Node, name: str, axis: int | None) -> None:
        """A layer with one op for all members; axis: of its input's channels."""
        found, wide = self.members, self._wide[id(node)]
        if axis is not None:
            self._to[id(node)] = to = wanted(node, axis)
            if to != axis and not found.whole:
                why = f"has weights for dimension {to}, and the channels are in {axis}: members must be whole for it"
                found.refuse(name, why, node.span)
        if node.op in LAYERS:
            self._attrs[id(node)] = self._layer(node, name)
        elif node.op in ATTENTIONS:
            self._heads(node, name)
        elif node.op in FEATURES and not _one_slope(node):
            self._attrs[id(node)] = self._norm(node, name)
        elif wide is not None and wide % found.count:
            found.refuse(name, f"has {wide} channels, which {found.count} members do not share out", node.span)

    def _layer(self, node: Node, name: str) -> Attrs:
        """One layer for all members: where they see one input, no groups are needed."""
        attrs, (x,), (y,) = node.attrs, node.inputs, node.outputs
        if node.op == "embedding":
            return self._table(node, name)
        into, out = ("in_features", "out_features") if node.op == "linear" else ("in_channels", "out_channels")
        wide = self.members.width(y, name)
        groups = attrs.get("groups", 1)
        across = node.op == "linear" and self.members.axis(y) != y.type.rank - 1
        if across:  # a matrix for each member, over what is no channel
            return {**attrs, out: attrs[out] * self.members.count, "groups": self.members.count}
        shared = self.members.shared(x)
        alone = shared and groups == 1 and id(node) not in self.members.several
        if alone and node.op != "conv_transpose":  # whose spread at the start goes by the channels that it makes
            return {**attrs, out: wide}
        whole = shared or self.members.axis(x) != self._to[id(node)]
        narrow = attrs[into] * self.members.count if whole else self.members.width(x, name)
        each = attrs[into] == groups > 1  # a group for each channel, so for each of the members'
        for more in self.groups.numbers(name):
            many = narrow if each else groups * self.members.count * more
            large = more == 1 or each or node.op == "linear" or narrow // many >= self.groups.least
            if large and narrow % many == 0 and wide % many == 0:
                return {**attrs, into: narrow, out: wide, "groups": many}
        message = f"`{name}` has {narrow} channels in and {wide} out, which {many} groups do not divide"
        fail("ARC0871", message, self.members.where, "these widths cannot be shared out")

    def _table(self, node: Node, name: str) -> Attrs:
        """The rows of all members' tables end to end: they look up one input."""
        return {**node.attrs, "embedding_dim": self.members.width(node.outputs[0], name)}

    def _heads(self, node: Node, name: str) -> None:
        """Heads share out a member's width."""
        heads, wide = node.attrs["num_heads"], self.members.width(node.outputs[0], name)
        if node.attrs.get("attn_head_dim") is None and wide % (self.members.count * heads):
            message = f"`{name}` has {wide} features, which {heads} heads of {self.members.count} members do not divide"
            fail("ARC0871", message, self.members.where, "these widths cannot be shared out")

    def _norm(self, node: Node, name: str) -> Attrs:
        wide = self.members.width(node.outputs[0], name)
        more = {"num_groups": node.attrs["num_groups"] * self.members.count} if node.op == "groupnorm" else {}
        if more and wide % more["num_groups"]:
            message = f"`{name}` has {wide} channels, which {more['num_groups']} groups do not divide"
            fail("ARC0871", message, self.members.where, "these widths cannot be shared out")
        return {**node.attrs, FEATURES[node.op]: wide, **more}

    # -- doing it, in the order of execution -------------------------------------------------------------------------
    def graph(self, graph: Graph, prefix: str) -> None:
        """All nodes of a graph whose inputs have their new types."""
        if id(graph) in self._done:
            return
        self._done.add(id(graph))
        edit = self.work.editor(graph)
        for node in list(graph.nodes):
            if node.callee is not None and node.path is not None:
                ports = [v for port in node.callee.inputs for v in port.values]
                for own, port in zip(node.inputs, ports, strict=True) if id(node.callee) not in self._done else ():
                    axis = self.members.axis(port)
                    if not self.members.shared(port):
                        size = self.members.count if axis == FRONT else own.type.shape[axis]
                        port.type = with_channels(port.type, axis, size)
                self.graph(node.callee, join(prefix, node.path))
                results = [v for output in node.callee.outputs for v in output.values]
                for own, value in zip(node.outputs, results, strict=True):
                    own.type = value.type.at(node.sizes)
            elif id(node) in self._attrs:
                try:
                    self._node(edit, node, self._attrs[id(node)])
                except OpError as error:
                    if self.members.whole:
                        raise
                    why = f"runs `{node.op}`, and members must be whole for it ({error.message})"
                    self.members.refuse(join(prefix, node.path or f"({node.op})"), why, node.span)

    def _node(self, edit: Editor, node: Node, attrs: Attrs) -> None:
        how, axis = self.members.how.get(id(node)), self.members.axis(node.outputs[0])
        if node.op == "weight":
            made = self.alone.declared(edit, node, axis, self._wide[id(node)])
            if made is not None:
                edit.merge(node, made)
        elif node.op == "phase":
            self._alike(edit, node, axis)
            node.outputs[0].type = node.inputs[0].type
        elif how is None and node.op == "concat":
            self._alike(edit, node, node.attrs["dim"])
            self._concat(edit, node)
        elif how is None:
            self._packed(edit, node, attrs, axis)
        elif how.kind == "through":
            repeat = zip(node.inputs, how.repeat or [None] * len(node.inputs), strict=True)
            edit.rewire(node, [v if dim is None else self._repeated(edit, v, node, dim) for v, dim in repeat])
            node.attrs = registry()[node.op].resolve([v.type for v in node.inputs], attrs, Context())
            if node.path is not None and node.path in edit.graph.children:
                self._module(edit, node, node.op, node.attrs)
            _infer(node)
        else:
            self._alone(edit, node, how.kind, how.axes)

    def _alone(self, edit: Editor, node: Node, kind: str, axes: tuple[int, ...]) -> None:
        """An op that takes members one by one."""
        ins = [(v, axis, batched) for v, (axis, batched) in zip(node.inputs, self._ins[id(node)], strict=True)]
        wide, name = self._wide[id(node)], node.path or f"({node.op})"
        if kind == "beside":
            first = self.alone.beside(edit, node, ins, axes[0])
        else:
            run = self.alone.samples if kind == "samples" else self.alone.apart
            first, *_ = run(edit, node, ins, axes)
        if wide is not None and first.type.shape[axes[0]] != wide:
            why = f"runs `{node.op}`, which has a number of channels of its own: members must be whole for it"
            self.members.refuse(name, why, node.span)

    def _alike(self, edit: Editor, node: Node, axis: int) -> None:
        """Gives a node inputs that have their members all in one dimension, those that members share too."""
        inputs = []
        for value, (own, _) in zip(node.inputs, self._ins[id(node)], strict=True):
            if own is None and axis == FRONT:
                inputs.append(edit.add("stack", [value] * self.members.count, {"dim": 0}, at=node).outputs[0])
            elif own is None:
                inputs.append(self._repeated(edit, value, node, axis))
            else:
                inputs.append(laid(edit, value, own, axis, self.members.count, node))
        edit.rewire(node, inputs)

    def _packed(self, edit: Editor, node: Node, attrs: Attrs, axis: int) -> None:
        """A layer that has one op for all members; axis: of their channels in its result."""
        (x, *others), ((own, _), *_) = node.inputs, self._ins[id(node)]
        if own is not None:
            x = laid(edit, x, own, self._to[id(node)], self.members.count, node)
        elif node.op not in LAYERS or attrs.get("groups", 1) > 1:
            x = self._repeated(edit, x, node, axis)
        edit.rewire(node, [x, *others])
        if node.op in NORMS:
            edit.merge(node, self.side.normed(edit, node, axis))
        elif node.op in ATTENTIONS:
            wide = self._wide[id(node)]
            assert wide is not None
            edit.merge(node, self.side.attention(edit, node, wide))
        elif _one_slope(node):
            edit.merge(node, self.side.slopes(edit, node, axis))
        elif node.op == "linear" and "groups" in attrs:
            self._grouped_linear(edit, node, attrs)
        else:
            if node.path is not None:
                self._module(edit, node, node.op, attrs)
            node.attrs = attrs
            _infer(node)

    def _repeated(self, edit: Editor, value: Value, at: Node, dim: int) -> Value:
        """A shared value, for each member in turn in a dimension."""
        return edit.add("concat", [value] * self.members.count, {"dim": dim}, at=at).outputs[0]

    def _concat(self, edit: Editor, node: Node) -> None:
        """Member by member, so that the channels of each stay together."""
        axis = node.attrs["dim"]
        apart = [parted(edit, value, axis, self.members.count, node) for value in node.inputs]
        joined = edit.add("concat", apart, {"dim": axis + 1}, at=node).outputs[0]
        edit.merge(node, merged(edit, joined, axis, node))

    def _grouped_linear(self, edit: Editor, node: Node, attrs: Attrs) -> None:
        """A linear layer with groups is a convolution at single positions."""
        path = node.path
        assert path is not None
        old = [join(path, decl.name) for decl in edit.graph.children[path].weights]
        (x,), axis, count = node.inputs, self.members.axis(node.outputs[0]), self.members.count
        across = axis != node.outputs[0].type.rank - 1
        if across:  # [..., members * C, ..., T] as [..., C, ..., members * T]
            x = merged(edit, moved(edit, parted(edit, x, axis, count, node), axis, x.type.rank - 1, node), -2, node)
        y = self.side.matrices(edit, x, node, path, old, attrs, attrs["groups"])
        if across:
            y = merged(edit, moved(edit, parted(edit, y, -1, count, node), y.type.rank - 1, axis, node), axis, node)
        edit.merge(node, y)

    def _module(self, edit: Editor, node: Node, op: str, attrs: Attrs) -> None:
        """Gives the child of a node its weights for several members, once."""
        path = node.path
        assert path is not None
        if not self.side.first(edit, path):
            return
        child = edit.graph.children[path]
        before = [join(path, decl.name) for decl in child.weights if decl.persistent]
        dim = 1 if op in ("embedding", "actnorm") else 0
        child.op, child.attrs = op, self.side.started(op, attrs, dim)
        child.weights = registry()[op].weights(child.attrs)
        self.side.joined(edit, before, before, **({"dim": dim} if dim else {}))


def _one_slope(node: Node) -> bool:
    return node.op == "prelu" and node.attrs["num_parameters"] == 1


def _infer(node: Node) -> None:
    types = registry()[node.op].infer([v.type for v in node.inputs], node.attrs, Context())
    for value, kind in zip(node.outputs, types, strict=True):
        value.type = kind


def _results(work: Work, found: Members, axes: dict[int, int | None], result: str) -> None:
    """The network's results by member: [B, members, ...], or their mean. axes: of each, by id; None for shared ones."""
    root = work.root
    for output in root.outputs:
        values = []
        for value in output.values:
            axis = axes[id(value)]
            if axis is None:
                values.append(value)
                continue
            shape, phase = value.type.shape, "train" if output.training else None
            if axis != FRONT:
                size = shape[axis]
                assert isinstance(size, int)
                apart = (*shape[:axis], found.count, size // found.count, *shape[axis + 1 :])
                value = _added(root, "reshape", value, {"shape": apart}, phase).outputs[0]
            at, rank = max(axis, 0), value.type.rank
            if at != 1 and rank > 1:  # a result without a batch has members alone
                rest = [i for i in range(rank) if i != at]
                order = (rest[0], at, *rest[1:])
                value = _added(root, "permute", value, {"dims": order}, phase).outputs[0]
            if result == "mean":
                attrs = {"dim": (min(1, rank - 1),), "keepdim": False, "all": False}
                value = _added(root, "reduce_mean", value, attrs, phase).outputs[0]
            values.append(value)
        output.values = tuple(values)


def _added(graph: Graph, op: str, value: Value, attrs: Attrs, phase: str | None) -> Node:
    (kind,) = registry()[op].infer([value.type], attrs, Context())
    node = Node(op, (value,), (Value(kind, value.name),), None, attrs, phase=phase)
    graph.nodes.append(node)
    return node
