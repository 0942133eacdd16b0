"""Dead code: what nothing reads, and modules and weights that nothing uses any more."""

from __future__ import annotations

from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, acts
from archlang.optimize.weights import DROP


@rewrites("dead-code", equivalence="exact", level=1)
def dead_code(edit: Editor) -> None:
    """Takes away what nothing reads: nodes, then modules and weights."""
    for node in reversed(list(edit.nodes())):
        read = any(edit.readers(v) or edit.is_result(v) for v in node.outputs)
        if not read and not (edit.training and acts(node, True)):
            edit.did(node, f"nothing reads the result of `{node.op}`")
            edit.remove(node)
    _unused(edit)


def _unused(edit: Editor) -> None:
    """Modules and weights under paths that no node names, unless something else knows them by another name."""
    graph = edit.graph
    for path in [p for p, c in graph.children.items() if all(edit.unused(q) for q in c.paths)]:
        child = graph.children[path]
        if child.weights or child.graph is not None:
            edit.change(DROP, (), (), list(child.paths))
        edit.drop_module(path)
    for path in [p for p in graph.weights if edit.unused(p)]:
        edit.change(DROP, (), (), [path])
        del graph.weights[path]
