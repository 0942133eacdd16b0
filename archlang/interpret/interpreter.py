"""Executes a program node by node. Weights come from a flat mapping under their state-dict keys."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archlang.interpret.bind import InterpretError, Plan, solve
from archlang.interpret.extern import Externs
from archlang.interpret.residual import estimated_log_det, exact_log_det, solve_residual
from archlang.ir.graph import CONTRACTIONS, NONZERO_EPS, Graph, Node, Port, Program, TensorType, WeightDecl
from archlang.ir.paths import Paths, join
from archlang.ir.walk import result_fields
from archlang.ops.base import registry
from archlang.reversible import invert, runs

__all__ = ["InterpretError", "Interpreter"]

State = Mapping[str, Any]


@dataclass(slots=True)
class _Frame:
    """An activation: the plan of its graph, where the instance stands, and what its caller lends it (full paths)."""

    plan: Plan
    prefix: str
    lent: Mapping[str, str]
    values: dict[int, Any]

    @property
    def graph(self) -> Graph:
        return self.plan.graph


class Interpreter:
    """Runs a program on torch tensors.

    verify: every tensor that a node makes is compared with its declared type.
    """

    def __init__(self, program: Program, *, verify: bool = True) -> None:
        self.program = program
        self.verify = verify
        self.externs = Externs()
        self._paths = {id(graph): Paths(graph) for graph in program.graphs}
        self._kept: list[Graph] = []  # inverse graphs, so that their ids stay taken
        self._plans: dict[tuple[int, tuple[tuple[str, int], ...]], Plan] = {}

    def run(self, inputs: Sequence[Any], state: State, training: bool = False) -> Any:
        """What the root returns for its inputs, one per port (a list for `tensors`, None for an absent one).

        state: tensors by key (aliases are not read); buffers are updated in place. Returns a tensor, a list for
        `tensors`, a tuple, or a named tuple; items marked `training` are there in training only.
        """
        root = self.program.root
        values = _flatten(root.inputs, inputs)
        types = [v.type for v in root.entries]
        env = solve(types, [tuple(v.shape) for v in values])
        results = _Run(self, state, training).graph(root, env, "", {}, values)
        return _returned(root, results, training)

    def inverse(self, outputs: Sequence[Any], state: State, training: bool = False, *, sizes: Mapping[str, int]) -> Any:
        """The root's streams from its results and context, by the derived inverse; `sizes` are those of its symbols.

        Buffers are read and not written. Returns a tensor, a list for `tensors`, or a tuple.
        """
        back = invert(self.program.root)
        run = _Run(self, state, training)
        run.undoing = 1
        results = run.graph(back, sizes, "", {}, _flatten(back.inputs, outputs))
        return _returned(back, results, training)

    def plan(self, graph: Graph, env: Mapping[str, int]) -> Plan:
        """The graph at these sizes."""
        key = (id(graph), tuple(sorted(env.items())))
        if key not in self._plans:
            self._plans[key] = Plan(graph, env)
        return self._plans[key]

    def paths(self, graph: Graph) -> Paths:
        """Look-up of the graph's paths."""
        if id(graph) not in self._paths:  # an inverse
            self._paths[id(graph)] = Paths(graph)
            self._kept.append(graph)
        return self._paths[id(graph)]


class _Run:
    """One forward computation."""

    def __init__(self, owner: Interpreter, state: State, training: bool) -> None:
        self.owner = owner
        self.state = state
        self.training = training
        self.undoing = 0  # how many inverted nodes are around: a branch that runs again writes no buffer

    def graph(
        self, graph: Graph, env: Mapping[str, int], prefix: str, lent: Mapping[str, str], inputs: Sequence[Any]
    ) -> list[Any]:
        """Values of the graph's outputs, in order; None for those that the mode does not have."""
        frame = _Frame(self.owner.plan(graph, env), prefix, lent, {})
        for value, tensor in zip(graph.entries, inputs, strict=True):
            self.define(frame, value, tensor, None)
        for i, node in enumerate(graph.nodes):
            if node.phase is None or node.phase == ("train" if self.training else "eval"):
                for value, tensor in zip(node.outputs, self.node(frame, i, node), strict=True):
                    if tensor is not None:
                        self.define(frame, value, tensor, node)
        absent = not self.training
        return [None if absent and o.training else frame.values[id(v)] for o in graph.outputs for v in o.values]

    def define(self, frame: _Frame, value: Any, tensor: Any, node: Node | None) -> None:
        frame.values[id(value)] = tensor
        if not self.owner.verify:
            return
        shape, kind = frame.plan.shapes[id(value)], value.type
        if tuple(tensor.shape) != shape or not _has_dtype(tensor, kind):
            what = f"`{node.op}`" + (f" at `{join(frame.prefix, node.path)}`" if node.path else "") if node else "input"
            real = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
            raise InterpretError(f"{what} in `{frame.graph.name}`: {real} where {kind} = {list(shape)} is declared")

    def node(self, frame: _Frame, index: int, node: Node) -> Sequence[Any]:
        if node.op == "phase":
            return (frame.values[id(node.inputs[0 if self.training else 1])],)
        ins = [frame.values[id(v)] for v in node.inputs]
        if node.op == "weight":
            path = self.owner.paths(frame.graph).canonical(node.path or "")
            return (self.read(join(frame.prefix, path), frame.graph.weights[path]),)
        if node.op == "call":
            return self.call(frame, index, node, ins)
        if node.op in CONTRACTIONS:
            return (self.contraction(frame, index, node, ins),)
        paths: list[str | None] = [self.full(frame, path) for path in node.paths]
        if node.inverted:
            paths.reverse()
        for at in paths or [None]:
            outs = self.op(frame, node, frame.plan.attrs[index], at, ins)
            ins = list(outs)
        return ins

    def call(self, frame: _Frame, index: int, node: Node, ins: list[Any]) -> list[Any]:
        """Runs the callee's instances one after the other; context goes to each."""
        callee, env = runs(node), frame.plan.sizes[index]
        assert callee is not None
        self.undoing += node.inverted
        try:
            return self.calls(frame, node, callee, env, ins)
        finally:
            self.undoing -= node.inverted

    def contraction(self, frame: _Frame, index: int, node: Node, ins: Sequence[Any]) -> Any:
        """The inverse of `s + f(s)` at a result, or its log-determinant at s; f is the node's callee."""
        graph, (x, *reads) = node.callee, ins
        assert graph is not None

        def branch(s: Any) -> Any:
            return sum(self.graph(graph, frame.plan.sizes[index], frame.prefix, frame.lent, [s, *reads]))

        if node.op == "fixed_point":
            return solve_residual(branch, x, node.attrs["constant"], node.attrs["tolerance"])
        return estimated_log_det(branch, x) if self.training else exact_log_det(branch, x)

    def calls(self, frame: _Frame, node: Node, callee: Graph, env: Mapping[str, int], ins: list[Any]) -> list[Any]:
        lent = {slot: self.full(frame, path) for slot, path in node.modules.items()}
        context = [port.context for port in callee.inputs for _ in port.values]
        outs: list[Any] = []
        for i, path in enumerate(reversed(list(node.paths)) if node.inverted else node.paths):
            if i:
                streams = iter(outs)
                ins = [value if fixed else next(streams) for value, fixed in zip(ins, context, strict=True)]
            outs = self.graph(callee, env, self.full(frame, path), lent, ins)
        return outs

    def op(
        self, frame: _Frame, node: Node, attrs: Mapping[str, Any], path: str | None, ins: list[Any]
    ) -> Sequence[Any]:
        if node.op == "extern":
            call = self.owner.externs.undo if node.inverted else self.owner.externs.run
            out = call(path or "", attrs, ins, self.state, self.training)
        else:
            if node.op not in registry():
                raise InterpretError(f"unknown op `{node.op}`")
            child = self.owner.paths(frame.graph).child(node.path) if node.path is not None else None
            decls = child.weights if child is not None and path is not None else ()
            weights = {decl.name: self.read(join(path or "", decl.name), decl) for decl in decls}
            if self.undoing:
                weights = {d.name: weights[d.name].clone() if d.kind == "buffer" else weights[d.name] for d in decls}
            op = registry()[node.op]
            fault = op.fault(weights, attrs) if node.inverted else None
            if fault is not None:
                raise InterpretError(f"`{path or node.op}` cannot be undone: {fault}")
            run = op.log_det_run if node.log_det else op.inverse_run if node.inverted else op.run
            out = run(ins, weights, attrs, self.training)
        return tuple(out) if isinstance(out, (tuple, list)) else (out,)

    def full(self, frame: _Frame, path: str) -> str:
        """The path from the root of what a graph knows as `path`: its own child, or one that is lent to it."""
        paths = self.owner.paths(frame.graph)
        lent = None if paths.owned(path) is not None else paths.lend(path, frame.lent)
        return lent if lent is not None else join(frame.prefix, paths.canonical(path))

    def read(self, key: str, decl: WeightDecl) -> Any:
        """The weight as its readers see it: a constraint is a parametrisation, applied at every read."""
        if key not in self.state:
            raise InterpretError(f"there is no weight `{key}`")
        tensor = self.state[key]
        if decl.constraint == "nonzero":
            import torch

            sign = torch.where(tensor < 0, -1.0, 1.0).to(tensor.dtype)
            return sign * tensor.abs().clamp(min=NONZERO_EPS)
        if decl.constraint is not None:
            raise InterpretError(f"unknown constraint `{decl.constraint}` of `{key}`")
        return tensor


# -- inputs and results ------------------------------------------------------------------------------------------------
def _flatten(ports: Sequence[Port], inputs: Sequence[Any]) -> list[Any]:
    if len(inputs) != len(ports):
        raise InterpretError(f"the root takes {len(ports)} inputs, {len(inputs)} are given")
    values: list[Any] = []
    for port, given in zip(ports, inputs, strict=True):
        items = [] if given is None else list(given) if port.kind == "tensors" else [given]
        if len(items) != len(port.values):
            raise InterpretError(f"the input `{port.name}` holds {len(port.values)} tensors, {len(items)} are given")
        values.extend(items)
    return values


def _returned(graph: Graph, results: Sequence[Any], training: bool) -> Any:
    flat = iter(results)
    items = []
    for output in graph.outputs:
        values = [next(flat) for _ in output.values]
        if training or not output.training:
            items.append(values if output.kind == "tensors" else values[0])
    fields = result_fields(graph.outputs, training)
    if fields is not None:
        return namedtuple("Outputs", fields)(*items)
    return items[0] if len(items) == 1 else tuple(items)


def _has_dtype(tensor: Any, kind: TensorType) -> bool:
    if kind.dtype == "float":
        return bool(tensor.is_floating_point())
    return str(tensor.dtype) == f"torch.{kind.dtype}"
