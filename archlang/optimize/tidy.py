"""After the passes: paths without gaps where a graph is a plain sequence."""

from __future__ import annotations

from archlang.ir.graph import Graph
from archlang.optimize.edit import Editor

__all__ = ["is_sequence", "tidy"]


def tidy(edit: Editor) -> None:
    """Numbers the children of a sequence from 0 again, and says of other graphs that they are none."""
    graph = edit.graph
    if not graph.sequential:
        return
    graph.sequential = bool(graph.nodes) and _in_line(graph) and (not edit.pins or is_sequence(graph))
    if not graph.sequential:
        return
    place = 0
    moves: list[tuple[str, int]] = []
    for node in graph.nodes:
        if node.path is not None and node.path != str(place):
            moves.append((node.path, place))
        place += node.count
    later = [move for move in moves if move[1] > int(move[0])]
    for old, new in [*reversed(later), *(move for move in moves if move not in later)]:  # to places that are free
        edit.rename(old, str(new))


def is_sequence(graph: Graph) -> bool:
    """Whether a graph is a plain sequence whose children are numbered by their places."""
    if not graph.nodes or len(graph.inputs) != 1 or len(graph.inputs[0].values) != 1 or len(graph.outputs) != 1:
        return False
    place = 0
    for node in graph.nodes:
        if node.path is not None and node.path != str(place):
            return False
        place += node.count
    return not graph.weights and not graph.borrowed and not graph.aliases and _in_line(graph)


def _in_line(graph: Graph) -> bool:
    """Whether each node, with a child of its own, reads what the one before it gave."""
    value = graph.inputs[0].values[0]
    used: set[str] = set()
    for node in graph.nodes:
        if node.inputs != (value,) or len(node.outputs) != 1:
            return False
        if node.path is not None:
            child = graph.children.get(node.path)
            if child is None or child.count != node.count or node.path in used or not node.path.isdecimal():
                return False
            used.add(node.path)
        value = node.outputs[0]
    return graph.outputs[0].values == (value,) and used == graph.children.keys()
