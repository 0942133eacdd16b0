"""Layers that read the same and whose results are added are one layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.ir.graph import Node, Value
from archlang.optimize.affine import Affine, Keys, affine, affine_keys, keys, take, with_bias
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain
from archlang.optimize.layers import chain, chained, embed, layout, reshape, work
from archlang.optimize.taps import Kernel, point, united
from archlang.records import dataclass

_LAYERS = ("conv", "linear", "conv_transpose")


@dataclass(frozen=True, slots=True)
class _Branch:
    """A summand as a function of `source`: layers one after the other; or one scale and shift; or (neither) itself.

    kernel: the layout of all of it, layouts: of each layer.
    """

    source: Value
    kernel: Kernel | None = None
    layers: tuple[Node, ...] = ()
    layouts: tuple[Kernel, ...] = ()
    scaling: Affine | None = None

    @property
    def cost(self) -> int:
        return work(self.layouts)


@rewrites("merge-branches", equivalence="rounding", level=2, purposes=("inference",))
def merge_branches(edit: Editor) -> None:
    """Sums of convolutions (transposed ones, linear layers), batch norms and copies of one input: one layer.

    Kernels of other sizes, rates and groups are embedded in zeros, where that takes no more multiplications.
    Sums of sizes: Ding et al., 2021; dilated kernels: Scaling Up Your Kernels (Zhang et al., 2024).
    """
    for root in edit.nodes("add"):
        if not _joins(root) or (edit.sole(root.outputs[0]) and _joins(edit.readers(root.outputs[0])[0])):
            continue
        inner, leaves = _leaves(edit, root)
        groups: dict[int, dict[int, _Branch]] = {}  # by source: by leaf
        for i, leaf in enumerate(leaves):
            for branch in _branches(edit, leaf):
                groups.setdefault(id(branch.source), {})[i] = branch
        for found in groups.values():
            chosen = _chosen(found)
            if len(chosen) > 1:
                _merge(edit, [root, *inner], leaves, chosen)
                break


def _joins(node: Node) -> bool:
    """Whether a node is a plain sum of equal shapes."""
    kind = node.outputs[0].type
    return node.op == "add" and plain(node) and len(node.inputs) > 1 and all(v.type == kind for v in node.inputs)


def _leaves(edit: Editor, root: Node) -> tuple[list[Node], list[Value]]:
    """The sums inside of a sum, which it alone reads, and what is added in all."""
    inner: list[Node] = []
    leaves: list[Value] = []
    pending = list(reversed(root.inputs))
    while pending:
        value = pending.pop()
        maker = edit.maker(value)
        if maker is not None and edit.sole(value) and _joins(maker):
            inner.append(maker)
            pending += reversed(maker.inputs)
        else:
            leaves.append(value)
    return inner, leaves


def _branches(edit: Editor, leaf: Value) -> Iterator[_Branch]:
    """All ways to see a summand as a function of something."""
    yield _Branch(leaf)
    node = edit.maker(leaf)
    if node is None or not edit.sole(leaf):
        return
    scaling = affine(edit, node)
    if scaling is not None:
        yield _Branch(scaling.value, scaling=scaling)
    last = layout(edit, node, _LAYERS)
    if last is None:
        return
    branch = _Branch(node.inputs[0], last, (node,), (last,))
    while True:
        yield branch
        before = edit.maker(branch.source)
        one = layout(edit, before) if before is not None and edit.sole(branch.source) else None
        assert branch.kernel is not None
        whole = chained(before, one, branch.layers[0], branch.kernel) if before is not None and one else None
        if before is None or one is None or whole is None:
            return
        branch = _Branch(before.inputs[0], whole, (before, *branch.layers), (one, *branch.layouts))


def _chosen(found: dict[int, _Branch]) -> dict[int, _Branch]:
    """What of it to merge; first the one that takes up the others."""
    layers = sorted((i for i, b in found.items() if b.kernel is not None), key=lambda i: -found[i].cost)
    rest = [i for i, b in found.items() if b.kernel is None]
    for start in range(len(layers)):
        chosen = _taken_up(found, [*layers[start:], *rest])
        if len(chosen) > 1:
            return chosen
    norms = [i for i in rest if (s := found[i].scaling) is not None and s.node.op == "batchnorm"]
    first = norms[:1]
    return {i: found[i] for i in (*first, *(i for i in rest if i not in first))} if first else {}


def _taken_up(found: dict[int, _Branch], order: Sequence[int]) -> dict[int, _Branch]:
    """The first layer of some, with those that it takes up without more multiplications."""
    chosen: dict[int, _Branch] = {}
    made: Kernel | None = None
    for i in order:
        branch = found[i]
        one = branch.kernel
        if made is not None and one is None and _scales(branch, found[order[0]]):
            one = point(made)
        together = one if made is None or one is None else united(made, one)
        cost = branch.cost or (one.cost if one is not None else 0)
        if together is not None and together.cost <= (made.cost if made is not None else 0) + cost:
            made = together
            chosen[i] = branch
    return chosen


def _scales(branch: _Branch, layer: _Branch) -> bool:
    """Whether a branch without a kernel treats alike what the layer's output channels are made of."""
    axis = None if branch.scaling is None else branch.scaling.axis
    return axis is None or axis == (branch.source.type.rank - 1 if layer.layers[0].op == "linear" else 1)


def _merge(edit: Editor, sums: Sequence[Node], leaves: Sequence[Value], chosen: dict[int, _Branch]) -> None:
    root = sums[0]
    target, *others = chosen.values()
    node = target.layers[-1] if target.layers else target.scaling.node  # type: ignore[union-attr]
    edit.did(root, f"{len(chosen)} summands of one input are a single `{node.op}`")
    first = next(iter(chosen))
    rest = [node.outputs[0] if i == first else leaf for i, leaf in enumerate(leaves) if i == first or i not in chosen]
    total = node.outputs[0] if len(rest) == 1 else edit.add("add", rest, root.attrs, at=root).outputs[0]
    edit.replace(root.outputs[0], total)
    for one in sums:
        edit.remove(one)
    if target.kernel is None:
        _into_norm(edit, node, others)
        return
    made = _single(edit, target)
    for branch in others:
        made = _into_layer(edit, node, made, branch)


def _single(edit: Editor, branch: _Branch) -> Kernel:
    """Makes the last of a branch's layers do what all do."""
    (made, *layouts), (before, *nodes) = branch.layouts, branch.layers
    for node, one in zip(nodes, layouts, strict=True):
        whole = chained(before, made, node, one)
        assert whole is not None
        chain(edit, before, made, node, one, whole)
        before, made = node, whole
    return made


def _into_layer(edit: Editor, node: Node, made: Kernel, branch: _Branch) -> Kernel:
    """Adds a branch to a layer of the layout `made`; the layout afterwards."""
    bias = node.attrs["bias"]
    if branch.kernel is None:
        whole = united(made, point(made))
        assert whole is not None
        embed(edit, node, made, whole.groups, whole)
        what = Keys() if branch.scaling is None else take(edit, branch.scaling)
        bias = bias or what.shifts
        places: dict[str, Any] = {"groups": whole.groups, "tap": tuple(t.before // t.step for t in whole.taps)}
        reads = (*affine_keys(node), what.scale, what.shift)
        edit.change("add_identity", reads, keys(node, bias=bias), **(places if made.taps else {}), **what.numbers)
    else:
        other, one = branch.layers[-1], _single(edit, branch)
        whole = united(made, one)
        assert whole is not None and other.path is not None
        embed(edit, node, made, whole.groups, whole)
        embed(edit, other, one, whole.groups, whole)
        bias = bias or other.attrs["bias"]
        edit.change("add_layers", (*affine_keys(node), *affine_keys(other)), keys(node, bias=bias))
        edit.remove(other)
        edit.drop_module(other.path)
    reshape(edit, node, whole, bias=bias)
    return whole


def _into_norm(edit: Editor, node: Node, others: Sequence[_Branch]) -> None:
    """Adds scales and shifts, and copies, to a batch norm."""
    at = node.path
    for branch in others:
        statistics = (f"{at}.running_mean", f"{at}.running_var")
        what = Keys() if branch.scaling is None else take(edit, branch.scaling)
        reads = (*affine_keys(node), *statistics, what.scale, what.shift)
        writes = (*keys(node, bias=True), *statistics)
        edit.change("add_to_batchnorm", reads, writes, eps=node.attrs["eps"], **what.numbers)
        edit.reshape_module(node, with_bias(node))
