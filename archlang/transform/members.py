"""Which values of a network hold the channels of several members, and how many, where members are packed into one.

The channels are dimension 1, those of one member before those of the next. A value that comes from the inputs alone, by
ops without weights, is *shared*: all members see the same. Widths of other values are *kept*, at all channels for each
member, where they are the network's results or meet shared values; the rest are multiplied by alpha in all.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.ir.graph import Attrs, Graph, Node, Value
from archlang.ir.paths import join
from archlang.ops.base import registry
from archlang.ops.channels import Ties, Var, factors, filled, leaves, parts
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Size
from archlang.transform.work import Place, Work, fixed

__all__ = ["LAYERS", "NORMS", "Members"]

LAYERS = ("conv", "conv_transpose", "linear")
NORMS = ("batchnorm", "groupnorm")


class Members:
    """What becomes of the values of a program whose instances have graphs of their own."""

    def __init__(self, work: Work, count: int, alpha: float, where: Span) -> None:
        self.count = count
        self.alpha = Fraction(alpha).limit_denominator(1000)
        self.where = where
        self.order: list[tuple[Graph, str]] = []  # graphs with their paths, in order of first execution
        self._shared: dict[int, bool] = {}
        self._same: dict[int, int] = {}  # union-find over ids of values
        self._kept: set[int] = set()
        for port in work.root.inputs:
            self._shared.update((id(v), True) for v in port.values)
        self._visit(work, Place(work.root, "", None, ()))
        self._values = [v for graph, _ in self.order for v in graph.values]  # keeps their ids from being used again
        self._kept = {self._find(i) for i in self._kept}
        for output in work.root.outputs:
            self._kept |= {self._find(id(v)) for v in output.values}

    def shared(self, value: Value) -> bool:
        """Whether all members see this one value; what was made since then holds several members."""
        return self._shared.get(id(value), False)

    def width(self, value: Value, name: str) -> int:
        """How many channels a value of several members has."""
        size = value.type.shape[1] if value.type.rank > 1 else 0
        if not isinstance(size, int) or not size:
            self.refuse(name, f"gives {value.type}, and the channels of dimension 1 are packed")
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

    def attrs(self, node: Node, name: str) -> Attrs:
        """The attributes of an op without weights for several members; a diagnostic where it mixes channels."""
        op, cx = registry()[node.op], Ties()
        ins = [tuple(cx.free(size) for size in v.type.shape) for v in node.inputs]
        packed = [axes[1] for axes, v in zip(ins, node.inputs, strict=True) if not self.shared(v) and v.type.rank > 1]
        said = op.channels(cx, ins, [v.type for v in node.outputs], node.attrs)
        cx.settle()
        first: set[int] = set()
        for axis in packed:
            if any(var.fixed or var.held for var in leaves(axis)) or len(parts(axis)) > 1:
                self.refuse(name, f"runs `{node.op}`, which mixes channels", node.span)
            first |= {id(f) for f in factors(axis)[:1]}
        for axes in said.outs:
            mine = [i for i, axis in enumerate(axes) if first & {id(var) for var in leaves(axis)}]
            lead = factors(axes[1])[:1] if len(axes) > 1 and len(parts(axes[1])) == 1 else []
            if mine and (mine != [1] or not lead or id(lead[0]) not in first):
                self.refuse(name, f"runs `{node.op}`, which puts channels elsewhere", node.span)
        whole = max((Fraction(self.width(v, name), _channels(v)) for v in node.outputs), default=Fraction(1))

        def length(var: Var) -> Size:
            return int(var.size * whole) if id(var) in first and isinstance(var.size, int) else var.size

        return {**node.attrs, **{key: filled(sizes, length) for key, sizes in said.sizes.items()}}

    # -- the values --------------------------------------------------------------------------------------------------
    def _visit(self, work: Work, place: Place) -> None:
        """Ties values that have channels in common, and finds those that are shared. Calls first come, first served."""
        graph = place.graph
        if any(g is graph for g, _ in self.order):
            return
        self.order.append((graph, place.prefix))
        if graph.borrowed or graph.aliases:
            fixed(place.prefix or graph.block, "shares modules with other blocks", self.where)
        for node in graph.nodes:
            name = join(place.prefix, node.path or f"({node.op})")
            work.refuse_special(node, place.prefix, self.where)
            if node.callee is not None and node.path is not None:
                self._call(work, place, node)
            elif node.op in LAYERS:
                self._shared.update((id(v), False) for v in node.outputs)
            else:
                self._plain(node, name)

    def _call(self, work: Work, place: Place, node: Node) -> None:
        assert node.path is not None
        callee = work.private(Place(place.graph, node.path, place.graph.children[node.path], place.above), self.where)
        ports = [v for port in callee.inputs for v in port.values]
        for own, port in zip(node.inputs, ports, strict=True):
            if self._shared.setdefault(id(port), self.shared(own)) != self.shared(own):
                fixed(join(place.prefix, node.path), "is applied to shared and to packed inputs", self.where)
            self._tie(own, port)
        self._visit(work, Place(callee, "", None, (*place.above, (place.graph, node.path))))
        for own, result in zip(node.outputs, (v for o in callee.outputs for v in o.values), strict=True):
            self._shared[id(own)] = self.shared(result)
            self._tie(own, result)

    def _plain(self, node: Node, name: str) -> None:
        op = registry().get(node.op)
        special = node.op == "phase"
        if not special and (op is None or (op.weights(node.attrs) and node.op not in NORMS and _saved(node))):
            self.refuse(name, "has weights of its own that are not those of channels", node.span)
        flags = {self.shared(v) for v in node.inputs}
        shared = node.op not in NORMS and False not in flags
        for value in node.outputs:
            self._shared[id(value)] = shared
            for other in node.inputs:
                self._tie(value, other)
        if flags == {True, False}:
            self._kept.update(id(v) for v in node.outputs)

    def _tie(self, a: Value, b: Value) -> None:
        if a.type.rank > 1 and b.type.rank > 1:
            self._same[self._find(id(a))] = self._find(id(b))

    def _find(self, key: int) -> int:
        while self._same.get(key, key) != key:
            key = self._same[key]
        return key


def _saved(node: Node) -> bool:
    return any(decl.persistent for decl in registry()[node.op].weights(node.attrs))


def _channels(value: Value) -> int:
    size = value.type.shape[1] if value.type.rank > 1 else 1
    return size if isinstance(size, int) else 1
