"""Which layers can take over a scale and a shift a channel of a value: those that make it, or those that read it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from archlang.ir.graph import Node, Value
from archlang.ops.axes import Var, factors
from archlang.ops.channels import Ties
from archlang.optimize.affine import Affine, Keys, affine_keys, axis_made, keys, scale_after, take
from archlang.optimize.edit import Editor, plain
from archlang.optimize.slices import CUTS
from archlang.optimize.taps import kernel
from archlang.records import dataclass, replace
from archlang.shapes.dim import Size

__all__ = ["Part", "Place", "Sink", "absorb", "before", "behind", "hand_on", "opened"]


@dataclass(frozen=True, slots=True)
class Part:
    """Of the channels of a scale and a shift, those from `start` to `stop`, with `ahead` and `behind` others around
    them, each `inner` times, and all `outer` times.

    shifted: whether the shift counts, which one summand of several takes over. scaled: False where there is a shift
    alone: one of a summand is one of the sum, one of a part of a concat leaves the `ahead` and `behind` as they are.
    """

    start: int = 0
    stop: int = 0
    shifted: bool = True
    outer: int = 1
    inner: int = 1
    ahead: int = 0
    behind: int = 0
    scaled: bool = True

    def of(self, width: Size) -> Part | None:
        """The part for `width` channels from here on."""
        each = self.outer * self.inner
        if not isinstance(width, int) or width % each:
            return None
        return replace(self, stop=self.start + width // each - self.ahead - self.behind)

    def within(self, widths: Sequence[Size], place: int) -> Part | None:
        """The part that the input number `place` of a concat is of it; widths: of the inputs."""
        ahead, behind = sum(widths[:place], start=0), sum(widths[place + 1 :], start=0)
        if self.scaled or self.outer * self.inner > 1 or not isinstance(ahead, int) or not isinstance(behind, int):
            return None
        return replace(self, ahead=ahead + self.ahead, behind=self.behind + behind)


WHOLE = Part()


@dataclass(frozen=True, slots=True)
class Sink:
    """A layer and the part of the scale and shift that it takes over.

    node: the layer; or a call in which there is one, which has to be written out first.
    """

    node: Node
    part: Part


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search goes on: in a graph, and (outer) in the one that calls it, by its node `call`."""

    edit: Editor
    outer: Place | None = None
    call: Node | None = None


def opened(place: Place, node: Node) -> Place | None:
    """The callee of a call that can be written out in place."""
    callee, edit = node.callee, place.edit
    if callee is None or not plain(node) or node.modules or edit.module(node) is None:
        return None
    if callee.proof is not None or callee.borrowed or callee.aliases:
        return None
    if len(node.outputs) != len(callee.results):
        return None
    return Place(Editor(callee, edit.training, set(), {}, []), place, node)


# -- those that make it ------------------------------------------------------------------------------------------------
def behind(place: Place, value: Value, axis: int | None, part: Part = WHOLE, *, edge: bool = False) -> list[Sink]:
    """The layers that make a value, of which nothing else is made; none where one of them cannot take it over.

    axis: of the channels; None where scale and shift are numbers. edge: the graph returns the value, and the caller
    says that nobody else reads it.
    """
    edit = place.edit
    node = edit.maker(value)
    alone = edit.sole(value) if not edge else not edit.readers(value) and edit.graph.results.count(value) == 1
    if not alone:
        return []
    if node is None:
        if place.outer is None or place.call is None:
            return []
        return behind(place.outer, place.call.inputs[edit.graph.entries.index(value)], axis, part)
    if not plain(node):
        return []
    made = axis_made(edit, node)
    if made is not None and axis in (None, made):
        own = part.of(value.type.shape[made])
        return [Sink(node, own)] if own is not None and (axis is not None or affine_keys(node)[0]) else []
    if node.callee is not None:
        below = opened(place, node)
        if below is None:
            return []
        last = below.edit.graph.results[node.outputs.index(value)]
        return [Sink(node, s.part) for s in behind(replace(below, outer=None), last, axis, part, edge=True)]
    if node.op == "concat" and axis is not None and node.attrs["dim"] == axis:
        return _pieces_behind(place, node, axis, part)
    if node.op == "concat" or (node.op == "add" and _joins(node)):
        found = []
        for i, v in enumerate(node.inputs):
            shifted = part.shifted and (i == 0 or node.op == "concat")
            found.append(behind(place, v, axis, replace(part, shifted=shifted)))
        return [s for sinks in found for s in sinks] if all(found) else []
    if axis is None:
        return behind(place, node.inputs[0], None, part) if _averages(node) else []
    for i in range(node.inputs[0].type.rank if node.inputs else 0):
        tiles = _carried(node, i, axis)
        if tiles is not None:
            outer, inner = part.outer * tiles[0], part.inner * tiles[1]
            return behind(place, node.inputs[0], i, replace(part, outer=outer, inner=inner))
    return []


def _joins(node: Node) -> bool:
    """Whether a node adds wires of one shape, and no number."""
    return node.attrs["other"] is None and all(v.type == node.outputs[0].type for v in node.inputs)


def _pieces_behind(place: Place, node: Node, axis: int, part: Part) -> list[Sink]:
    sinks: list[Sink] = []
    for value in node.inputs:
        own = part.of(value.type.shape[axis])
        found = behind(place, value, axis, part) if own is not None and part.outer == part.inner == 1 else []
        if own is None or not found:
            return []
        sinks += found
        part = replace(part, start=own.stop)
    return sinks


# -- those that read it ------------------------------------------------------------------------------------------------
def before(place: Place, value: Value, axis: int | None, part: Part = WHOLE, *, shifts: bool) -> list[Sink]:
    """The layers that read a value, where nothing else does; none where one of them cannot take it over.

    shifts: whether there is a shift, which padding with zeros comes after.
    """
    edit = place.edit
    readers = edit.readers(value)
    if edit.is_result(value) and not readers and place.outer is not None and place.call is not None:
        last = edit.graph.results
        if last.count(value) > 1:
            return []
        return before(place.outer, place.call.outputs[last.index(value)], axis, part, shifts=shifts)
    if not readers or edit.is_result(value) or len({id(n) for n in readers}) < len(readers):
        return []
    found = [_reader(place, node, value, axis, part, shifts) for node in readers]
    return [s for sinks in found for s in sinks] if all(found) else []


def _reader(place: Place, node: Node, value: Value, axis: int | None, part: Part, shifts: bool) -> list[Sink]:
    edit = place.edit
    if not plain(node):
        return []
    if node.op in ("conv", "linear", "conv_transpose") and edit.module(node) is not None:
        read = value.type.rank - 1 if node.op == "linear" else 1
        own = part.of(value.type.shape[read])
        return [Sink(node, own)] if own and axis in (None, read) and not (shifts and _pads(node)) else []
    if node.callee is not None:
        below = opened(place, node)
        if below is None:
            return []
        first = below.edit.graph.entries[node.inputs.index(value)]
        found = before(replace(below, outer=None), first, axis, part, shifts=shifts)
        return [Sink(node, s.part) for s in found]
    if axis is None and _averages(node):
        return before(place, node.outputs[0], None, part, shifts=shifts)
    if axis is None:
        return []
    if node.op == "add" and not part.scaled and _joins(node):
        return before(place, node.outputs[0], axis, part, shifts=shifts)
    if node.op == "concat":
        widths = [v.type.shape[axis] for v in node.inputs]
        joined = part.within(widths, node.inputs.index(value)) if node.attrs["dim"] == axis else None
        return before(place, node.outputs[0], axis, joined, shifts=shifts) if joined is not None else []
    if node.op in CUTS:
        return _pieces_read(place, node, axis, part, shifts)
    for i in range(node.outputs[0].type.rank if len(node.outputs) == 1 else 0):
        tiles = _carried(node, axis, i, forwards=True)
        if tiles is not None:
            outer, inner = part.outer * tiles[0], part.inner * tiles[1]
            return before(place, node.outputs[0], i, replace(part, outer=outer, inner=inner), shifts=shifts)
    return []


def _pieces_read(place: Place, node: Node, axis: int, part: Part, shifts: bool) -> list[Sink]:
    sinks: list[Sink] = []
    along = node.attrs["dim"] == axis
    if along and part.outer * part.inner + part.ahead + part.behind > 1:
        return []
    for value in node.outputs:
        own = part.of(value.type.shape[axis])
        found = before(place, value, axis, part, shifts=shifts)
        if own is None or not found:
            return []
        sinks += found
        part = replace(part, start=own.stop) if along else part
    return sinks


def _pads(node: Node) -> bool:
    """Whether a layer reads zeros where there is no input, or spreads it unevenly."""
    if node.op == "linear":
        return False
    layout = kernel(node.attrs) if node.op == "conv" else None
    return layout is None or layout.mode == "zeros"


def _averages(node: Node) -> bool:
    op = Editor.entry(node)
    return op is not None and len(node.outputs) == 1 and op.averages(node.attrs)


def _carried(node: Node, read: int, made: int, *, forwards: bool = False) -> tuple[int, int] | None:
    """How the indices of the input's dimension `read` are those of the output's `made`, for an op that moves or
    averages: one of the two holds the other's, all of them so many times, and each so many times.

    forwards: the output's dimension may hold more, as after `flatten`; else the input's.
    """
    op = Editor.entry(node)
    if op is None or not _averages(node):
        return None
    ties = Ties()
    axes = [tuple(ties.free(size) for size in v.type.shape) for v in node.inputs]
    outs = op.channels(ties, axes, [v.type for v in node.outputs], node.attrs).outs[0]
    small, large = factors(axes[0][read]), factors(outs[made])
    small, large = (small, large) if forwards else (large, small)
    at = next((i for i, one in enumerate(large) if len(small) == 1 and one is small[0]), None)
    if at is None or not isinstance(small[0], Var) or small[0].fixed is not None:
        return None
    outer = prod((f.size for f in large[:at]), start=1)
    inner = prod((f.size for f in large[at + 1 :]), start=1)
    return (outer, inner) if isinstance(outer, int) and isinstance(inner, int) else None


# -- taking it over ----------------------------------------------------------------------------------------------------
def absorb(edit: Editor, found: Affine, sinks: list[Sink], *, after: bool) -> None:
    """Takes an affine node away: the layers do what it did, `after` what they do, or before it."""
    keys = take(edit, found)
    for sink, mine in zip(sinks, _shared(edit, keys, sinks), strict=True):
        (scale_after if after else _scale_before)(edit, sink.node, mine)


def hand_on(edit: Editor, node: Node, sinks: list[Sink]) -> None:
    """Takes a layer's bias away: the layers that read its result add what they make of it."""
    keys = Keys(shift=affine_keys(node)[1])
    for sink, mine in zip(sinks, _shared(edit, keys, sinks), strict=True):
        _scale_before(edit, sink.node, mine)
    edit.reshape_module(node, {**node.attrs, "bias": False})


def _shared(edit: Editor, keys: Keys, sinks: list[Sink]) -> list[Keys]:
    """Where the state holds what each of the layers gets of a scale and a shift."""
    own = [s.part for s in sinks]
    zeros = tuple((p.ahead, p.behind) for p in own)
    simple = len(sinks) == 1 and own[0].outer == own[0].inner == 1 and zeros == ((0, 0),)
    if simple or (keys.scale is None and keys.shift is None):
        return [keys for _ in sinks]
    given: list[Keys] = []
    writes: list[str] = []
    for sink in sinks:
        names = {"scale": keys.scale, "shift": keys.shift if sink.part.shifted else None}
        mine = {n: f"{sink.node.path}.{n}" for n, key in names.items() if key is not None}
        given.append(Keys(mine.get("scale"), mine.get("shift")))
        writes += mine.values()
    parts = tuple((p.start, p.stop, p.shifted, p.outer, p.inner) for p in own)
    around: dict[str, Any] = {"zeros": zeros} if any(map(any, zeros)) else {}
    edit.change("share", (keys.scale, keys.shift), writes, parts=parts, **around)
    return given


def _scale_before(edit: Editor, node: Node, given: Keys) -> None:
    """The node's module scales and shifts what it reads."""
    weight, bias = affine_keys(node)
    if node.op == "conv_transpose":
        edit.change("scale_outputs", (weight, None, given.scale, None), (str(weight),), **given.numbers)
        return
    groups = {"groups": node.attrs["groups"]} if node.op == "conv" else {}
    both = bias is not None or given.shifts
    reads = (weight, bias, given.scale, given.shift)
    edit.change("scale_inputs", reads, keys(node, bias=both), **given.numbers, **groups)
    edit.reshape_module(node, {**node.attrs, "bias": both})
