"""Well-formedness of a program, checked before anything is emitted; what is found here is a bug of the compiler.

Mistakes in a spec are found earlier, by the elaborator, with spans and help; here every rule that the readers of the
IR (generator, interpreter, analyses) rely on is checked once more, from the graph alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from archlang.ir.graph import (
    Attr,
    Attrs,
    Child,
    Graph,
    Init,
    Node,
    Output,
    Program,
    Proof,
    TensorType,
    Value,
    WeightDecl,
)
from archlang.ir.paths import Paths, shift, split_index
from archlang.ir.sizes import Equalities
from archlang.ir.walk import parameters
from archlang.shapes.dim import Dim, symbols

__all__ = ["SPECIAL", "IRError", "OpRules", "attr_symbols", "check"]

SPECIAL = ("call", "weight", "phase", "extern")  # what a node may be besides an op of the registry
_NEVER = "never"  # the phase of a value that exists in no mode


class OpRules(Protocol):
    """What the check asks of an op entry (`archlang.ops.base.Op` has it)."""

    def infer(self, ins: Sequence[TensorType], attrs: Attrs, cx: Any) -> tuple[TensorType, ...]: ...

    def weights(self, attrs: Attrs) -> tuple[WeightDecl, ...]: ...


class IRError(Exception):
    """The program is not well-formed: an internal error of whatever made it. Names the graph and the node."""

    def __init__(self, message: str, graph: Graph | None = None, node: Node | None = None) -> None:
        self.message = message
        self.graph = graph
        self.node = node
        where = f" in graph `{graph.name}`" if graph is not None else ""
        if node is not None:
            where += f", node `{node.op}`" + (f" at `{node.path}`" if node.path else "")
            where += f" ({node.span})" if node.span is not None else ""
        super().__init__(f"malformed program{where}: {message}")


def check(program: Program, ops: Mapping[str, OpRules], context: Callable[[], Any]) -> None:
    """Raises IRError for the first rule that the program breaks.

    ops: the registry; context: makes the `cx` that `OpRules.infer` takes (`archlang.ops.base.Context`).
    """
    seen: dict[str, Graph] = {}
    for graph in program.graphs:
        if graph.name in seen:
            raise IRError(f"two graphs are called `{graph.name}`", graph)
        for callee in _callees(graph):
            if seen.get(callee.name) is not callee:
                raise IRError(f"`{callee.name}` is used before it is listed", graph)
        seen[graph.name] = graph
        _GraphCheck(graph, ops, context).run()
    if seen.get(program.root.name) is not program.root:
        raise IRError("the root is not listed", program.root)
    _check_root(program.root)


def _callees(graph: Graph) -> Iterator[Graph]:
    yield from (n.callee for n in graph.nodes if n.callee is not None)
    for children in (graph.children, graph.borrowed):
        yield from (c.graph for c in children.values() if c.graph is not None)


def _check_root(root: Graph) -> None:
    if root.borrowed:
        raise IRError(f"nobody lends the root its module `{next(iter(root.borrowed))}`", root)
    known = {s for v in root.entries for size in v.type.shape for s in symbols(size)}
    for name in root.symbols:
        if name not in known:
            raise IRError(f"no input's type tells the size `{name}`", root)


class _GraphCheck:
    """The rules of one graph."""

    def __init__(self, graph: Graph, ops: Mapping[str, OpRules], context: Callable[[], Any]) -> None:
        self.graph = graph
        self.ops = ops
        self.context = context
        self.paths = Paths(graph)
        self.phase: dict[int, str | None] = {}  # id of a defined value -> the mode in which it exists
        self.same_state: dict[tuple[int, int], bool] = {}
        self.sizes = Equalities((c.left, c.right) for c in graph.constraints if c.relation == "==" and c.phase is None)

    def fail(self, message: str, node: Node | None = None) -> NoReturn:
        raise IRError(message, self.graph, node)

    def run(self) -> None:
        self.check_symbols()
        self.check_paths()
        for port in self.graph.inputs:
            if port.kind not in ("tensor", "tensors") or (port.kind == "tensor" and len(port.values) > 1):
                self.fail(f"port `{port.name}` of kind {port.kind} holds {len(port.values)} values")
            for value in port.values:
                self.define(value, None, None)
        for node in self.graph.nodes:
            self.check_node(node)
        for output in self.graph.outputs:
            self.check_output(output)
        if self.graph.proof is not None:
            self.check_proof(self.graph.proof)

    def check_proof(self, proof: Proof) -> None:
        """The steps lead from the streams to the results, and each stream is consumed once."""
        graph = self.graph
        nodes = {id(node) for node in graph.nodes}
        live = {id(v) for v in graph.streams}
        for step in proof.steps:
            node = step.node
            if node is not None and id(node) not in nodes:
                self.fail("a step of the proof refers to a node of another graph", node)
            if any(id(v) not in live for v in step.consumed) or len(set(map(id, step.consumed))) != len(step.consumed):
                self.fail("a step of the proof consumes what is no stream at that point", node)
            if any(id(v) not in self.phase or id(v) in live for v in step.made):
                self.fail("a step of the proof makes what is no new value of the graph", node)
            live -= {id(v) for v in step.consumed}
            live |= {id(v) for v in step.made}
        results = [id(v) for output in graph.outputs[: proof.outputs] for v in output.values]
        if len(set(results)) != len(results) or set(results) != live:
            self.fail("the proof does not end in the results")

    # -- values ----------------------------------------------------------------------------------------------------
    def define(self, value: Value, phase: str | None, node: Node | None) -> None:
        if id(value) in self.phase:
            self.fail("a value is defined twice", node)
        self.phase[id(value)] = phase

    def use(self, value: Value, phase: str | None, node: Node | None) -> None:
        """The value must exist wherever the phase runs."""
        if id(value) not in self.phase:
            self.fail(f"a value `{value.name}` of type {value.type} is used before it is defined, or elsewhere", node)
        exists = self.phase[id(value)]
        if exists is not None and exists != phase:
            when = {"train": "in training", "eval": "in evaluation", _NEVER: "never"}[exists]
            self.fail(f"a value `{value.name}` that exists {when} only is used outside of it", node)

    def check_output(self, output: Output) -> None:
        if output.kind not in ("tensor", "tensors") or (output.kind == "tensor" and len(output.values) != 1):
            self.fail(f"output `{output.name}` of kind {output.kind} holds {len(output.values)} values")
        for value in output.values:
            self.use(value, "train" if output.training else None, None)

    def check_symbols(self) -> None:
        graph = self.graph
        bound = set(graph.symbols)
        if len(bound) != len(graph.symbols):
            self.fail("a symbol is listed twice")
        here: list[tuple[Node | None, Iterable[str]]] = [(None, symbols(s)) for v in graph.values for s in v.type.shape]
        here += [(None, c.symbols) for c in graph.constraints]
        here += [(None, attr_symbols(c.attrs)) for c in graph.children.values()]
        here += [(n, attr_symbols(n.attrs)) for n in graph.nodes]
        here += [(n, symbols(s)) for n in graph.nodes for s in n.sizes.values()]
        for node, names in here:
            for name in sorted(names):
                if name not in bound:
                    self.fail(f"the size `{name}` is not a symbol of the graph", node)

    # -- paths -----------------------------------------------------------------------------------------------------
    def check_paths(self) -> None:
        graph = self.graph
        leaves = {**graph.weights, **graph.aliases}
        for path, child in (*graph.children.items(), *graph.borrowed.items()):
            self.check_child(path, child)
        for path in graph.borrowed:
            if path in leaves or self.paths.owned(path) is not None:
                self.fail(f"`{path}` is both borrowed and owned")
        for path in leaves:
            if path in graph.children or (path in graph.weights and path in graph.aliases):
                self.fail(f"`{path}` names two things")
        for path in (*leaves, *(c.path for c in graph.children.values() if c.count == 1)):
            if self.paths.counted(path):
                self.fail(f"`{path}` names two things")
        for path in (*leaves, *graph.children):
            for i, char in enumerate(path):
                if char == "." and (path[:i] in leaves or path[:i] in graph.children or self.paths.counted(path[:i])):
                    self.fail(f"`{path}` lies inside the namespace of `{path[:i]}`")
        for path in graph.aliases:
            if self.paths.canonical(path) in graph.aliases:
                self.fail(f"the alias `{path}` ends nowhere")

    def check_child(self, path: str, child: Child) -> None:
        if child.path != path or not path or "" in path.split("."):
            self.fail(f"the child `{child.path}` is listed under `{path}`")
        if (child.op is None) == (child.graph is None):
            self.fail(f"the child `{path}` is neither an op nor a graph, or both")
        if child.graph is not None and child.weights:
            self.fail(f"the child `{path}` is a graph with weights of its own")
        if child.count < 1 or (child.count > 1 and split_index(path) is None):
            self.fail(f"the child `{path}` cannot be counted {child.count} times")
        if child.count == 1:
            return
        for other in (shift(path, child.count - 1), shift(path, 1)):
            if self.paths.child(other) is not child:
                self.fail(f"`{other}` of the {child.count} children from `{path}` on is taken")

    # -- nodes -----------------------------------------------------------------------------------------------------
    def check_node(self, node: Node) -> None:
        if node.phase not in (None, "train", "eval"):
            self.fail(f"unknown phase {node.phase!r}", node)
        if (node.callee is not None) != (node.op == "call"):
            self.fail("`call` and only `call` has a callee", node)
        if node.op not in SPECIAL and node.op not in self.ops:
            self.fail(f"unknown op `{node.op}`", node)
        if node.op == "phase":
            self.check_phase(node)
        else:
            for value in node.inputs:
                self.use(value, node.phase, node)
            self.check_kind(node)
        training = _training_outputs(node)
        for value, only_training in zip(node.outputs, training, strict=True):
            phase = node.phase
            if only_training:
                phase = _NEVER if node.phase == "eval" else "train"
            self.define(value, phase, node)

    def check_kind(self, node: Node) -> None:
        if node.op == "call":
            self.check_call(node)
        elif node.op == "weight":
            self.check_weight(node)
        else:
            if node.path is not None:
                self.check_module(node)
            if node.op != "extern":
                self.check_types(node)

    def check_phase(self, node: Node) -> None:
        if len(node.inputs) != 2 or len(node.outputs) != 1:
            self.fail("`phase` takes what holds in training and what holds in evaluation", node)
        for value, phase in zip(node.inputs, ("train", "eval"), strict=True):
            self.use(value, phase, node)
            self.same_type(value.type, node.outputs[0].type, "an arm of `phase`", node)

    def check_weight(self, node: Node) -> None:
        path = self.paths.canonical(node.path or "")
        decl = self.graph.weights.get(path)
        if decl is None or node.inputs or len(node.outputs) != 1 or node.count != 1:
            self.fail(f"there is no weight `{path}`", node)
        self.same_type(TensorType(decl.shape, decl.dtype), node.outputs[0].type, "the weight", node)

    def check_module(self, node: Node) -> None:
        """The children under the node's path are this op, with the weights that its attributes ask for."""
        for child in self.run_of(node):
            if child.op != node.op:
                self.fail(f"`{child.path}` is not a `{node.op}`", node)
            if node.op == "extern":
                continue
            if [_tensor(d) for d in child.weights] != [_tensor(d) for d in self.weights(node)]:
                self.fail(f"`{child.path}` has other weights than the attributes ask for", node)

    def run_of(self, node: Node) -> Iterator[Child]:
        """The children that a node runs: each once, however many places it counts for."""
        assert node.path is not None
        if node.count < 1 or (node.count > 1 and split_index(node.path) is None):
            self.fail(f"a run of {node.count} cannot start at `{node.path}`", node)
        done = 0
        while done < node.count:
            path = shift(node.path, done)
            child = self.paths.child(path)
            if child is None:
                self.fail(f"there is no child `{path}`", node)
            yield child
            start, here = split_index(child.path), split_index(self.paths.canonical(path))
            done += child.count - (here[1] - start[1]) if child.count > 1 and start and here else 1

    def check_types(self, node: Node) -> None:
        """What the registry infers is what is recorded."""
        op = self.ops[node.op]
        if node.path is None and self.weights(node):
            self.fail("an op with weights has no path", node)
        if node.path is None and node.count != 1:
            self.fail("an op without a path is run several times", node)
        inputs, outputs = (node.outputs, node.inputs) if node.inverted else (node.inputs, node.outputs)
        try:
            types = op.infer([v.type for v in inputs], node.attrs, self.context())
        except Exception as error:
            raise IRError(f"its types cannot be inferred: {error!r}", self.graph, node) from error
        if node.log_det:
            types = (TensorType(inputs[0].type.shape[:1]),)
        if len(types) != len(outputs):
            self.fail(f"{len(outputs)} outputs are recorded, {len(types)} inferred", node)
        for inferred, value in zip(types, outputs, strict=True):
            self.same_type(inferred, value.type, "the inferred type", node)
        if node.count > 1:
            self.check_chain(types, [v.type for v in inputs], node)

    def weights(self, node: Node) -> tuple[WeightDecl, ...]:
        try:
            return self.ops[node.op].weights(node.attrs)
        except Exception as error:
            raise IRError(f"its weights cannot be told: {error!r}", self.graph, node) from error

    # -- calls -----------------------------------------------------------------------------------------------------
    def check_call(self, node: Node) -> None:
        callee = node.callee
        assert callee is not None
        if node.path is None:
            self.fail("a call has no path", node)
        for child in self.run_of(node):
            if not self.alike(child.graph, callee):
                self.fail(f"`{child.path}` is not an instance of `{callee.name}`", node)
        if set(node.sizes) != set(callee.symbols):
            self.fail(f"the sizes given are not the symbols of `{callee.name}`", node)
        self.check_lent(node, callee)
        ports = [v.type for v in callee.entries]
        results = [v.type for v in callee.results]
        if node.inverted:
            ports, results = self.backwards(node, callee)
        if node.log_det:
            if callee.proof is None or node.inverted:
                self.fail(f"`{callee.name}` has no proof, or runs backwards: it has no determinant", node)
            k, m = len(callee.streams), callee.carried
            total = TensorType(callee.streams[0].type.shape[:1])
            ports, results = [*ports[:k], total, *ports[k:]], [*results[:m], total, *results[m:]]
        for what, values, types in (("input", node.inputs, ports), ("output", node.outputs, results)):
            if len(values) != len(types):
                self.fail(f"`{callee.name}` has {len(types)} {what}s, the call {len(values)}", node)
            for value, kind in zip(values, types, strict=True):
                self.same_type(kind.at(node.sizes), value.type, f"an {what} of `{callee.name}`", node)
        if node.count > 1:
            if any(output.training for output in callee.outputs):
                self.fail("a block with training-only outputs is run several times", node)
            streams = ports[: len(node.inputs) - sum(len(p.values) for p in callee.inputs if p.context)]
            self.check_chain([t.at(node.sizes) for t in results], [t.at(node.sizes) for t in streams], node)

    def backwards(self, node: Node, callee: Graph) -> tuple[list[TensorType], list[TensorType]]:
        """What the inverse of a callee takes (its streams, then its context) and gives."""
        if callee.proof is None:
            self.fail(f"`{callee.name}` runs backwards and has no proof", node)
        streams = [v.type for output in callee.outputs[: callee.proof.outputs] for v in output.values]
        context = [v.type for port in callee.inputs if port.context for v in port.values]
        return streams + context, [v.type for v in callee.streams]

    def alike(self, a: Graph | None, b: Graph | None) -> bool:
        """Whether two graphs read the same state dict, so that one instance can run either.

        A shared instance that is applied to inputs of two types has a graph for each.
        """
        if a is b or a is None or b is None:
            return a is b
        if (id(a), id(b)) not in self.same_state:
            keys = [[(e.key, *_tensor(e.decl)[1:]) for e in parameters(Program(g, [g]))] for g in (a, b)]
            self.same_state[id(a), id(b)] = a.block == b.block and sorted(keys[0]) == sorted(keys[1])
        return self.same_state[id(a), id(b)]

    def check_chain(self, results: Sequence[TensorType], ports: Sequence[TensorType], node: Node) -> None:
        if len(results) != len(ports):
            self.fail(f"a run hands on {len(results)} values and takes {len(ports)}", node)
        for result, port in zip(results, ports, strict=True):
            self.same_type(result, port, "what a run hands on", node)

    def check_lent(self, node: Node, callee: Graph) -> None:
        if set(node.modules) != set(callee.borrowed):
            self.fail(f"the modules given are not those that `{callee.name}` borrows", node)
        for slot, path in node.modules.items():
            wanted = callee.borrowed[slot]
            for i in {0, wanted.count - 1}:
                child = self.paths.child(shift(path, i)) if i == 0 or split_index(path) else None
                if child is None:
                    self.fail(f"there is no module `{path}` to lend as `{slot}`", node)
                same = [_tensor(d) for d in child.weights] == [_tensor(d) for d in wanted.weights]
                if not self.alike(child.graph, wanted.graph) or child.op != wanted.op or not same:
                    self.fail(f"the module `{path}` is not what `{callee.name}` borrows as `{slot}`", node)

    def same_type(self, a: TensorType, b: TensorType, what: str, node: Node) -> None:
        alike = a.dtype == b.dtype and a.rank == b.rank
        if not alike or not all(self.sizes.same(x, y) for x, y in zip(a.shape, b.shape, strict=True)):
            self.fail(f"{what} is {a}, recorded is {b}", node)


def _training_outputs(node: Node) -> list[bool]:
    """For each output of a node, whether it exists in training only because the callee says so."""
    if node.callee is None or node.inverted:
        return [False] * len(node.outputs)
    training = [output.training for output in node.callee.outputs for _ in output.values]
    m = node.callee.carried
    return [*training[:m], False, *training[m:]] if node.log_det else training


def _tensor(decl: WeightDecl) -> tuple[str, tuple[int, ...], str, str]:
    return decl.name, decl.shape, decl.dtype, decl.kind


def attr_symbols(attrs: Attrs) -> Iterator[str]:
    """The symbols in attributes."""
    stack: list[Attr] = list(attrs.values())
    while stack:
        attr = stack.pop()
        if isinstance(attr, Dim):
            yield from symbols(attr)
        elif isinstance(attr, tuple):
            stack.extend(attr)
        elif isinstance(attr, Init):
            stack.extend(value for _, value in attr.args)
