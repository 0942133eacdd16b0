"""Several members of an ensemble in one network, by grouped convolutions."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.errors import fail
from archlang.ir.graph import Attrs, Graph, Node, TensorType, Value
from archlang.ir.paths import join
from archlang.ops.base import REQUIRED, Context, registry
from archlang.optimize.edit import Editor
from archlang.optimize.weights import DROP, Change
from archlang.records import dataclass
from archlang.transform.base import Given, Parameter, transforms
from archlang.transform.members import LAYERS, NORMS, Members
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
    packing.graph(*found.order[0])
    _results(work, members, result)
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
        self.work, self.members, self.groups, self.kept = work, members, groups, kept
        self._attrs: dict[int, Attrs] = {}  # id of a node -> its attributes for several members
        self._done: set[int] = set()
        self._modules: dict[tuple[int, str], Attrs] = {}

    # -- what is to be done, from the types that there are ---------------------------------------------------------
    def plan(self) -> None:
        """Decides on the attributes of all nodes that hold several members."""
        for graph, prefix in self.members.order:
            for node in graph.nodes:
                name = join(prefix, node.path or f"({node.op})")
                if node.callee is not None or node.op == "phase" or all(map(self.members.shared, node.outputs)):
                    continue
                if node.op in LAYERS:
                    self._attrs[id(node)] = self._layer(node, name)
                elif node.op in NORMS:
                    self._attrs[id(node)] = self._norm(node, name)
                elif node.op == "concat" and node.attrs["dim"] == 1:
                    self._attrs[id(node)] = node.attrs
                else:
                    self._attrs[id(node)] = self.members.attrs(node, name)

    def _layer(self, node: Node, name: str) -> Attrs:
        """One layer for all members: where they see one input, no groups are needed."""
        attrs, (x,), (y,) = node.attrs, node.inputs, node.outputs
        into, out = ("in_features", "out_features") if node.op == "linear" else ("in_channels", "out_channels")
        if node.op == "linear" and x.type.rank != 2:
            self.members.refuse(name, f"is a `linear` over {x.type}", node.span)
        wide = self.members.width(y, name)
        groups = attrs.get("groups", 1)
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

    def _norm(self, node: Node, name: str) -> Attrs:
        wide = self.members.width(node.outputs[0], name)
        more = {"num_groups": node.attrs["num_groups"] * self.members.count} if node.op == "groupnorm" else {}
        if more and wide % more["num_groups"]:
            message = f"`{name}` has {wide} channels, which {more['num_groups']} groups do not divide"
            fail("ARC0871", message, self.members.where, "these widths cannot be shared out")
        return {**node.attrs, "num_features": wide, **more}

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
                    if own.type.rank > 1:
                        port.type = _with_channels(port.type, own.type)
                self.graph(node.callee, join(prefix, node.path))
                results = [v for output in node.callee.outputs for v in output.values]
                for own, value in zip(node.outputs, results, strict=True):
                    own.type = value.type.at(node.sizes)
            elif node.op == "phase":
                node.outputs[0].type = node.inputs[0].type
            elif id(node) in self._attrs:
                self._node(edit, node, self._attrs[id(node)])

    def _node(self, edit: Editor, node: Node, attrs: Attrs) -> None:
        mixed = len({self.members.shared(v) for v in node.inputs}) > 1
        if mixed or (node.op in LAYERS and attrs.get("groups", 1) > 1):
            edit.rewire(node, [self._repeated(edit, v, node) for v in node.inputs])
        if node.op == "concat" and node.attrs["dim"] == 1:
            self._concat(edit, node)
        elif node.op == "linear" and "groups" in attrs:
            self._grouped_linear(edit, node, attrs)
        else:
            if node.path is not None and node.path in edit.graph.children:
                self._module(edit, node, node.op, attrs)
            node.attrs = attrs
            _infer(node)

    def _repeated(self, edit: Editor, value: Value, at: Node) -> Value:
        """A shared value for each member; where its one channel meets several, and of others, the value itself."""
        rank = max(v.type.rank for v in at.inputs)
        if not self.members.shared(value) or value.type.rank < rank or value.type.shape[1] == 1:
            return value
        return edit.add("concat", [value] * self.members.count, {"dim": 1}, at=at).outputs[0]

    def _concat(self, edit: Editor, node: Node) -> None:
        """Member by member, so that the channels of each stay together."""
        count = self.members.count
        parts = []
        for value in node.inputs:
            b, c, *rest = value.type.shape
            parts.append(edit.add("reshape", [value], {"shape": (b, count, c // count, *rest)}, at=node).outputs[0])
        joined = edit.add("concat", parts, {"dim": 2}, at=node).outputs[0]
        b, _, c, *rest = joined.type.shape
        edit.merge(node, edit.add("reshape", [joined], {"shape": (b, count * c, *rest)}, at=node).outputs[0])

    def _grouped_linear(self, edit: Editor, node: Node, attrs: Attrs) -> None:
        """A linear layer with groups is a convolution at a single position."""
        assert node.path is not None
        b, c = node.inputs[0].type.shape
        point = edit.add("reshape", node.inputs, {"shape": (b, c, 1)}, at=node).outputs[0]
        args: dict[str, Any] = {p.name: p.default for p in registry()["conv"].params if p.default is not REQUIRED}
        args |= {name: attrs[name] for name in ("groups", "bias", "init", "bias_init")}
        args |= {"out_channels": attrs["out_features"], "kernel_size": 1}
        made = registry()["conv"].resolve([point.type], args, Context())
        self._module(edit, node, "conv", made)
        layer = edit.add("conv", [point], made, at=node, path=node.path).outputs[0]
        edit.merge(node, edit.add("reshape", [layer], {"shape": (b, attrs["out_features"])}, at=node).outputs[0])

    def _module(self, edit: Editor, node: Node, op: str, attrs: Attrs) -> None:
        """Gives the child of a node its weights for several members, once."""
        graph, path = edit.graph, node.path
        assert path is not None
        if (id(graph), path) in self._modules:
            return
        self._modules[id(graph), path] = attrs
        child = graph.children[path]
        before = [decl.name for decl in child.weights if decl.persistent]
        child.op, child.attrs, child.weights = op, attrs, registry()[op].weights(attrs)
        if not self.kept:
            return
        count = self.members.count
        options: dict[str, Any] = {"dim": 1} if op == "conv_transpose" and attrs["groups"] == 1 else {}
        options |= {"point": True} if op != node.op else {}
        reads = [f"{path}.{name}.{i}" for name in before for i in range(count)]
        edit.change("join_members", reads, [f"{path}.{name}" for name in before], (), members=count, **options)


def _infer(node: Node) -> None:
    types = registry()[node.op].infer([v.type for v in node.inputs], node.attrs, Context())
    for value, kind in zip(node.outputs, types, strict=True):
        value.type = kind


def _with_channels(kind: TensorType, like: TensorType) -> TensorType:
    return TensorType((kind.shape[0], like.shape[1], *kind.shape[2:]), kind.dtype)


def _results(work: Work, count: int, result: str) -> None:
    """The network's results by member: [B, members, ...], or their mean."""
    root = work.root
    for output in root.outputs:
        values = []
        for value in output.values:
            b, c, *rest = value.type.shape
            assert isinstance(c, int)
            phase = "train" if output.training else None
            nodes = [_added(root, "reshape", value, {"shape": (b, count, c // count, *rest)}, phase)]
            if result == "mean":
                attrs = {"dim": (1,), "keepdim": False, "all": False}
                nodes.append(_added(root, "reduce_mean", nodes[0].outputs[0], attrs, phase))
            values.append(nodes[-1].outputs[0])
        output.values = tuple(values)


def _added(graph: Graph, op: str, value: Value, attrs: Attrs, phase: str | None) -> Node:
    (kind,) = registry()[op].infer([value.type], attrs, Context())
    node = Node(op, (value,), (Value(kind, value.name),), None, attrs, phase=phase)
    graph.nodes.append(node)
    return node
