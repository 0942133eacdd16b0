"""Common sub-expressions: what is computed twice from the same values, by the same module, is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from archlang.ir.graph import Graph, Node, Value
from archlang.ir.text import attr_str
from archlang.ops.rules import is_float
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, acts


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
