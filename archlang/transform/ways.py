"""How ops without packed weights treat the channels of several members, judged by what each says of its axes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from archlang.ir.graph import Attrs, Node, Value, attr_at
from archlang.ops.axes import Axis, Var, factors, leaves, parts
from archlang.ops.base import registry
from archlang.ops.channels import Tied, Ties
from archlang.prune.shrink import respelled
from archlang.records import dataclass
from archlang.shapes.dim import Dim, Size

if TYPE_CHECKING:
    from archlang.transform.members import Members

__all__ = ["FRONT", "Way", "anywhere", "attributes", "read", "way"]

FRONT = -1  # the axis of values that have none for channels: [members, ...]
_SAMPLES = 7  # stands for the batch where an op is asked whether it takes samples one by one


@dataclass(frozen=True, slots=True)
class Way:
    """How an op treats channels of members.

    kind: "through" (those of all at once, as outermost factors), "beside" (element by element, members in a dimension
    of their own), "samples" (one member at a time, members as samples) or "apart" (one member at a time, each with an
    op of its own). axes: of the channels in its outputs; why: why not "through". repeat: of each input that all members
    share, the dimension that is to have a copy for each of them, if any ("through" only).
    """

    kind: str
    axes: tuple[int, ...]
    why: str = ""
    repeat: tuple[int | None, ...] = ()


def read(node: Node) -> list[Value]:
    """The inputs of which an op reads more than their type and device."""
    op = registry().get(node.op)
    if op is None or any(port.variadic for port in op.inputs):
        return list(node.inputs)
    return [v for v, port in zip(node.inputs, op.inputs, strict=False) if port.name != "like"]


def way(members: Members, node: Node) -> Way:
    """How an op treats the channels of members, at the types that it has for one."""
    through = _through(members, node)
    if isinstance(through, Way):
        return through
    op = registry()[node.op]
    places = tuple(anywhere(members, node, v) for v in node.outputs)
    if op.elementwise:
        return Way("beside", places, through)
    batches = {size for v in node.inputs if isinstance(size := members.batch(v), Dim)}
    packed = [v for v in node.inputs if not members.shared(v)]
    alike = len(batches) == 1 and all(members.batch(v) is not None for v in packed)
    if alike and 0 not in places and _by_samples(members, node, next(iter(batches))):
        return Way("samples", places, through)
    return Way("apart", places, through)


def anywhere(members: Members, node: Node, value: Value) -> int:
    """A dimension of a result in which members can stand side by side: where they do in an input, or the last."""
    first = 1 if any(members.batch(v) is not None for v in node.inputs) else 0
    numbers = [i for i, size in enumerate(value.type.shape) if i >= first and isinstance(size, int) and size > 0]
    packed = [v for v in node.inputs if not members.shared(v) and members.axis(v) != FRONT]
    like = [members.axis(v) + value.type.rank - v.type.rank for v in packed]
    return next((axis for axis in like if axis in numbers), numbers[-1] if numbers else FRONT)


def _said(node: Node) -> tuple[list[tuple[Axis, ...]], Tied]:
    """New axes of the inputs, and what the op says of them."""
    cx = Ties()
    ins = [tuple(cx.free(size) for size in v.type.shape) for v in node.inputs]
    said = registry()[node.op].channels(cx, ins, [v.type for v in node.outputs], node.attrs)
    cx.settle()
    return ins, said


def _packed(members: Members, node: Node, ins: Sequence[tuple[Axis, ...]]) -> list[Axis]:
    """The axes that hold the channels of several members."""
    pairs = zip(ins, node.inputs, strict=True)
    return [axes[members.axis(v)] for axes, v in pairs if not members.shared(v) and v.type.rank > members.axis(v) >= 0]


def _through(members: Members, node: Node) -> Way | str:
    """Where channels of all members at once come out as outermost factors again, if they do; else, why not."""
    if any(not members.shared(v) and members.axis(v) == FRONT for v in read(node)):
        return "reads what has no channels"
    ins, said = _said(node)
    packed = _packed(members, node, ins)
    if any(axis.size == 1 for axis in packed):  # which no factor stands for
        alike = {(v.type, members.axis(v)) for v in read(node)}
        if registry()[node.op].elementwise and len(alike) == 1 and not any(map(members.shared, read(node))):
            return Way("through", (members.axis(node.inputs[0]),))
        return "reads one channel of each member"
    first: set[int] = set()
    for axis in packed:
        if any(var.fixed or var.held or var.measured for var in leaves(axis)) or len(parts(axis)) > 1:
            return "mixes channels"
        first |= {id(f) for f in factors(axis)[:1]}
    if len(first) != 1:
        return "mixes channels"
    places = []
    for axes in said.outs:
        mine = [i for i, axis in enumerate(axes) if first & {id(var) for var in leaves(axis)}]
        lead = factors(axes[mine[0]])[:1] if len(mine) == 1 and len(parts(axes[mine[0]])) == 1 else []
        if not lead or id(lead[0]) not in first:
            return "puts channels elsewhere"
        places += mine
    repeat: list[int | None] = []
    for axes, value in zip(ins, node.inputs, strict=True):
        mine = [i for i, axis in enumerate(axes) if first & {id(var) for var in leaves(axis)}]
        if not members.shared(value):
            repeat.append(None)
            if any(i != members.axis(value) for i in mine):
                return "mixes channels"
        elif len(mine) > 1 or any(len(parts(axes[i])) > 1 or id(factors(axes[i])[0]) not in first for i in mine):
            return "puts channels elsewhere"
        else:
            repeat.append(mine[0] if mine else None)
    return Way("through", tuple(places), repeat=tuple(repeat))


def _by_samples(members: Members, node: Node, batch: Size) -> bool:
    """Whether samples in another order, or fewer, give the results of each as they were."""
    if not isinstance(batch, Dim) or batch.as_symbol is None:
        return False
    at = {batch.as_symbol: _SAMPLES}
    op, cx = registry()[node.op], Ties()
    ins = [tuple(cx.free(size) for size in v.type.at(at).shape) for v in node.inputs]
    attrs = {key: attr_at(value, at) for key, value in node.attrs.items()}
    said = op.channels(cx, ins, [v.type.at(at) for v in node.outputs], attrs)
    cx.settle()
    first = [axes[0] for axes, v in zip(ins, node.inputs, strict=True) if members.batch(v) is not None]
    samples = {id(var) for axis in first for var in leaves(axis)}
    loose = all(not (v.fixed or v.held or v.measured) for axis in first for v in leaves(axis))
    outs = all(axes and {id(v) for v in leaves(axes[0])} == samples for axes in said.outs)
    elsewhere = any(id(v) in samples for axes in said.outs for axis in axes[1:] for v in leaves(axis))
    return len(samples) == 1 and loose and outs and not elsewhere


def attributes(members: Members, node: Node, name: str) -> Attrs:
    """The arguments of an op without packed weights for several members."""
    how = members.how[id(node)]
    if how.kind == "beside":
        return node.attrs
    ins, said = _said(node)
    if how.kind != "through":
        weighted = how.kind == "apart" and registry()[node.op].weights(node.attrs)
        if not members.whole and (said.sizes or weighted):
            what = f"runs `{node.op}`, which {how.why}"
            members.refuse(name, f"{what}, and has sizes of its own: members must be whole for it", node.span)
        return node.attrs
    first = {id(factor) for axis in _packed(members, node, ins) for factor in factors(axis)[:1]}
    widths = [Fraction(members.width(v, name), _channels(v, members.axis(v))) for v in node.outputs]
    whole = max(widths, default=Fraction(1))

    def length(var: Var) -> Size:
        return int(var.size * whole) if id(var) in first and isinstance(var.size, int) else var.size

    args = registry()[node.op].spell(node.attrs)
    return {**args, **{key: respelled(args[key], sizes, length) for key, sizes in said.sizes.items()}}


def _channels(value: Value, axis: int) -> int:
    size = value.type.shape[axis] if value.type.rank > axis else 1
    return size if isinstance(size, int) else 1
