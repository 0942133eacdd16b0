"""Which values of a network hold the channels of several members, and how many, where members are packed into one.

Each such value has an axis whose channels are those of one member before those of the next: dimension 1 of images, the
last one of tokens, the heads inside of an attention. One without channels, such as a learned number, has members before
all its dimensions (FRONT). A value that comes from the inputs alone, by ops without weights, is *shared*: all members
see the same. Widths of other values are *kept*, at all channels for each member, where they are the network's results
or meet shared values; the rest are multiplied by alpha in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.groups.walk import Walk
from archlang.ir.graph import Graph, Node, TensorType, Value
from archlang.ir.paths import join
from archlang.ops.axes import Axes, Axis, Var, factors, parts
from archlang.ops.base import registry
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Size
from archlang.transform.starts import joins
from archlang.transform.unshare import unshared
from archlang.transform.ways import FRONT, Way, anywhere, read, way
from archlang.transform.work import Place, Work

__all__ = [
    "ATTENTIONS",
    "FEATURES",
    "FRONT",
    "LAYERS",
    "NORMS",
    "Members",
    "Several",
    "packs",
    "wanted",
    "with_channels",
]

LAYERS = ("conv", "conv_transpose", "linear", "embedding")
FEATURES = {
    "batchnorm": "num_features",
    "groupnorm": "num_features",
    "instancenorm": "num_features",
    "prelu": "num_parameters",
    "actnorm": "num_features",
}  # ops with a weight for each channel of dimension 1, and how many these are
NORMS = ("layernorm", "rmsnorm", "layernorm2d")  # whose statistics are taken over the channels
ATTENTIONS = ("attention", "multihead_attention")


def packs(op: str) -> bool:
    """Whether there is one op for the weights of all members."""
    return op in LAYERS or op in FEATURES or op in NORMS or op in ATTENTIONS


def wanted(node: Node, axis: int) -> int:
    """The dimension in which a layer that has one op for all members takes their channels, which stand in `axis`."""
    (x, *_) = node.inputs
    last = x.type.rank - 1
    if node.op in ("linear", "layernorm", "rmsnorm"):
        return last if axis == FRONT else axis
    if node.op == "prelu" and node.attrs["num_parameters"] == 1:
        return 1 if axis == FRONT else axis
    return 2 if node.op in ATTENTIONS else 1


class Several(Exception):
    """A block under a path of a graph is called with channels of members in one place, and in another elsewhere."""

    def __init__(self, graph: Graph, path: str) -> None:
        self.graph, self.path = graph, path


class Members:
    """What becomes of the values of a program whose instances have graphs of their own. Raises Several."""

    def __init__(self, work: Work, count: int, alpha: float, where: Span) -> None:
        self.count = count
        self.alpha = Fraction(alpha).limit_denominator(1000)
        self.where = where
        self.order: list[tuple[Graph, str]] = []  # graphs with their paths, in order of first execution
        self.how: dict[int, Way] = {}  # by id of a node
        self.several: set[int] = set()  # ids of nodes whose layer reads channels of members, here or elsewhere
        self._shared: dict[int, bool] = {}
        self._axis: dict[int, int] = {}
        self._batches: dict[int, Size] = {}  # of values that hold a sample for each of the batch
        self._same: dict[int, int] = {}  # union-find over ids of values
        self._kept: set[int] = set()
        self._walk: Walk | None = None
        for port in work.root.inputs:
            for value in port.values:
                self._shared[id(value)] = True
                if value.type.rank:
                    self._batches[id(value)] = value.type.shape[0]
        self._privatise(work, Place(work.root, "", None, ()))
        self._work = work
        self.order = []
        self._visit(work, Place(work.root, "", None, ()))
        for graph, _ in self.order:
            self._agree(graph)
        self._values = [v for graph, _ in self.order for v in graph.values]  # keeps their ids from being used again
        self._kept = {self._find(i) for i in self._kept}
        for output in work.root.outputs:
            self._kept |= {self._find(id(v)) for v in output.values}

    @property
    def whole(self) -> bool:
        """Whether each member is as wide as the network."""
        return self.alpha == self.count

    def shared(self, value: Value) -> bool:
        """Whether all members see this one value; what was made since then holds several members."""
        return self._shared.get(id(value), False)

    def batch(self, value: Value) -> Size | None:
        """The size of the batch of a value that holds a sample for each of it."""
        return self._batches.get(id(value))

    def axis(self, value: Value) -> int:
        """The dimension in which a value has the channels of several members."""
        return self._axis.get(id(value), 1)

    def width(self, value: Value, name: str) -> int:
        """How many channels a value of several members has."""
        axis = self.axis(value)
        size = value.type.shape[axis] if value.type.rank > axis else 0
        if not isinstance(size, int) or not size:
            self.refuse(name, f"gives {value.type}, which has no channels in dimension {axis}")
        if self._find(id(value)) in self._kept:
            return size * self.count
        total = size * self.alpha
        if total % self.count:
            message = f"{size} channels, times alpha = {float(self.alpha):g}, are not divisible by {self.count} members"
            fail("ARC0871", message, self.where, f"what `{name}` gives cannot be shared out")
        return int(total)

    def refuse(self, name: str, why: str, span: Span | None = None) -> NoReturn:
        """Diagnostic for a layer that knows no members; span: of the layer."""
        help = "up to a layer: `at(...)` before `pack(...)`"
        fail("ARC0870", f"`{name}` cannot be packed: it {why}", self.where, "not for this network", help=help,
             related=[(span, "this layer")] if span else [])  # fmt: skip

    def weight(self, key: str) -> int | None:
        """The dimension of a declared weight that belongs to the channels of a layer; None where none does."""
        if self._walk is None:
            self._walk = Walk(self._work.program)
            self._channels = {id(v) for k, axes in self._walk.weights.items() for v in _of_layer(k, axes)}
        axes = self._walk.weights.get(key, ())
        found = [d for d, axis in enumerate(axes) if any(id(v) in self._channels for v in _outer(axis))]
        return found[-1] if found else None

    # -- the values --------------------------------------------------------------------------------------------------
    def _privatise(self, work: Work, place: Place) -> None:
        """Gives each instance a graph of its own with layers of its own, before its values are looked at."""
        graph = place.graph
        if any(g is graph for g, _ in self.order):
            return
        self.order.append((graph, place.prefix))
        unshared(work, graph)
        for node in graph.nodes:
            work.refuse_special(node, place.prefix, self.where)
            if node.callee is not None and node.path is not None:
                inner = Place(graph, node.path, graph.children[node.path], place.above)
                callee = work.private(inner, self.where)
                self._privatise(work, Place(callee, "", None, (*place.above, (graph, node.path))))

    def _visit(self, work: Work, place: Place) -> None:
        """Ties values that have channels in common, and finds those that are shared. Calls first come, first served."""
        graph = place.graph
        if any(g is graph for g, _ in self.order):
            return
        self.order.append((graph, place.prefix))
        for node in graph.nodes:
            name = join(place.prefix, node.path or f"({node.op})")
            if node.callee is not None and node.path is not None:
                self._call(work, place, node)
                continue
            self._batched(node)
            if node.op == "weight":
                self._declared(graph, node, name)
            elif node.op == "phase":
                self._phase(node)
            elif packs(node.op):
                self._layer(node)
            else:
                self._plain(node, name)

    def _hold(self, values: Sequence[Value], axes: Sequence[int]) -> None:
        """Values that have the channels of several members in these dimensions."""
        for value, axis in zip(values, axes, strict=True):
            self._shared[id(value)] = False
            self._axis[id(value)] = axis

    def _call(self, work: Work, place: Place, node: Node) -> None:
        assert node.path is not None
        callee = node.callee
        assert callee is not None
        ports = [v for port in callee.inputs for v in port.values]
        for own, port in zip(node.inputs, ports, strict=True):
            if self._shared.setdefault(id(port), self.shared(own)) != self.shared(own):
                raise Several(place.graph, node.path)
            if self._axis.setdefault(id(port), self.axis(own)) != self.axis(own):
                raise Several(place.graph, node.path)
            if self.batch(own) is not None and port.type.rank:
                self._batches[id(port)] = port.type.shape[0]
            self._tie(own, port)
        self._visit(work, Place(callee, "", None, (*place.above, (place.graph, node.path))))
        for own, result in zip(node.outputs, (v for o in callee.outputs for v in o.values), strict=True):
            self._shared[id(own)] = self.shared(result)
            self._axis[id(own)] = self.axis(result)
            if self.batch(result) is not None:
                self._batches[id(own)] = own.type.shape[0]
            self._tie(own, result)

    def _batched(self, node: Node) -> None:
        sizes = {size for v in node.inputs if (size := self.batch(v)) is not None}
        for value in node.outputs:
            if value.type.rank and value.type.shape[0] in sizes:
                self._batches[id(value)] = value.type.shape[0]

    def _declared(self, graph: Graph, node: Node, name: str) -> None:
        """A weight that a block declares: a copy for each member, along the channels that it belongs to, or in front.
        A table that no state holds is the same for all."""
        (value,), decl = node.outputs, graph.weights[node.path or ""]
        if not decl.persistent and decl.kind == "buffer":
            self._shared[id(value)] = True
            return
        axis = self.weight(name)
        if axis is None and value.type.rank and not any(v is value for n in graph.nodes for v in n.inputs):
            axis = value.type.rank - 1  # nothing reads it
        self._hold(node.outputs, [FRONT if axis is None else axis])

    def _layer(self, node: Node) -> None:
        """A layer that has one op for all members, or one for each where it cannot."""
        (x, *_), (y,) = node.inputs, node.outputs
        why = self._misfit(node)
        if why is not None:
            self.how[id(node)] = Way("apart", (anywhere(self, node, y),), why)
            self._hold(node.outputs, self.how[id(node)].axes)
            return
        axis = self._place(node, y)
        self._hold(node.outputs, [axis])
        spreads = node.op in LAYERS and (node.op != "linear" or axis == y.type.rank - 1)
        if not spreads:
            self._tie(y, x)
        if self.shared(x) and not (node.op in LAYERS or node.op in ATTENTIONS):
            self._kept.add(id(y))

    def _misfit(self, node: Node) -> str | None:
        """Why there is no one op for all members."""
        attrs, (x, *others) = node.attrs, node.inputs
        if node.op == "embedding" and (not self.shared(x) or attrs["max_norm"] is not None):
            return "looks up what members gave" if attrs["max_norm"] is None else "limits the length of its rows"
        if node.op in NORMS and node.op != "layernorm2d" and len(attrs["normalized_shape"]) > 1:
            return "takes statistics over several dimensions"
        if x.type.rank < 2:
            return "reads no samples"
        if not (joins(attrs.get("init")) and joins(attrs.get("bias_init"))):
            return "has weights whose initial value is no several members'"
        if node.op == "multihead_attention":
            plain = attrs["batch_first"] and not attrs["add_bias_kv"] and not attrs["add_zero_attn"]
            if not plain or len(others) > 2 or any(v is not x for v in others):
                return "attends to more than the tokens that it is given first"
        elif any(not self.shared(mask) or (mask.type.rank > 2 and mask.type.shape[-3] != 1) for mask in others):
            return "has a mask for each head or member"
        return None

    def _place(self, node: Node, result: Value) -> int:
        """Where a layer's result has the channels."""
        (x, *_) = node.inputs
        last = result.type.rank - 1
        if self.shared(x):
            return last if node.op in ("linear", "embedding", "layernorm", "rmsnorm", *ATTENTIONS) else 1
        return wanted(node, self.axis(x))

    def _plain(self, node: Node, name: str) -> None:
        """An op whose weights, if it has some, are no channels'."""
        op = registry().get(node.op)
        if op is None:
            self.refuse(name, "is declared outside of the language", node.span)
        flags = {self.shared(v) for v in read(node)}
        weighted = any(decl.persistent for decl in op.weights(node.attrs))
        for value in node.outputs:
            self._shared[id(value)] = False not in flags and not weighted
            for other in read(node):
                self._tie(value, other)
        if weighted:
            places = tuple(anywhere(self, node, v) for v in node.outputs)
            self.how[id(node)] = Way("apart", places, "has weights that are not those of channels")
            self._hold(node.outputs, places)
            return
        if False not in flags:
            return
        if node.op == "concat" and all(isinstance(v.type.shape[node.attrs["dim"]], int) for v in node.inputs):
            packed = {self.axis(v) for v in node.inputs if not self.shared(v)}
        else:
            packed = set()
        if FRONT in packed or node.attrs.get("dim") in packed:
            self._hold(node.outputs, [node.attrs["dim"]])
        else:
            self.how[id(node)] = found = way(self, node)
            self._hold(node.outputs, found.axes)
        if True in flags:
            self._kept.update(id(v) for v in node.outputs)

    def _phase(self, node: Node) -> None:
        """One value in training, another in evaluation."""
        (result,) = node.outputs
        packed = [v for v in node.inputs if not self.shared(v)]
        self._shared[id(result)] = not packed
        for value in node.inputs:
            self._tie(result, value)
        if packed:
            self._hold([result], [self.axis(packed[0])])
        if packed and len(packed) < len(node.inputs):
            self._kept.add(id(result))

    def _agree(self, graph: Graph) -> None:
        """Nodes that run one layer take its weights in one form."""
        uses: dict[str, list[Node]] = {}
        for node in graph.nodes:
            if node.path is not None and node.callee is None and node.op != "weight":
                uses.setdefault(node.path, []).append(node)
        for nodes in uses.values():
            apart = [self.how[id(n)].why for n in nodes if id(n) in self.how and self.how[id(n)].kind == "apart"]
            for node in nodes if apart else ():
                self.how[id(node)] = Way("apart", tuple(self.axis(v) for v in node.outputs), apart[0])
            if any(not self.shared(v) for n in nodes for v in n.inputs[:1]):
                self.several |= {id(n) for n in nodes}

    def _tie(self, a: Value, b: Value) -> None:
        if a.type.rank > 1 and b.type.rank > 1:
            self._same[self._find(id(a))] = self._find(id(b))

    def _find(self, key: int) -> int:
        while self._same.get(key, key) != key:
            key = self._same[key]
        return key


def _of_layer(key: str, axes: Axes) -> list[Var]:
    """The variables of the channels that a layer makes or a norm has, as far as a tensor's name and form say so."""
    return _outer(axes[0]) if key.rpartition(".")[2] in ("weight", "bias") and axes else []


def _outer(axis: Axis) -> list[Var]:
    """The outermost variables of an axis."""
    return [f for piece in parts(axis) for f in factors(piece)[:1] if isinstance(f, Var)]


def with_channels(kind: TensorType, axis: int, size: Size) -> TensorType:
    """The type with another size of one dimension; in front, with one more dimension."""
    if axis == FRONT:
        return TensorType((size, *kind.shape), kind.dtype)
    return TensorType((*kind.shape[:axis], size, *kind.shape[axis + 1 :]), kind.dtype)
