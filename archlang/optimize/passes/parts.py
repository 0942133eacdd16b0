"""Parts of concats: what is cut out of joined values lies in few of them, or in one."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.ir.graph import Node, Value
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.passes.joins import splice
from archlang.optimize.slices import CUTS, WHOLE, bounds, short
from archlang.records import dataclass
from archlang.shapes.dim import Size, at_least


@rewrites("parts-of-concats", equivalence="rounding", level=2, purposes=("inference",))
def parts_of_concats(edit: Editor) -> None:
    """Takes the inputs of a concat in place of its parts: split, chunk, slices; of slices over several, these alone.

    No element changes, but the parts lay scattered, and kernels of torch may round otherwise where they do not.
    """
    for concat in edit.nodes("concat"):
        splice(edit, concat)
    for node in edit.nodes(*CUTS, "index"):
        _inputs_for(edit, node)
    for concat in edit.nodes("concat"):
        _forwards(edit, concat)
        cuts = _cuts(edit, concat)
        if cuts is not None and not _narrow(edit, concat, cuts):
            _unite(edit, concat)


def _inputs_for(edit: Editor, node: Node) -> None:
    """Takes a node away whose results are inputs of a concat, or several of them joined."""
    concat = edit.maker(node.inputs[0])
    if concat is None or concat.op != "concat" or not plain(node):
        return
    dim = concat.attrs["dim"]
    ends = _ends(node, dim) if _even(concat) else None
    if node.op == "index" and ends is not None and _slice_of_one(edit, node, concat, *ends[0]):
        return
    found = [_between(concat.inputs, dim, *pair) for pair in ends] if ends is not None else [None]
    if None in found:
        return
    edit.did(node, f"`{node.op}` gives inputs of `concat`")
    for old, values in zip(node.outputs, found, strict=True):
        assert values is not None
        new = values[0] if len(values) == 1 else edit.add("concat", values, concat.attrs, at=node).outputs[0]
        edit.replace(old, new)
    edit.remove(node)


def _slice_of_one(edit: Editor, node: Node, concat: Node, start: Size, stop: Size) -> bool:
    """Whether a slice lies within one input, of which it is the slice then."""
    dim: int = concat.attrs["dim"]
    at: Size = 0
    for value in concat.inputs:
        size = value.type.shape[dim]
        if at_least(start, at) and at_least(at + size, stop) and (start, stop) != (at, at + size):
            items = (*(WHOLE,) * dim, short(start - at, stop - at, 1, size))
            if edit.turn(node, "index", {"items": items}, (value,)):
                edit.did(node, "a slice of `concat` is one of its input")
            return True
        at = at + size
    return False


def _ends(node: Node, dim: int) -> list[tuple[Size, Size]] | None:
    """Where each part begins and ends along a dimension; None where the node does something else."""
    x = node.inputs[0].type
    if node.op == "index":
        items = node.attrs["items"]
        if len(items) <= dim or any(item != WHOLE for d, item in enumerate(items) if d != dim):
            return None
        found = bounds(items[dim], x.shape[dim])
        return [found[:2]] if found is not None and found[2] == 1 else None
    if node.attrs["dim"] != dim:
        return None
    ends: list[tuple[Size, Size]] = []
    at: Size = 0
    for part in node.outputs:
        ends.append((at, at + part.type.shape[dim]))
        at = ends[-1][1]
    return ends


def _between(inputs: Sequence[Value], dim: int, start: Size, stop: Size) -> list[Value] | None:
    """The inputs of a concat that lie from `start` to `stop`; None where an end lies within one."""
    found: list[Value] = []
    at: Size = 0
    for value in inputs:
        if at == start or found:
            found.append(value)
        at = at + value.type.shape[dim]
        if found and at == stop:
            return found
    return None


# -- slices over several inputs ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Cut:
    """A slice of a concat, along the dimension that is joined, from `start` to `stop`."""

    node: Node
    start: Size
    stop: Size

    def move(self, edit: Editor, concat: Node, by: Size) -> None:
        """Takes the same elements of another concat, where they stand so much further on."""
        (whole,), dim = concat.outputs, concat.attrs["dim"]
        item = short(self.start + by, self.stop + by, 1, whole.type.shape[dim])
        edit.turn(self.node, "index", {"items": (*(WHOLE,) * dim, item)}, (whole,))


def _cuts(edit: Editor, concat: Node, beside: Node | None = None) -> list[_Cut] | None:
    """The slices that read a concat; None where something else does, too, but the node `beside`."""
    found: list[_Cut] = []
    if edit.is_result(concat.outputs[0]) or not _even(concat):
        return None
    for node in edit.readers(concat.outputs[0]):
        if node is beside:
            continue
        ends = _ends(node, concat.attrs["dim"]) if node.op == "index" and plain(node) else None
        if ends is None or (node.path is not None and edit.module(node) is None):
            return None
        found.append(_Cut(node, *ends[0]))
    return found or None


def _even(concat: Node) -> bool:
    """Whether all inputs are of the result's element type."""
    return plain(concat) and all(v.type.dtype == concat.outputs[0].type.dtype for v in concat.inputs)


def _length(values: Sequence[Value], dim: int) -> Size:
    return sum((v.type.shape[dim] for v in values), start=0)


def _forwards(edit: Editor, concat: Node) -> None:
    """Of inputs that come again, slices take those that come first: so equal slices are of equal elements."""
    dim, given = concat.attrs["dim"], list(concat.inputs)
    for cut in (_cuts(edit, concat) or ()) if len(set(given)) < len(given) else ():
        ends = [_length(given[:i], dim) for i in range(len(given) + 1)]
        first = max(i for i, end in enumerate(ends[:-1]) if i == 0 or at_least(cut.start, end))
        last = min(i for i, end in enumerate(ends) if i == len(given) or at_least(end, cut.stop))
        run = given[first:last]
        place = next(i for i in range(first + 1) if given[i : i + len(run)] == run)
        if run and place < first:
            edit.did(cut.node, "the same elements come before in `concat`")
            cut.move(edit, concat, ends[place] - ends[first])


def _narrow(edit: Editor, concat: Node, cuts: Sequence[_Cut]) -> bool:
    """Leaves out the inputs at both ends that no slice takes anything of."""
    dim, given = concat.attrs["dim"], list(concat.inputs)
    first, last = 0, len(given)
    while last - first > 1 and all(at_least(c.start, _length(given[: first + 1], dim)) for c in cuts):
        first += 1
    while last - first > 1 and all(at_least(_length(given[: last - 1], dim), c.stop) for c in cuts):
        last -= 1
    if last - first in (1, len(given)):
        return False
    edit.did(concat, f"nothing reads {len(given) - (last - first)} inputs of `concat`")
    narrow = edit.add("concat", given[first:last], concat.attrs, at=concat, name=concat.outputs[0].name)
    _replace(edit, concat, narrow, cuts, -_length(given[:first], dim))
    return True


def _replace(edit: Editor, old: Node, new: Node, cuts: Sequence[_Cut], by: Size) -> None:
    for cut in cuts:
        cut.move(edit, new, by)
    edit.remove(old)


def _unite(edit: Editor, concat: Node) -> None:
    """Makes one of two concats where slices alone read one, and the other begins with its end, or holds it."""
    for other in {id(n): n for v in (*concat.inputs, *concat.outputs) for n in edit.readers(v)}.values():
        if other is concat or other.op != "concat" or other.attrs != concat.attrs or not _even(other):
            continue
        cuts = _cuts(edit, concat, other)
        union = _union(edit, concat, other) if cuts is not None else None
        if cuts is None or union is None:
            continue
        joined, before, after = union
        at = next((n for n in (concat, other) if _fits(edit, n, joined, (concat, other))), None)
        if at is not None:
            edit.did(concat, "two `concat` of which parts are taken are one")
            new = edit.add("concat", joined, concat.attrs, at=at)
            if after is None:
                edit.merge(other, new.outputs[0])
            else:
                _replace(edit, other, new, _cuts(edit, other) or (), after)
            _replace(edit, concat, new, cuts, before)
            return


def _union(edit: Editor, a: Node, b: Node) -> tuple[list[Value], Size, Size | None] | None:
    """What a concat of the inputs of both is of, and where a's and b's begin in it (None: b is all of it); None where
    they have nothing in common."""
    dim, whole = a.attrs["dim"], a.outputs[0]
    first, second = list(a.inputs), list(b.inputs)
    if whole in second:
        at = second.index(whole)
        second[at : at + 1] = first
        return (second, _length(second[:at], dim), None) if whole not in second else None
    for at in range(len(second) - len(first) + 1):
        if second[at : at + len(first)] == first:
            return second, _length(second[:at], dim), None
    if _cuts(edit, b) is not None:
        for many in range(min(len(first), len(second)) - 1, 0, -1):
            if first[-many:] == second[:many]:
                return first + second[many:], 0, _length(first[:-many], dim)
    return None


def _fits(edit: Editor, at: Node, values: Sequence[Value], old: Sequence[Node]) -> bool:
    """Whether all values are made before a node, and what reads the old nodes comes after it."""
    places = {id(node): i for i, node in enumerate(edit.graph.nodes)}
    here = places[id(at)]
    made = (edit.maker(v) for v in values)
    read = (n for node in old for n in edit.readers(node.outputs[0]) if n not in old)
    return all(n is None or places[id(n)] < here for n in made) and all(places[id(n)] > here for n in read)
