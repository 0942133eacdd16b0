"""Paths side by side, of which each does the same to its own channels: one path with groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from archlang.ir.graph import Node, Value
from archlang.optimize.affine import affine_keys, keys
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layers import embed, layout
from archlang.optimize.slices import CUTS
from archlang.optimize.taps import Kernel, united
from archlang.records import dataclass, replace

_GROWTH = 2  # of a depthwise convolution's multiplications, by zeros in its kernels: a pass over memory is worth that


@dataclass(frozen=True, slots=True)
class _Path:
    """From `source` on, nodes one after the other; layouts: of convolutions, None of what has no weights."""

    source: Value
    nodes: tuple[Node, ...]
    layouts: tuple[Kernel | None, ...]


@rewrites("merge-paths", equivalence="rounding", level=2, purposes=("inference",))
def merge_paths(edit: Editor) -> None:
    """Equal paths from one input, or from neighbouring parts of one, whose results are joined or added: one path.

    A concat gives a grouped convolution, a sum one that adds over the groups: the three forms of Aggregated Residual
    Transformations for Deep Neural Networks (Xie et al., 2017). Kernels of depthwise convolutions may differ.
    """
    for end in edit.nodes("concat", "add"):
        joins = end.op == "concat" and end.attrs["dim"] == 1
        adds = end.op == "add" and all(v.type == end.outputs[0].type for v in end.inputs)
        if not plain(end) or not (joins or adds):
            continue
        paths = [_path(edit, value) for value in end.inputs]
        for start in range(len(paths) - 1):
            stop, made = _run(edit, paths, start, adds)
            if stop > start + 1:
                _merge(edit, end, [p for p in paths[start:stop] if p is not None], made, start)
                break


def _path(edit: Editor, value: Value) -> _Path | None:
    """The longest path that ends in a value, and that nothing else reads on the way."""
    nodes: list[Node] = []
    layouts: list[Kernel | None] = []
    while True:
        node = edit.maker(value)
        if node is None or not edit.sole(value) or not plain(node) or len(node.inputs) != 1 or node.op in CUTS:
            break
        one = layout(edit, node) if node.op == "conv" else None
        op = edit.entry(node)
        if one is None and (op is None or node.path is not None or not op.local or not op.elementwise):
            break
        nodes.append(node)
        layouts.append(one)
        value = node.inputs[0]
    while layouts and layouts[-1] is None:  # from its first convolution on
        value = nodes.pop().outputs[0]
        layouts.pop()
    return _Path(value, tuple(reversed(nodes)), tuple(reversed(layouts))) if nodes else None


def _run(edit: Editor, paths: Sequence[_Path | None], start: int, adds: bool) -> tuple[int, list[Kernel | None]]:
    """Up to where paths from one on can be merged, and the layouts of what is made of them."""
    made: list[Kernel | None] = []
    stop = start + 1
    for end in range(start + 2, len(paths) + 1):
        found = [p for p in paths[start:end] if p is not None]
        if len(found) < end - start:
            break
        layouts = _together(edit, found, adds)
        if layouts is None:
            break
        stop, made = end, layouts
    return stop, made


def _together(edit: Editor, paths: Sequence[_Path], adds: bool) -> list[Kernel | None] | None:
    first = paths[0]
    same = all(p.source is first.source for p in paths)
    if not same and not _neighbours(edit, paths):
        return None
    if any([n.op for n in p.nodes] != [n.op for n in first.nodes] for p in paths):
        return None
    made: list[Kernel | None] = []
    for i, node in enumerate(first.nodes):
        if first.layouts[i] is None:
            if any(p.nodes[i].attrs != node.attrs for p in paths):
                return None
            made.append(None)
            continue
        last = adds and i == len(first.nodes) - 1
        one = _side_by_side([p.layouts[i] for p in paths], shared=same and i == 0, adds=last)
        if one is None:
            return None
        made.append(one)
    if adds and made[-1] is None:
        return None
    return made


def _neighbours(edit: Editor, paths: Sequence[_Path]) -> bool:
    """Whether the sources are parts of one value, one after the other."""
    cut = edit.maker(paths[0].source)
    if cut is None or cut.op not in CUTS or not plain(cut) or cut.attrs["dim"] != 1:
        return False
    at = cut.outputs.index(paths[0].source)
    return all(
        at + i < len(cut.outputs) and p.source is cut.outputs[at + i] and edit.sole(p.source)
        for i, p in enumerate(paths)
    )


def _side_by_side(layouts: Sequence[Kernel | None], *, shared: bool, adds: bool) -> Kernel | None:
    """One layer for layers that read the same (shared) or parts of one input, and whose results are joined or added."""
    found = [k for k in layouts if k is not None]
    inputs, outputs = sum(k.inputs for k in found), sum(k.outputs for k in found)
    alike = [replace(k, inputs=1, outputs=1, groups=1) for k in found]
    whole = reduce(lambda a, b: a and united(a, b), alike[1:], alike[0] if alike else None)
    if whole is None:
        return None
    if shared or adds:
        groups = 1
        if any(k.groups > 1 for k in found):
            return None
        if shared and adds:
            return None  # that is a sum of branches
        inputs, outputs = (found[0].inputs, outputs) if shared else (inputs, found[0].outputs)
    else:
        groups = sum(k.groups for k in found)
        if len({(k.inputs // k.groups, k.outputs // k.groups) for k in found}) > 1:
            return None
    whole = replace(whole, inputs=inputs, outputs=outputs, groups=groups)
    growth = _GROWTH if groups == inputs else 1
    return whole if whole.cost <= growth * sum(k.cost for k in found) else None


def _merge(edit: Editor, end: Node, paths: Sequence[_Path], made: Sequence[Kernel | None], start: int) -> None:
    edit.did(end, f"{len(paths)} equal paths are one")
    adds = end.op == "add"
    value = paths[0].source if all(p.source is paths[0].source for p in paths) else _widen(edit, paths)
    for i, whole in enumerate(made):
        row = [p.nodes[i] for p in paths]
        first = row[0]
        if whole is None:
            value = edit.add(first.op, [value], first.attrs, at=end).outputs[0]
            continue
        bias = any(n.attrs["bias"] for n in row)
        for node, p in zip(row, paths, strict=True):
            own = p.layouts[i]
            assert own is not None
            embed(edit, node, own, own.groups, whole)
        function = "stack_inputs" if adds and i == len(made) - 1 else "stack_outputs"
        edit.change(function, tuple(key for n in row for key in affine_keys(n)), keys(first, bias=bias))
        node = edit.add("conv", [value], whole.attrs(first.attrs, bias=bias), at=end, path=first.path)
        value = node.outputs[0]
        edit.reshape_module(node, node.attrs)
    rest = [*end.inputs[:start], value, *end.inputs[start + len(paths) :]]
    total = value if len(rest) == 1 else edit.add(end.op, rest, end.attrs, at=end).outputs[0]
    edit.merge(end, total)
    for p in paths:
        for node in reversed(p.nodes):
            edit.remove(node)
            if node.path is not None and p is not paths[0]:
                edit.drop_module(node.path)


def _widen(edit: Editor, paths: Sequence[_Path]) -> Value:
    """The sources, parts of one value, as one part."""
    cut = edit.maker(paths[0].source)
    assert cut is not None
    start, stop = cut.outputs.index(paths[0].source), cut.outputs.index(paths[-1].source) + 1
    if stop - start == len(cut.outputs):
        return cut.inputs[0]
    sizes = [v.type.shape[1] for v in cut.outputs]
    joined = (*sizes[:start], sum(sizes[start:stop], start=0), *sizes[stop:])
    new = edit.add("split", cut.inputs, {"sizes": joined, "size": None, "dim": 1}, at=cut)
    for old, value in zip(cut.outputs[:start], new.outputs[:start], strict=True):
        edit.replace(old, value)
    for old, value in zip(cut.outputs[stop:], new.outputs[start + 1 :], strict=True):
        edit.replace(old, value)
    return new.outputs[start]
