"""Which values of a network hold the channels of several members, and how many, where members are packed into one.

Each such value has an axis whose channels are those of one member before those of the next: dimension 1 of images, the
last one of tokens, the heads inside of an attention. A value that comes from the inputs alone, by ops without weights,
is *shared*: all members see the same. Widths of other values are *kept*, at all channels for each member, where they
are the network's results or meet shared values; the rest are multiplied by alpha in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.groups.walk import Walk
from archlang.ir.graph import Attrs, Graph, Node, TensorType, Value, attr_at
from archlang.ir.paths import join
from archlang.ops.axes import Axes, Axis, Var, factors, leaves, parts
from archlang.ops.base import registry
from archlang.ops.channels import Ties
from archlang.prune.shrink import respelled
from archlang.records import dataclass
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size
from archlang.transform.work import Place, Work, fixed

__all__ = ["ATTENTIONS", "FEATURES", "LAYERS", "NORMS", "Members", "Plain", "with_channels"]

LAYERS = ("conv", "conv_transpose", "linear", "embedding")
FEATURES = {
    "batchnorm": "num_features",
    "groupnorm": "num_features",
    "instancenorm": "num_features",
    "prelu": "num_parameters",
}  # ops with a weight for each channel of dimension 1, and how many these are
NORMS = ("layernorm", "rmsnorm", "layernorm2d")  # whose statistics are taken over the channels
ATTENTIONS = ("attention", "multihead_attention")
_SAMPLES = 7  # stands for the batch where an op is asked whether it takes samples one by one


@dataclass(frozen=True, slots=True)
class Plain:
    """How an op without weights of its own treats channels of members.

    through: whether it takes those of all at once, as outermost factors; otherwise it runs on one member at a time,
    because of `why`. axes: of the channels in its outputs.
    """

    through: bool
    axes: tuple[int, ...]
    why: str = ""


class Members:
    """What becomes of the values of a program whose instances have graphs of their own."""

    def __init__(self, work: Work, count: int, alpha: float, where: Span) -> None:
        self.count = count
        self.alpha = Fraction(alpha).limit_denominator(1000)
        self.where = where
        self.order: list[tuple[Graph, str]] = []  # graphs with their paths, in order of first execution
        self._shared: dict[int, bool] = {}
        self._axis: dict[int, int] = {}
        self._batches: dict[int, Size] = {}  # of values that hold a sample for each of the batch
        self._same: dict[int, int] = {}  # union-find over ids of values
        self._kept: set[int] = set()
        self._walk: Walk | None = None
        self.how: dict[int, Plain] = {}  # by id of a node
        for port in work.root.inputs:
            for value in port.values:
                self._shared[id(value)] = True
                if value.type.rank:
                    self._batches[id(value)] = value.type.shape[0]
        self._privatise(work, Place(work.root, "", None, ()))
        self._work = work
        self.order = []
        self._visit(work, Place(work.root, "", None, ()))
        self._values = [v for graph, _ in self.order for v in graph.values]  # keeps their ids from being used again
        self._kept = {self._find(i) for i in self._kept}
        for output in work.root.outputs:
            self._kept |= {self._find(id(v)) for v in output.values}

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

    # -- ops without weights of their own ----------------------------------------------------------------------------
    def plain(self, node: Node, name: str) -> Plain:
        """How an op treats the channels of members, at the types that it has for one."""
        op, cx = registry()[node.op], Ties()
        ins = [tuple(cx.free(size) for size in v.type.shape) for v in node.inputs]
        packed = [
            axes[self.axis(v)]
            for axes, v in zip(ins, node.inputs, strict=True)
            if not self.shared(v) and v.type.rank > self.axis(v)
        ]
        said = op.channels(cx, ins, [v.type for v in node.outputs], node.attrs)
        cx.settle()
        if any(axis.size == 1 for axis in packed):  # which no factor stands for
            alike = {(v.type, self.axis(v)) for v in _read(node)}
            if op.elementwise and len(alike) == 1 and not any(map(self.shared, _read(node))):
                return Plain(True, (self.axis(node.inputs[0]),))
            return self._one_by_one(node, name, "reads one channel of each member")
        first: set[int] = set()
        for axis in packed:
            if any(var.fixed or var.held or var.measured for var in leaves(axis)) or len(parts(axis)) > 1:
                return self._one_by_one(node, name, "mixes channels")
            first |= {id(f) for f in factors(axis)[:1]}
        places = []
        for axes in said.outs:
            mine = [i for i, axis in enumerate(axes) if first & {id(var) for var in leaves(axis)}]
            lead = factors(axes[mine[0]])[:1] if len(mine) == 1 and len(parts(axes[mine[0]])) == 1 else []
            if mine == [0] or (mine and (not lead or id(lead[0]) not in first)):
                return self._one_by_one(node, name, "puts channels elsewhere")
            places += mine or [1]
        return Plain(True, tuple(places))

    def _one_by_one(self, node: Node, name: str, why: str) -> Plain:
        """An op that may run on each member for itself, if it takes samples one by one: members become samples."""
        batches = {size for v in node.inputs if isinstance(size := self.batch(v), Dim)}
        places = []
        for value in node.outputs:
            numbers = [i for i, size in enumerate(value.type.shape) if i and isinstance(size, int)]
            like = [self.axis(v) for v in node.inputs if not self.shared(v) and v.type.rank == value.type.rank]
            if not numbers or len(batches) != 1:
                self.refuse(name, f"runs `{node.op}`, which {why}", node.span)
            places.append(like[0] if like and like[0] in numbers else numbers[-1])
        if not self._by_samples(node, batches.pop()):
            self.refuse(name, f"runs `{node.op}`, which {why}, and does not take samples one by one", node.span)
        return Plain(False, tuple(places), f"runs `{node.op}`, which {why}")

    def _by_samples(self, node: Node, batch: Size) -> bool:
        """Whether samples in another order, or fewer, give the results of each as they were."""
        if not isinstance(batch, Dim) or batch.as_symbol is None:
            return False
        at = {batch.as_symbol: _SAMPLES}
        op, cx = registry()[node.op], Ties()
        ins = [tuple(cx.free(size) for size in v.type.at(at).shape) for v in node.inputs]
        attrs = {key: attr_at(value, at) for key, value in node.attrs.items()}
        said = op.channels(cx, ins, [v.type.at(at) for v in node.outputs], attrs)
        cx.settle()
        first = [axes[0] for axes, v in zip(ins, node.inputs, strict=True) if self.batch(v) is not None]
        samples = {id(var) for axis in first for var in leaves(axis)}
        loose = all(not (v.fixed or v.held or v.measured) for axis in first for v in leaves(axis))
        outs = all(axes and {id(v) for v in leaves(axes[0])} == samples for axes in said.outs)
        elsewhere = any(id(v) in samples for axes in said.outs for axis in axes[1:] for v in leaves(axis))
        return len(samples) == 1 and loose and outs and not elsewhere

    def attrs(self, node: Node, name: str) -> Attrs:
        """The arguments of an op without weights for several members."""
        how = self.how[id(node)]
        op, cx = registry()[node.op], Ties()
        ins = [tuple(cx.free(size) for size in v.type.shape) for v in node.inputs]
        said = op.channels(cx, ins, [v.type for v in node.outputs], node.attrs)
        cx.settle()
        if not how.through:
            if self.alpha != self.count and said.sizes:
                self.refuse(name, f"{how.why}, and names sizes: members must be whole for it", node.span)
            return node.attrs
        mine = [
            axes[self.axis(v)]
            for axes, v in zip(ins, node.inputs, strict=True)
            if not self.shared(v) and v.type.rank > self.axis(v)
        ]
        first = {id(factor) for axis in mine for factor in factors(axis)[:1]}
        widths = [Fraction(self.width(v, name), _channels(v, self.axis(v))) for v in node.outputs]
        whole = max(widths, default=Fraction(1))

        def length(var: Var) -> Size:
            return int(var.size * whole) if id(var) in first and isinstance(var.size, int) else var.size

        args = op.spell(node.attrs)
        return {**args, **{key: respelled(args[key], sizes, length) for key, sizes in said.sizes.items()}}

    # -- the values --------------------------------------------------------------------------------------------------
    def _privatise(self, work: Work, place: Place) -> None:
        """Gives each instance a graph of its own, before its values are looked at."""
        graph = place.graph
        if any(g is graph for g, _ in self.order):
            return
        self.order.append((graph, place.prefix))
        if graph.borrowed or graph.aliases:
            fixed(place.prefix or graph.block, "shares modules with other blocks", self.where)
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
            elif node.op in LAYERS or node.op in ATTENTIONS:
                self._hold(node.outputs, [self._place(node, v) for v in node.outputs])
                if node.op in ATTENTIONS:
                    self._attention(node, name)
            elif node.op in NORMS or node.op in FEATURES:
                self._norm(node, name)
            else:
                self._plain(node, name)

    def _place(self, node: Node, result: Value) -> int:
        """Where a layer's result has the channels: a linear layer over another dimension leaves them where they are."""
        if node.op in ("conv", "conv_transpose"):
            return 1
        (x, *_) = node.inputs
        last = result.type.rank - 1
        if node.op == "linear" and not self.shared(x) and self.axis(x) != last:
            self._tie(x, result)
            return self.axis(x)
        return last

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
                fixed(join(place.prefix, node.path), "is applied to shared and to packed inputs", self.where)
            if self._axis.setdefault(id(port), self.axis(own)) != self.axis(own):
                fixed(join(place.prefix, node.path), "is applied to channels in several places", self.where)
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
        """A weight that a block declares: a copy for each member, along the channels that it belongs to."""
        axis = self.weight(name)
        if axis is None and not any(v is node.outputs[0] for n in graph.nodes for v in n.inputs):
            axis = node.outputs[0].type.rank - 1  # nothing reads it
        if axis is None:
            self.refuse(name, "is a weight of its own, and belongs to no layer's channels", node.span)
        self._hold(node.outputs, [axis])

    def _attention(self, node: Node, name: str) -> None:
        """Attention of one input, whose heads can stand beside those of other members."""
        attrs, (x, *others) = node.attrs, node.inputs
        if attrs.get("qk_norm"):
            self.refuse(name, "normalises queries and keys with weights for all heads", node.span)
        if not self.shared(x) and self.axis(x) != 2:
            self.refuse(name, f"runs over dimension 2, and the channels are in {self.axis(x)}", node.span)
        if node.op == "multihead_attention":
            plain = attrs["batch_first"] and not attrs["add_bias_kv"] and not attrs["add_zero_attn"]
            if not plain or len(others) > 2 or any(v is not x for v in others):
                self.refuse(name, "attends to more than the tokens that it is given first", node.span)
        elif any(not self.shared(mask) or (mask.type.rank > 2 and mask.type.shape[-3] != 1) for mask in others):
            self.refuse(name, "has a mask for each head or member", node.span)
        self._tie(node.outputs[0], x)

    def _norm(self, node: Node, name: str) -> None:
        """Layers with a weight for each channel, over what they normalise."""
        (x,), (y,) = node.inputs, node.outputs
        last = node.op in ("layernorm", "rmsnorm")
        axis = x.type.rank - 1 if last else 1
        if not self.shared(x) and self.axis(x) != axis:
            self.refuse(name, f"has weights for dimension {axis}, and the channels are in {self.axis(x)}", node.span)
        if last and len(node.attrs["normalized_shape"]) > 1:
            self.refuse(name, "takes statistics over several dimensions", node.span)
        if node.op == "prelu" and node.attrs["num_parameters"] == 1:
            self.refuse(name, "has one weight for all channels", node.span)
        self._hold(node.outputs, [axis])
        self._tie(y, x)
        if self.shared(x):
            self._kept.add(id(y))

    def _plain(self, node: Node, name: str) -> None:
        op = registry().get(node.op)
        flags = {self.shared(v) for v in _read(node)}
        if node.op != "phase" and (op is None or (op.weights(node.attrs) and _saved(node))):
            self.refuse(name, "has weights of its own that are not those of channels", node.span)
        for value in node.outputs:
            self._shared[id(value)] = False not in flags
            for other in _read(node):
                self._tie(value, other)
        if False not in flags:
            return
        if node.op == "phase":
            if len({self.axis(v) for v in node.inputs}) > 1 or True in flags:
                self.refuse(name, "has the channels of members in one phase only, or elsewhere", node.span)
            self._hold(node.outputs, [self.axis(node.inputs[0])])
            return
        dims = {self.axis(v) for v in _read(node) if not self.shared(v)}
        if node.op == "concat" and dims == {node.attrs["dim"]}:
            self._hold(node.outputs, [node.attrs["dim"]])
        else:
            self.how[id(node)] = how = self.plain(node, name)
            self._hold(node.outputs, how.axes)
        if True in flags:
            self._kept.update(id(v) for v in node.outputs)

    def _tie(self, a: Value, b: Value) -> None:
        if a.type.rank > 1 and b.type.rank > 1:
            self._same[self._find(id(a))] = self._find(id(b))

    def _find(self, key: int) -> int:
        while self._same.get(key, key) != key:
            key = self._same[key]
        return key


def _read(node: Node) -> list[Value]:
    """The inputs of which an op reads more than their type and device."""
    op = registry().get(node.op)
    if op is None or any(port.variadic for port in op.inputs):
        return list(node.inputs)
    return [v for v, port in zip(node.inputs, op.inputs, strict=False) if port.name != "like"]


def _saved(node: Node) -> bool:
    return any(decl.persistent for decl in registry()[node.op].weights(node.attrs))


def _channels(value: Value, axis: int) -> int:
    size = value.type.shape[axis] if value.type.rank > axis else 1
    return size if isinstance(size, int) else 1


def _of_layer(key: str, axes: Axes) -> list[Var]:
    """The variables of the channels that a layer makes or a norm has, as far as a tensor's name and form say so."""
    return _outer(axes[0]) if key.rpartition(".")[2] in ("weight", "bias") and axes else []


def _outer(axis: Axis) -> list[Var]:
    """The outermost variables of an axis."""
    return [f for piece in parts(axis) for f in factors(piece)[:1] if isinstance(f, Var)]


def with_channels(kind: TensorType, axis: int, size: Size) -> TensorType:
    """The type with another size of one dimension."""
    return TensorType((*kind.shape[:axis], size, *kind.shape[axis + 1 :]), kind.dtype)
