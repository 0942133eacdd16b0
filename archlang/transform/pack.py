"""Several members of an ensemble in one network, by grouped convolutions."""

from __future__ import annotations

from archlang.elaborate.errors import fail
from archlang.ir.graph import Attrs, Graph, Node, Value
from archlang.ir.paths import join
from archlang.ops.base import Context, registry
from archlang.optimize.edit import Editor
from archlang.optimize.weights import DROP, Change
from archlang.records import dataclass, replace
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.members import ATTENTIONS, FEATURES, LAYERS, NORMS, Members, with_channels
from archlang.transform.packing import Side, merged, moved, parted
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
    found = Members(work, members, members if alpha is None else alpha, given.span)
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
        tops = list(dict.fromkeys(path.partition(".")[0] for path in (*work.root.children, *work.root.weights)))
        work.changes = {id(work.root): [Change(DROP, drops=tuple(tops))]}
    width = "whole" if whole else f"{float(found.alpha / members):g} as wide"
    return f"{members} members, {width}, in groups of one network; its result is their {result}"


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
        self._attrs: dict[int, Attrs] = {}  # id of a node -> its attributes for several members
        self._wide: dict[int, int] = {}  # id of a node -> the channels of what it gives
        self._ins: dict[int, list[tuple[int | None, bool]]] = {}  # of each input, the axis; whether it has a batch
        self._done: set[int] = set()

    # -- what is to be done, from the types that there are ---------------------------------------------------------
    def plan(self) -> None:
        """Decides on the attributes of all nodes that hold several members."""
        found = self.members
        for graph, prefix in found.order:
            for node in graph.nodes:
                name = join(prefix, node.path or f"({node.op})")
                if node.callee is not None or node.op == "phase" or all(map(found.shared, node.outputs)):
                    continue
                axes = [None if found.shared(v) else found.axis(v) for v in node.inputs]
                batches = [found.batch(v) is not None for v in node.inputs]
                self._ins[id(node)] = list(zip(axes, batches, strict=True))
                self._attrs[id(node)] = node.attrs
                self._wide[id(node)] = wide = found.width(node.outputs[0], name)
                if node.op in LAYERS:
                    self._attrs[id(node)] = self._layer(node, name)
                elif node.op in ATTENTIONS:
                    self._heads(node, name)
                elif node.op in FEATURES:
                    self._attrs[id(node)] = self._norm(node, name)
                elif id(node) in found.how:
                    self._attrs[id(node)] = found.attrs(node, name)
                elif node.op in NORMS and wide % found.count:
                    found.refuse(name, f"has {wide} channels, which {found.count} members do not share out", node.span)

    def _layer(self, node: Node, name: str) -> Attrs:
        """One layer for all members: where they see one input, no groups are needed."""
        attrs, (x,), (y,) = node.attrs, node.inputs, node.outputs
        if node.op == "embedding":
            return self._table(node, name)
        into, out = ("in_features", "out_features") if node.op == "linear" else ("in_channels", "out_channels")
        if node.op != "linear" and not self.members.shared(x) and self.members.axis(x) != 1:
            why = f"runs over dimension 1, and the channels of members are in {self.members.axis(x)}"
            self.members.refuse(name, why, node.span)
        wide = self.members.width(y, name)
        groups = attrs.get("groups", 1)
        across = node.op == "linear" and self.members.axis(y) != y.type.rank - 1
        if node.op == "linear" and not 2 <= x.type.rank <= 5 - across:
            self.members.refuse(name, f"is a `linear` over {x.type}", node.span)
        if across:  # a matrix for each member, over what is no channel
            return {**attrs, out: attrs[out] * self.members.count, "groups": self.members.count}
        if self.members.shared(x) and groups == 1:
            return {**attrs, out: wide}
        narrow = attrs[into] * self.members.count if self.members.shared(x) else self.members.width(x, name)
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
        if not self.members.shared(node.inputs[0]) or node.attrs["max_norm"] is not None:
            why = "looks up what members gave" if node.attrs["max_norm"] is None else "limits the length of its rows"
            self.members.refuse(name, why, node.span)
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
                for own, port in zip(node.inputs, ports, strict=True):
                    axis = self.members.axis(port)
                    if not self.members.shared(port) and own.type.rank > axis:
                        port.type = with_channels(port.type, axis, own.type.shape[axis])
                self.graph(node.callee, join(prefix, node.path))
                results = [v for output in node.callee.outputs for v in output.values]
                for own, value in zip(node.outputs, results, strict=True):
                    own.type = value.type.at(node.sizes)
            elif node.op == "phase":
                node.outputs[0].type = node.inputs[0].type
            elif id(node) in self._attrs:
                self._node(edit, node, self._attrs[id(node)])

    def _node(self, edit: Editor, node: Node, attrs: Attrs) -> None:
        how, wide = self.members.how.get(id(node)), self._wide[id(node)]
        if node.op == "weight":
            self._declared(edit, node, wide)
            return
        if how is not None and not how.through:
            ins = [(v, axis, batched) for v, (axis, batched) in zip(node.inputs, self._ins[id(node)], strict=True)]
            first, *_ = self.side.one_by_one(edit, node, ins, how.axes)
            if first.type.shape[how.axes[0]] != wide:
                why = f"runs `{node.op}`, which has a number of channels of its own: members must be whole for it"
                self.members.refuse(node.path or f"({node.op})", why, node.span)
            return
        if self._meets(node, attrs):
            edit.rewire(node, [self._repeated(edit, v, node) for v in node.inputs])
        if node.op in NORMS:
            edit.merge(node, self.side.normed(edit, node, wide))
        elif node.op in ATTENTIONS:
            edit.merge(node, self.side.attention(edit, node, wide))
        elif how is None and node.op == "concat":
            self._concat(edit, node)
        elif node.op == "linear" and "groups" in attrs:
            self._grouped_linear(edit, node, attrs)
        else:
            if how is not None:
                attrs = registry()[node.op].resolve([v.type for v in node.inputs], attrs, Context())
            if node.path is not None and node.path in edit.graph.children:
                self._module(edit, node, node.op, attrs)
            node.attrs = attrs
            _infer(node)

    def _meets(self, node: Node, attrs: Attrs) -> bool:
        """Whether what all members share meets channels of each of them."""
        flags = {axis is None for axis, _ in self._ins[id(node)]}
        each = node.op in NORMS or node.op in FEATURES or node.op in ATTENTIONS
        return len(flags) > 1 or each or (node.op in LAYERS and attrs.get("groups", 1) > 1)

    def _repeated(self, edit: Editor, value: Value, at: Node) -> Value:
        """A shared value for each member; where its one channel meets several, and of others, the value itself."""
        rank = max(v.type.rank for v in at.inputs)
        axis = self.members.axis(at.outputs[0]) - (rank - value.type.rank)
        if not self.members.shared(value) or axis < 0 or (value.type.shape[axis] == 1 and at.op != "concat"):
            return value
        if at.op in ATTENTIONS and value is not at.inputs[0]:
            return value
        return edit.add("concat", [value] * self.members.count, {"dim": axis}, at=at).outputs[0]

    def _declared(self, edit: Editor, node: Node, wide: int) -> None:
        """A weight of a block, for several members along its channels."""
        path, axis, kind = node.path, self.members.axis(node.outputs[0]), node.outputs[0].type
        assert path is not None
        node.outputs[0].type = with_channels(kind, axis, wide)
        if self.side.first(edit, path):
            decl = edit.graph.weights[path]
            shape = (*decl.shape[:axis], wide, *decl.shape[axis + 1 :])
            edit.graph.weights[path] = replace(decl, shape=shape)
            if decl.persistent:
                self.side.joined(edit, [path], [path], **({"dim": axis} if axis else {}))

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
        child.op, child.attrs, child.weights = op, attrs, registry()[op].weights(attrs)
        table = op == "embedding" or (op == "conv_transpose" and attrs["groups"] == 1)
        self.side.joined(edit, before, before, **({"dim": 1} if table else {}))


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
            size = shape[axis]
            assert isinstance(size, int)
            apart = (*shape[:axis], found.count, size // found.count, *shape[axis + 1 :])
            node = _added(root, "reshape", value, {"shape": apart}, phase)
            if axis > 1:
                order = (0, axis, *(i for i in range(1, len(apart)) if i != axis))
                node = _added(root, "permute", node.outputs[0], {"dims": order}, phase)
            if result == "mean":
                attrs = {"dim": (1,), "keepdim": False, "all": False}
                node = _added(root, "reduce_mean", node.outputs[0], attrs, phase)
            values.append(node.outputs[0])
        output.values = tuple(values)


def _added(graph: Graph, op: str, value: Value, attrs: Attrs, phase: str | None) -> Node:
    (kind,) = registry()[op].infer([value.type], attrs, Context())
    node = Node(op, (value,), (Value(kind, value.name),), None, attrs, phase=phase)
    graph.nodes.append(node)
    return node
