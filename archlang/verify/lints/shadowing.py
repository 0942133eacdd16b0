"""ARC0428: a label that is also a name of the block, for something else.

A label names the module in the state dict and binds nothing: whoever reads the name later gets the other thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archlang.elaborate import LoadedModule
from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic, Span
from archlang.syntax import tree
from archlang.syntax.walk import walk
from archlang.verify.lints.names import bindings, bound_by, loop_variables, reads

__all__ = ["check"]


def check(module: LoadedModule) -> Iterator[Diagnostic]:
    for block in module.blocks.values():
        nodes = list(walk((block.body, block.alias or ())))
        labelled = [node for node in nodes if isinstance(node, tree.Labelled)]
        if not labelled:
            continue
        names = {p.name: p.name_span for p in (*block.params, *(block.inputs or ()))}
        for bound in (*bindings(nodes), *(bound for bound, _ in loop_variables(nodes))):
            names.setdefault(bound.name, bound.span)
        own = _under_own_name(nodes)
        for node in labelled:
            if id(node) not in own:
                label = _plain(node)
                if label in names and label not in reads(node.value):
                    yield _finding(label, node, names[label])


def _plain(node: tree.Labelled) -> str:
    parts = node.label.parts if node.label is not None else ()
    return parts[0] if len(parts) == 1 and isinstance(parts[0], str) else ""


def _under_own_name(nodes: Sequence[tree.Node]) -> set[int]:
    """Labelled modules in what is bound to the very name of the label: `head = x -> head: linear(10)`."""
    found: set[int] = set()
    for node in nodes:
        if isinstance(node, (tree.Assign, tree.Let)):
            names = {bound.name for bound in bound_by(node.target, "")}
            inside = (n for n in walk(node.value) if isinstance(n, tree.Labelled))
            found.update(id(n) for n in inside if _plain(n) in names)
    return found


def _finding(label: str, node: tree.Labelled, bound: Span) -> Diagnostic:
    return warning(
        "ARC0428",
        f"the label `{label}` is also the name of something else in this block",
        node.label_span,
        "labels a module",
        related=[(bound, f"`{label}` is this")],
        help="a label binds no name: call one of them something else",
    )
