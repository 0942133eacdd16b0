"""Dead code: what nothing reads, and modules and weights that nothing uses any more."""

from __future__ import annotations

from archlang.ir.graph import Graph, Node
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor
from archlang.optimize.weights import DROP


@rewrites("dead-code", equivalence="exact", level=1)
def dead_code(edit: Editor) -> None:
    """Takes away what nothing reads: nodes, then modules and weights."""
    for node in reversed(list(edit.nodes())):
        read = any(edit.readers(v) or edit.is_result(v) for v in node.outputs)
        if not read and not (edit.training and _acts(node, {})):
            edit.did(node, f"nothing reads the result of `{node.op}`")
            edit.remove(node)
    _unused(edit)


def _acts(node: Node, memo: dict[int, bool]) -> bool:
    """Whether, in training, running the node does more than give a result: it draws, or writes to buffers."""
    if node.callee is not None:
        return _any_acts(node.callee, memo)
    op = Editor.entry(node)
    return op is None or "random" in op.effects(node.attrs) or bool(op.written(node.attrs))


def _any_acts(graph: Graph, memo: dict[int, bool]) -> bool:
    if id(graph) not in memo:
        memo[id(graph)] = any(_acts(n, memo) for n in graph.nodes if n.op not in ("phase", "weight"))
    return memo[id(graph)]


def _unused(edit: Editor) -> None:
    """Modules and weights under paths that no node names, unless something else knows them by another name."""
    graph = edit.graph
    for path in [p for p, c in graph.children.items() if c.count == 1 and edit.unused(p)]:
        if graph.children[path].weights or graph.children[path].graph is not None:
            edit.change(DROP, (), (), [path])
        edit.drop_module(path)
    for path in [p for p in graph.weights if edit.unused(p)]:
        edit.change(DROP, (), (), [path])
        del graph.weights[path]
