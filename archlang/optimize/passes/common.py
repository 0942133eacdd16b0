"""Common sub-expressions: what is computed twice from the same values, by the same module, is computed once.

So is how sums (products, maxima) of several values begin, which they may only do since one took in another.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from archlang.ir.graph import Graph, Node, Value
from archlang.ir.text import attr_str
from archlang.ops.rules import is_float
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, acts, plain


@rewrites("common-subexpressions", equivalence="exact", level=1)
def common_subexpressions(edit: Editor) -> None:
    """Computes once what would be computed twice; in training, where no gradient is."""
    _merge(edit, lambda node: not edit.training or _without_gradient(edit, node))


@rewrites("common-in-training", equivalence="rounding", level=2, purposes=("train",))
def common_in_training(edit: Editor) -> None:
    """Computes once what would be computed twice: f'(g) + f'(h), of its gradients, becomes f'(g + h)."""
    _merge(edit, lambda node: True)


def _merge(edit: Editor, may: Callable[[Node], bool]) -> None:
    seen: dict[Hashable, Node] = {}
    for node in edit.nodes():
        mine = key(edit, node)
        if mine is None or not may(node):
            continue
        first = seen.setdefault(mine, node)
        if first is node:
            continue
        edit.did(node, f"`{node.op}` is computed before")
        for old, new in zip(node.outputs, first.outputs, strict=True):
            edit.replace(old, new)
        edit.remove(node)
    while pair := _alike(edit, may):
        _begin_once(edit, *pair)


def _alike(edit: Editor, may: Callable[[Node], bool]) -> tuple[Node, Node, int] | None:
    """Two joins and with how many inputs, at least two, they both begin; the first two in order of execution."""
    begun: dict[Hashable, list[Node]] = {}
    for node in edit.nodes():
        op = edit.entry(node)
        if op is None or not op.left_fold or len(node.inputs) < 2 or not plain(node) or not may(node):
            continue
        if not edit.readers(node.outputs[0]) and not edit.is_result(node.outputs[0]):
            continue  # it was taken in, perhaps
        mine = key(edit, node, node.inputs[:2])
        before = [] if mine is None else begun.setdefault(mine, [])
        if before:
            shared = [_shared(other.inputs, node.inputs) for other in before]
            most = max(shared)
            return before[shared.index(most)], node, most
        before.append(node)
    return None


def _shared(one: Sequence[Value], other: Sequence[Value]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a is not b), min(len(one), len(other)))


def _begin_once(edit: Editor, first: Node, node: Node, count: int) -> None:
    """Both take the join of the inputs that they begin with."""
    edit.did(node, f"`{node.op}` begins as one before it")
    joined = first
    if len(first.inputs) > count:
        joined = edit.add(node.op, first.inputs[:count], dict(node.attrs), at=first)
        edit.rewire(first, [*joined.outputs, *first.inputs[count:]])
    if len(node.inputs) > count:
        edit.rewire(node, [*joined.outputs, *node.inputs[count:]])
    else:
        edit.merge(node, joined.outputs[0])


def key(edit: Editor, node: Node, inputs: Sequence[Value] | None = None) -> Hashable | None:
    """Equal for nodes that do the same; None for those that are no function of their inputs and weights.

    inputs: those that it is to be taken for; its own where there are none.
    """
    op = edit.entry(node)
    if (op is None and node.op not in ("call", "weight")) or acts(node, edit.training):
        return None
    if node.op == "weight":
        state: str | None = edit.graph.aliases.get(node.path or "", node.path or "")
    elif node.callee is not None:
        state = None if _stateless(node.callee) and not node.modules else node.path
    else:
        assert op is not None
        state = node.path if any(w.persistent for w in op.weights(node.attrs)) else None
    # `1`, `1.0` and `True` are equal keys, and not equal attributes.
    attrs = tuple(sorted((name, attr_str(value)) for name, value in node.attrs.items()))
    sizes = tuple(sorted((name, str(size)) for name, size in node.sizes.items()))
    given = tuple(id(v) for v in inputs or node.inputs)
    return (
        node.op, given, attrs, state, node.phase, id(node.callee), sizes, node.count,
        tuple(sorted(node.modules.items())), node.inverted, node.log_det,
    )  # fmt: skip


def _stateless(graph: Graph) -> bool:
    """Whether all instances of the graph compute the same."""
    if graph.weights or graph.borrowed:
        return False
    ops = (c for c in graph.children.values() if c.graph is None)
    inner = (c.graph for c in graph.children.values() if c.graph is not None)
    return not any(c.op == "extern" or any(w.persistent for w in c.weights) for c in ops) and all(
        map(_stateless, inner)
    )


def _without_gradient(edit: Editor, node: Node) -> bool:
    """Whether no gradient goes through the node, or it reads a weight as it is, to which all readers' gradients go."""
    if node.op == "weight":
        decl = edit.graph.weights.get(edit.graph.aliases.get(node.path or "", node.path or ""))
        return decl is not None and decl.constraint is None
    return (not node.inputs and node.op != "call") or not any(is_float(v.type.dtype) for v in node.outputs)
