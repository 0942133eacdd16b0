"""Decides what every graph becomes: an nn.Sequential expression, a class, or a plain function."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from archlang.codegen.checkpoints import Segments
from archlang.codegen.checks import promising
from archlang.codegen.convert import mentions_self, symbolic, walk
from archlang.codegen.reversal import Reversal
from archlang.ir.externs import is_class
from archlang.ir.graph import CONTRACTIONS, Graph, Node, Program, Value
from archlang.ir.paths import Paths
from archlang.ops import code
from archlang.ops.base import Op, registry

__all__ = ["Forms", "emission", "entry"]


def entry(node: Node) -> Op:
    """The registry's entry of an op node."""
    return registry()[node.op]


def emission(node: Node) -> code.Expr:
    """What an op node computes: the op, its inverse, or its log-determinant."""
    op = entry(node)
    made = op.log_det_call if node.log_det else op.inverse_call if node.inverted else op.call
    return made(node.attrs, len(node.inputs))


@dataclass
class Forms:
    """The forms of a program's graphs: `applied` ones are called as functions, `constructed` ones stand as modules."""

    program: Program
    pure: set[int] = field(default_factory=set)
    sequences: set[int] = field(default_factory=set)
    constructed: set[int] = field(default_factory=set)
    applied: set[int] = field(default_factory=set)
    rebuild: bool = True
    log_det: bool = False
    segments: Segments = field(default_factory=dict)
    recorded: Collection[int] = ()
    overlap: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        self.reversal = Reversal(self.program, self.rebuild, self.log_det, self.recorded, self.overlap, self.dtype)
        for graph in self.program.graphs:
            if self._is_pure(graph):
                self.pure.add(id(graph))
            if self._is_sequence(graph):
                self.sequences.add(id(graph))
        self._find_uses()

    # -- answers -----------------------------------------------------------------------------------------------------
    def sequence(self, graph: Graph) -> bool:
        return id(graph) in self.sequences

    def function(self, graph: Graph) -> bool:
        """Whether calls of the graph in a forward are calls of a plain function."""
        return id(graph) in self.pure and graph is not self.program.root

    def has_function(self, graph: Graph) -> bool:
        """Whether the file needs the graph as a function."""
        return self.function(graph) and id(graph) in self.applied

    def has_class(self, graph: Graph) -> bool:
        """Whether the file needs the graph as a class: what nn.Sequential expresses does not."""
        return graph is self.program.root or (id(graph) in self.constructed and not self.sequence(graph))

    def has_inverse(self, graph: Graph) -> bool:
        """Whether the graph's class has a method `inverse`."""
        return id(graph) in self.reversal.inverse

    def has_log_det(self, graph: Graph) -> bool:
        """Whether the graph's class has a method `with_log_det`."""
        return id(graph) in self.reversal.log_det

    def has_statements(self, graph: Graph) -> bool:
        """Whether the graph's class has a method `statements`."""
        return id(graph) in self.reversal.statements and self.has_class(graph)

    def has_log_statements(self, graph: Graph) -> bool:
        """Whether the graph's class has a method `log_det_statements`."""
        return id(graph) in self.reversal.log_statements and self.has_class(graph)

    # -- purity ------------------------------------------------------------------------------------------------------
    def _is_pure(self, graph: Graph) -> bool:
        """No weights, no modules, no dependence on the mode: all the way down."""
        methods = self.has_inverse(graph) or self.has_log_det(graph)
        if (
            methods
            or id(graph) in self.segments
            or graph.weights
            or graph.borrowed
            or any(o.training for o in graph.outputs)
        ):
            return False
        for child in graph.children.values():
            if child.weights or child.op == "extern" or (child.graph is not None and id(child.graph) not in self.pure):
                return False
        return all(self._pure_node(n) for n in graph.nodes)

    def _pure_node(self, node: Node) -> bool:
        if node.phase is not None or node.op in ("phase", "weight", "extern", *CONTRACTIONS):
            return False
        if node.op == "call":
            return node.callee is not None and id(node.callee) in self.pure
        return not entry(node).weights(node.attrs) and not mentions_self(emission(node))

    # -- sequences ---------------------------------------------------------------------------------------------------
    def _promises(self, graph: Graph) -> bool:
        """Whether its forward looks at sizes."""
        return graph is self.program.root and promising(graph)

    def _is_sequence(self, graph: Graph) -> bool:
        """Whether nn.Sequential says the same, with the same state-dict keys."""
        if (
            self.has_inverse(graph)
            or self.has_log_det(graph)
            or self._promises(graph)
            or id(graph) in self.segments
            or not graph.sequential
            or graph.weights
            or graph.borrowed
            or graph.aliases
            or not graph.nodes
        ):
            return False
        if [p.kind for p in graph.inputs] != ["tensor"] or [o.kind for o in graph.outputs] != ["tensor"]:
            return False
        if len(graph.inputs[0].values) != 1 or graph.outputs[0].training:
            return False
        value: Value = graph.inputs[0].values[0]
        place = 0
        paths = Paths(graph)
        used: set[int] = set()
        for node in graph.nodes:
            if node.inputs != (value,) or len(node.outputs) != 1 or not self._is_step(node):
                return False
            if node.path is not None:
                if node.path != str(place) and not self._keyless(node):
                    return False
                child = paths.owned(node.path)
                if child is not None and (id(child) in used or child.count != node.count):
                    return False
                used.add(id(child))
            place += node.count
            value = node.outputs[0]
        return graph.outputs[0].values == (value,) and all(id(c) in used for c in graph.children.values())

    def _keyless(self, node: Node) -> bool:
        if node.callee is not None:
            return id(node.callee) in self.pure
        return node.op != "extern" and not entry(node).weights(node.attrs)

    def _is_step(self, node: Node) -> bool:
        if node.phase is not None or node.modules or node.op in ("phase", "weight", *CONTRACTIONS):
            return False
        if node.inverted or node.log_det:
            return False
        if node.op == "call":
            assert node.callee is not None
            callee = node.callee
            ports = [(p.kind, len(p.values)) for p in callee.inputs]
            outputs = [(o.kind, o.training) for o in callee.outputs]
            return ports == [("tensor", 1)] and outputs == [("tensor", False)] and not callee.borrowed
        if node.op == "extern":
            return node.path is not None and is_class(node.attrs["target"])
        op = entry(node)
        module = op.module(node.attrs)
        if module is None or any(isinstance(p, code.Lit) and symbolic(p.value) for p in walk(module)):
            return False
        return not op.weights(node.attrs) or op.call(node.attrs, 1) == code.Call(code.Self(), (code.In(0),))

    # -- uses --------------------------------------------------------------------------------------------------------
    def _find_uses(self) -> None:
        """From callers to callees: which graphs stand as modules, and which are called as functions."""
        self.constructed.add(id(self.program.root))
        for graph in reversed(self.program.graphs):
            constructed = id(graph) in self.constructed
            as_steps = constructed and self.sequence(graph)
            as_body = id(graph) in self.applied or (constructed and not self.sequence(graph))
            paths = Paths(graph)
            for node in graph.nodes:
                if node.callee is None:
                    continue
                if as_steps or (as_body and id(node.callee) not in self.pure):
                    self.constructed.add(id(node.callee))
                if as_body and id(node.callee) in self.pure:
                    self.applied.add(id(node.callee))
                for path in node.modules.values():
                    child = paths.child(path)
                    if child is not None and child.graph is not None:
                        self.constructed.add(id(child.graph))
