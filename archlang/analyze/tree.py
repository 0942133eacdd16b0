"""Figures block by block: a tree along the network's own names, equal children in one line."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from archlang.analyze.trace import Row, Trace, Work
from archlang.ir.graph import Child, Graph, Node, Program
from archlang.ir.paths import Paths
from archlang.ir.walk import scalars
from archlang.records import dataclass, field
from archlang.shapes.dim import Size

__all__ = ["Block", "tree"]


@dataclass(slots=True)
class Block:
    """Figures of `count` equal parts together; its children are those of one of them.

    name: the path below the parent, with an interval for several (`1..5`); kind: the block's or op's name.
    """

    name: str
    kind: str
    count: int = 1
    parameters: int = 0
    macs: Size = 0
    flops: Size = 0
    saved: Size = 0
    children: list[Block] = field(default_factory=list)

    def add(self, other: Block) -> None:
        """Puts another line's figures into this one."""
        self.count += other.count
        self.parameters += other.parameters
        self.macs = self.macs + other.macs
        self.flops = self.flops + other.flops
        self.saved = self.saved + other.saved


def tree(program: Program, training: Trace, evaluation: Trace) -> Block:
    """The tree of a program, from its traces in both modes: operations as in evaluation, saved bytes in training."""
    maker = _Maker(program)
    root = Block("", program.root.block, 1, maker.parameters[id(program.root)])
    _set(root, training.work, evaluation.work)
    root.children = maker.children(program.root, training, evaluation)
    return root


def _set(block: Block, training: Work, evaluation: Work) -> None:
    block.macs, block.flops, block.saved = evaluation.macs, evaluation.flops, training.saved


class _Maker:
    def __init__(self, program: Program) -> None:
        self.parameters: dict[int, int] = {}
        for graph in program.graphs:
            own = sum(prod(d.shape) for d in graph.weights.values() if d.kind == "parameter")
            self.parameters[id(graph)] = own + sum(self.of(c) * c.count for c in graph.children.values())
        self._done: dict[tuple[int, int, int], list[Block]] = {}

    def of(self, child: Child) -> int:
        """Parameters of one instance."""
        if child.graph is not None:
            return self.parameters[id(child.graph)]
        return scalars(child).parameters

    def children(self, graph: Graph, training: Trace | None, evaluation: Trace | None) -> list[Block]:
        key = (id(graph), id(training), id(evaluation))
        if key not in self._done:
            self._done[key] = list(self._lines(graph, training, evaluation))
        return self._done[key]

    def _lines(self, graph: Graph, training: Trace | None, evaluation: Trace | None) -> Iterator[Block]:
        """Named parts in order; what has no name, by kind."""
        owned = {path: self.of(c) for c in graph.children.values() for path in c.paths}
        owned |= {p: prod(d.shape) for p, d in graph.weights.items() if d.kind == "parameter"}
        paths = Paths(graph)
        nameless: dict[str, Block] = {}
        for i, node in enumerate(graph.nodes):
            rows = [t.rows[i] if t is not None else None for t in (training, evaluation)]
            used = [paths.canonical(path) for path in node.paths]
            block = self._line(node, *rows)
            mine = [*used, *(paths.canonical(p) for p in node.modules.values())]
            block.parameters = sum(owned.pop(path, 0) for path in mine)
            if node.path is not None:
                yield block
            elif node.op not in nameless:
                nameless[node.op] = block
            else:
                nameless[node.op].add(block)
        yield from (b for b in nameless.values() if b.flops != 0 or b.saved != 0)
        yield from (Block(path, "unused", 1, count) for path, count in owned.items() if count)

    def _line(self, node: Node, training: Row | None, evaluation: Row | None) -> Block:
        kind = node.op if node.callee is None else node.callee.block
        used = list(node.paths)
        name = "" if not used else used[0] + (f"..{used[-1].rpartition('.')[2]}" if len(used) > 1 else "")
        block = Block(name, kind, node.count)
        _set(block, training.work if training else Work(), evaluation.work if evaluation else Work())
        if node.callee is not None:
            traces = [row.trace if row is not None else None for row in (training, evaluation)]
            block.children = self.children(node.callee, *traces)
        return block
