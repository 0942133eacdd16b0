"""Longest paths and their kin: what lies between the inputs of a graph and its outputs, in any algebra of paths.

A path is composed of steps (`after`) and paths side by side are joined (`join`). A graph is summarised once by a
table from its inputs to its outputs; a run of n equal children is a power of its table, found in log n products.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from archlang.analyze.plan import Env, Plan, Plans, present
from archlang.ir.graph import CONTRACTIONS, Attrs, Graph, Node, TensorType
from archlang.ops.base import Context, Op, registry
from archlang.reversible import runs

__all__ = ["Algebra", "Transfer"]

P = TypeVar("P")
Table = tuple[dict[int, P], ...]  # for each output: input -> path; SOURCE is whatever is made inside
SOURCE = -1


class Algebra(ABC, Generic[P]):
    """How paths are put together."""

    @property
    @abstractmethod
    def empty(self) -> P:
        """The path of no step."""

    @abstractmethod
    def step(self, op: Op, ins: Sequence[TensorType], outs: Sequence[TensorType], attrs: Attrs) -> P:
        """The path through one op."""

    @abstractmethod
    def after(self, outer: P, inner: P) -> P:
        """`inner`, then `outer`."""

    @abstractmethod
    def join(self, a: P, b: P) -> P:
        """Either."""


class _Elsewhere(Op):
    """Stands for what sees its whole input and has no layers: a log-determinant."""

    name = "log_det"

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Context) -> tuple[TensorType, ...]:
        raise NotImplementedError

    def run(self, ins: Sequence[Any], weights: Any, attrs: Attrs, training: bool) -> Any:
        raise NotImplementedError


_ELSEWHERE = _Elsewhere()


class Transfer(Generic[P]):
    """Tables of a program's graphs, in evaluation."""

    def __init__(self, plans: Plans, algebra: Algebra[P]) -> None:
        self.plans = plans
        self.algebra = algebra
        self._memo: dict[Any, Table[P]] = {}

    def total(self, graph: Graph, env: Env) -> P | None:
        """All paths to all outputs, joined; None where nothing comes out."""
        paths = [path for row in self.table(graph, env) for path in row.values()]
        return self._joined(paths) if paths else None

    def trail(self, graph: Graph, env: Env, measure: Callable[[P], int]) -> list[tuple[Node, int]]:
        """The nodes on the path to the output that measures most, and by how much the measure grows in each."""
        plan = self.plans.plan(graph, env)
        best: dict[int, P] = {id(v): self.algebra.empty for v in graph.entries}
        trails: dict[int, list[tuple[Node, int]]] = {key: [] for key in best}
        for index, node in enumerate(graph.nodes):
            if node.phase == "train":
                continue
            if node.op == "phase":
                best[id(node.outputs[0])] = best[id(node.inputs[1])]
                trails[id(node.outputs[0])] = trails[id(node.inputs[1])]
                continue
            for value, row in zip(present(node, False), self._node(plan, index, node), strict=True):
                ways = []
                for i, path in row.items():
                    before = self.algebra.empty if i == SOURCE else best[id(node.inputs[i])]
                    trail = [] if i == SOURCE else trails[id(node.inputs[i])]
                    ways.append((self.algebra.after(path, before), measure(before), trail))
                best[id(value)] = self._joined([way[0] for way in ways])
                _, was, trail = max(ways, key=lambda way: measure(way[0]))
                trails[id(value)] = [*trail, (node, measure(best[id(value)]) - was)]
        outputs = [id(v) for out in graph.outputs for v in out.values if not out.training]
        return trails[max(outputs, key=lambda key: measure(best[key]))] if outputs else []

    def table(self, graph: Graph, env: Env) -> Table[P]:
        """For each result of a graph, by input: all paths between the two, joined."""
        plan = self.plans.plan(graph, env)
        if plan.key not in self._memo:
            self._memo[plan.key] = self._made(plan)
        return self._memo[plan.key]

    def _made(self, plan: Plan) -> Table[P]:
        rows: dict[int, dict[int, P]] = {}
        rows.update((id(v), {i: self.algebra.empty}) for i, v in enumerate(plan.graph.entries))
        for index, node in enumerate(plan.graph.nodes):
            if node.phase == "train":
                continue
            if node.op == "phase":
                rows[id(node.outputs[0])] = rows[id(node.inputs[1])]
                continue
            ins = tuple(rows[id(v)] for v in node.inputs)
            table = self._node(plan, index, node)
            for value, row in zip(present(node, False), table, strict=True):
                rows[id(value)] = self._through(row, ins)
        return tuple(rows[id(v)] for o in plan.graph.outputs for v in o.values if not o.training)

    def _node(self, plan: Plan, index: int, node: Node) -> Table[P]:
        graph = runs(node)
        if graph is not None and node.op == "call":
            context = [port.context for port in graph.inputs for _ in port.values]
            return self._power(self.table(graph, plan.sizes[index]), node.count, context)
        if node.op in ("weight", "extern", *CONTRACTIONS):
            inputs = range(len(node.inputs)) if node.inputs else (SOURCE,)
            return tuple(dict.fromkeys(inputs, self.algebra.empty) for _ in node.outputs)
        op: Op = _ELSEWHERE if node.log_det else registry()[node.op]
        ins, outs = (plan.outs(node), plan.ins(node)) if node.inverted else (plan.ins(node), plan.outs(node))
        path = self.algebra.step(op, ins, outs, plan.attrs[index])
        inputs = range(len(node.inputs)) if node.inputs else (SOURCE,)
        table: Table[P] = tuple(dict.fromkeys(inputs, path) for _ in node.outputs)
        return self._power(table, node.count, [False] * len(node.inputs))

    def _through(self, row: dict[int, P], ins: Sequence[dict[int, P]]) -> dict[int, P]:
        """A row of a callee, in terms of the caller's inputs."""
        found: dict[int, list[P]] = {}
        for i, path in row.items():
            for j, inner in ({SOURCE: self.algebra.empty} if i == SOURCE else ins[i]).items():
                found.setdefault(j, []).append(self.algebra.after(path, inner))
        return {j: self._joined(paths) for j, paths in found.items()}

    def _power(self, table: Table[P], count: int, context: Sequence[bool]) -> Table[P]:
        """The table of `count` children one after the other."""
        result: Table[P] | None = None
        while count:
            if count % 2:
                result = table if result is None else self._then(result, table, context)
            count //= 2
            if count:
                table = self._then(table, table, context)
        assert result is not None
        return result

    def _then(self, first: Table[P], second: Table[P], context: Sequence[bool]) -> Table[P]:
        streams = iter(first)
        ins = [{i: self.algebra.empty} if fixed else next(streams) for i, fixed in enumerate(context)]
        return tuple(self._through(row, ins) for row in second)

    def _joined(self, paths: Sequence[P]) -> P:
        result = paths[0]
        for path in paths[1:]:
            result = self.algebra.join(result, path)
        return result
