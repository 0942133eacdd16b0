"""From one graph to its `Body`: what its class's constructor builds and what its forward does, as comparable code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain as joined
from itertools import count

from archlang.codegen import exprs as py
from archlang.codegen.body import (
    Body,
    Lent,
    Method,
    PortSig,
    Returned,
    Select,
    Step,
    StepItem,
    Target,
    TwoWay,
)
from archlang.codegen.checkpoints import checkpointed
from archlang.codegen.checks import promises
from archlang.codegen.construct import Constructor, extern_arguments
from archlang.codegen.errors import fail
from archlang.codegen.flow import reads
from archlang.codegen.forms import Forms, entry
from archlang.codegen.log_dets import contraction, measured, measured_statements, method, op_code
from archlang.codegen.loops import chain, loop, loopable
from archlang.codegen.names import Scope, identifier
from archlang.codegen.rebuilding import UNCHANGED, UNDO
from archlang.codegen.regions import outlined, rebuilt, region
from archlang.codegen.shared import Shared
from archlang.codegen.size_reads import size_reads
from archlang.codegen.statements import Statements
from archlang.ir.externs import is_class, undoing_method
from archlang.ir.graph import CONTRACTIONS, Child, Graph, Node, TensorType, Value
from archlang.ir.paths import Paths, split_index
from archlang.report.diagnostic import ArchError
from archlang.reversible import invert, region_from, runs

__all__ = ["build"]


def build(graph: Graph, forms: Forms, shared: Shared, *, function: bool = False) -> Body:
    """The body of a graph: of its function, of its class, or of the nn.Sequential that it is as a module."""
    return _Builder(graph, forms, shared).body(not function)


@dataclass
class _Builder:
    graph: Graph
    forms: Forms
    shared: Shared
    index: dict[int, int] = field(default_factory=dict)  # id of a value -> its number
    direct: dict[int, py.Py] = field(default_factory=dict)  # values that are read where they are used
    uses: dict[int, int] = field(default_factory=dict)
    outlines: list[Method] = field(default_factory=list)
    branches: dict[tuple[int, ...], str] = field(default_factory=dict)  # their nodes -> the name of the method
    inside: bool = False  # of a reversible block: what it calls starts no region

    def __post_init__(self) -> None:
        self.values = list(self.graph.values)
        self.index = {id(v): i for i, v in enumerate(self.values)}
        self.paths = Paths(self.graph)
        scope = Scope()
        self.slots = {path: scope.take(identifier(path.replace(".", "_"))) for path in self.graph.borrowed}
        self.make = Constructor(self.graph, self.forms, self.shared)
        self.segments = {s.start: s for s in self.forms.segments.get(id(self.graph), ())}
        for v in (v for n in self.graph.nodes for v in n.inputs):
            self.uses[id(v)] = self.uses.get(id(v), 0) + 1
        for v in self.graph.results:
            self.uses[id(v)] = self.uses.get(id(v), 0) + 1

    def body(self, as_module: bool) -> Body:
        graph = self.graph
        common = {"ports": self.ports(), "lent": self.lents(), "names": self.names()}
        types = self.types()
        if self.forms.sequence(graph) and as_module:
            base = self.make.steps()
            return Body("sequential", inits=(), rules=self.make.rules(), base=base, sizes=(), steps=(),
                        outputs=self.outputs(), types=types, **common)  # type: ignore[arg-type]  # fmt: skip
        function = not as_module
        reverse = () if function else self.methods()  # first: what it leaves out is trained like other code
        steps = self.steps()
        checks = tuple(promises(graph)) if graph is self.forms.program.root else ()
        layout = self.make.layout()
        form = "function" if function else "list" if layout.is_list else "module"
        return Body(
            form,
            inits=() if function else tuple(layout.items()),
            rules=() if function else self.make.rules(),
            base=layout.base(),
            sizes=size_reads(self, (*steps, *checks)),
            steps=steps,
            outputs=self.outputs(),
            types=types,
            attributes=layout.attributes,
            methods=(*self.outlines, *reverse),
            checks=checks,
            **common,  # type: ignore[arg-type]
        )

    def part(self, graph: Graph, *, regions: bool = False) -> Body:
        """The body of a method: some of the graph's nodes, or its inverse. regions: its calls may start such."""
        other = self.within(graph)
        other.inside = not regions
        other.direct = self.direct
        steps = other.steps()
        return Body("function", other.ports(), other.lents(), (), (), (), size_reads(other, steps), steps,
                    other.outputs(), other.names(), other.types())  # fmt: skip

    def within(self, graph: Graph) -> _Builder:
        """The builder of a method."""
        other = _Builder(graph, self.forms, self.shared)
        other.make, other.paths, other.slots = self.make, self.paths, self.slots
        other.outlines, other.branches = self.outlines, self.branches
        other.inside = True
        return other

    def methods(self) -> tuple[Method, ...]:
        """The reverse direction, where the graph has one."""
        found: list[Method] = []
        self.make_room()
        if self.forms.has_inverse(self.graph) and self.graph.streams:
            try:
                found.append(self.inverse())
            except ArchError:  # a size that its results do not tell
                if id(self.graph) in self.forms.reversal.needed:
                    raise
                del self.forms.reversal.inverse[id(self.graph)]
        found += method(self)
        if self.forms.has_statements(self.graph) and id(self.graph) in self.forms.reversal.run:
            try:
                found += Statements(self).build()
            except ArchError:  # then it is trained like any other
                self.forms.reversal.statements.discard(id(self.graph))
        found += measured_statements(self, frozenset(m.name for m in found))
        return tuple(found)

    def inverse(self) -> Method:
        back = invert(self.graph)
        method = Method("inverse", "Tensor", self.part(back), self.forms.reversal.writes(back.nodes))
        if method.replays:
            self.shared.help((UNCHANGED,))
        return method

    def make_room(self) -> None:
        """Without the methods whose names are labels here, where nothing says that they must be."""
        reversal, taken = self.forms.reversal, self.make.layout().attributes
        if "inverse" in taken and self.forms.has_inverse(self.graph):
            if id(self.graph) in reversal.needed:
                fail("ARC0407", "the label `inverse` hides the method that a module's inverse is", self.graph.span)
            del reversal.inverse[id(self.graph)]
        if "statements" in taken:
            reversal.statements.discard(id(self.graph))

    def ports(self) -> tuple[PortSig, ...]:
        return tuple(PortSig(tuple(self.index[id(v)] for v in p.values), p.kind, p) for p in self.graph.inputs)

    def lents(self) -> tuple[Lent, ...]:
        return tuple(Lent(self.slots[c.path], c.count > 1) for c in self.graph.borrowed.values())

    def names(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.values)

    def types(self) -> tuple[TensorType, ...]:
        return tuple(v.type for v in self.values)

    def outputs(self) -> tuple[Returned, ...]:
        return tuple(
            Returned(tuple(self.index[id(v)] for v in o.values), o.name, o.kind, o.training, o)
            for o in self.graph.outputs
        )

    # -- steps -------------------------------------------------------------------------------------------------------
    def steps(self) -> tuple[StepItem, ...]:
        found: list[StepItem] = []
        nodes = self.graph.nodes
        at = 0
        while at < len(nodes):
            if at in self.segments:
                found.append(checkpointed(self, self.segments[at]))
                at = self.segments[at].stop
                continue
            region = self.region_from(at)
            if len(region) > 1 or (region and (region[0].count > 1 or region[0].log_det)):
                found.append(outlined(self, region))
                at += len(region)
                continue
            taken = chain(self, at)
            if len(taken) > 1 or taken[0].count > 1:
                found.append(loop(self, taken))
            else:
                found.extend(self.step(taken[0]))
            at += len(taken)
        return (*self.named_reads(found), *found)

    def named_reads(self, steps: Sequence[StepItem]) -> list[StepItem]:
        """A name for each weight that is a result, a stream of a loop, or an arm of a choice by phase."""
        numbers = {v for step in steps for v in reads(step)}
        numbers |= {self.index[id(v)] for v in self.graph.results}
        nodes = [n for n in self.graph.nodes if n.op == "weight" and id(n.outputs[0]) in self.direct]
        found: list[StepItem] = []
        for node in nodes:
            v = node.outputs[0]
            if self.index[id(v)] in numbers:
                found.append(Step(self.index[id(v)], self.direct[id(v)], None, self.label(node), node.span))
        return found

    def step(self, node: Node) -> list[StepItem]:
        outs = tuple(self.index[id(v)] for v in node.outputs)
        if node.op == "weight":
            return self.weight(node)
        if node.op == "phase":
            train, evaluation = (self.index[id(v)] for v in node.inputs)
            return [Select(outs[0], train, evaluation, node.phase)]
        if node.op == "call":
            return [self.call(node)]
        ins = [self.value(v) for v in node.inputs]
        target: Target = outs[0] if len(outs) == 1 else outs
        label = self.label(node)
        if node.op in CONTRACTIONS:
            return [Step(target, contraction(self, node), node.phase, label, node.span)]
        if node.op == "extern":
            return [Step(target, self.extern(node, tuple(ins)), node.phase, label, node.span)]
        op = entry(node)
        self.shared.help(op.helpers(node.attrs))
        code = op_code(self, node, ins, lambda: self.module(node))
        return [Step(target, code, node.phase, label, node.span)]

    def extern(self, node: Node, ins: tuple[py.Py, ...]) -> py.Py:
        """A call of a user's own code, or of what is declared to undo it."""
        method = undoing_method(node.attrs) if node.inverted else None
        if method is not None:
            return self.undone(self.module(node), ins, method)
        if node.inverted:
            name = self.shared.extern(node.attrs["inverse"], node.span)
            return py.Call(py.Raw(name), ins, extern_arguments(node.attrs))
        if is_class(node.attrs["target"]):
            return py.Call(self.module(node), ins)
        name = self.shared.extern(node.attrs["target"], node.span)
        return py.Call(py.Raw(name), ins, extern_arguments(node.attrs))

    def weight(self, node: Node) -> list[StepItem]:
        assert node.path is not None
        path = self.paths.canonical(node.path)
        decl = self.graph.weights[path]
        read = self.make.layout().weight(path)
        value = node.outputs[0]
        if decl.constraint is None:
            self.direct[id(value)] = read
            return []
        helper = self.shared.constraint(decl.constraint)
        return [Step(self.index[id(value)], py.Call(py.Raw(helper), (read,)), node.phase, self.label(node), node.span)]

    def call(self, node: Node) -> StepItem:
        callee = node.callee
        assert callee is not None
        args = self.arguments(node)
        label = self.label(node)
        self.check_inverse(node)
        target = self.targets(node, training=True)
        if node.inverted:
            return Step(target, self.undone(self.module(node), args), node.phase, label, node.span)
        if region(self, node):
            flat = tuple(self.index[id(v)] for v in node.outputs)
            return Step(flat, rebuilt(self, [node], self.module(node), args), node.phase, label, node.span)
        if self.forms.function(callee):
            return Step(target, py.Apply(callee, args), node.phase, label, node.span)
        self.check_instance(node)
        module, outputs = self.module(node), _runs(node).outputs
        value = measured(self, module, args) if node.log_det else py.Call(module, args)
        if not any(o.training for o in outputs):
            return Step(target, value, node.phase, label, node.span)
        evaluation = self.targets(node, training=False)
        left = [o for o in outputs if not o.training]
        plain = len(left) == 1 and left[0].kind == "tensor"
        return TwoWay(target, evaluation, value, plain, len(outputs), node.phase, label, node.span)

    def plain(self, node: Node) -> bool:
        """Whether each of the node's modules takes a tensor, gives one, and takes nothing else."""
        if node.callee is None:
            return loopable(self, node)
        ports, outputs = node.callee.inputs, node.callee.outputs
        return loopable(self, node) and [p.kind for p in ports] == [o.kind for o in outputs] == ["tensor"]

    def region_from(self, at: int) -> list[Node]:
        """The calls from a node on that can be one region."""
        return region_from(self.graph.nodes, at, lambda node: region(self, node), self.uses)

    def free_name(self, wish: str) -> str:
        """Of a method."""
        taken = {*self.make.layout().attributes, *(m.name for m in self.outlines)}
        return next(n for n in joined([wish], (f"{wish}{i}" for i in count(2))) if n not in taken)

    def undone(self, module: py.Py, args: tuple[py.Py, ...], method: str = "inverse") -> py.Call:
        """A module run backwards; by a function where mypy does not know its class."""
        if method != "inverse" or (isinstance(module, py.Get) and module.value == py.SELF):
            return py.Call(py.Get(module, method), args)
        self.shared.help((UNDO,))
        return py.Call(py.Raw(UNDO.name), (module, *args))

    def targets(self, node: Node, *, training: bool) -> Target:
        return self.unpacked(node, [self.index[id(v)] for v in node.outputs], training)

    def unpacked(self, node: Node, numbers: Sequence[int], training: bool = True) -> Target:
        """A call's results as they are unpacked: lists as tuples of their own."""
        left = iter(numbers)
        found: list[Target] = []
        for output in _runs(node).outputs:
            here = tuple(next(left) for _ in output.values)
            if training or not output.training:
                found.append(here if output.kind == "tensors" else here[0])
        return found[0] if len(found) == 1 else tuple(found)

    def arguments(self, node: Node) -> tuple[py.Py, ...]:
        """The callee's arguments: wires by port, then the modules that it borrows."""
        return self.grouped(node, [self.value(v) for v in node.inputs])

    def grouped(self, node: Node, ins: Sequence[py.Py]) -> tuple[py.Py, ...]:
        assert node.callee is not None
        wires = iter(ins)
        found: list[py.Py] = []
        for item in _runs(node).inputs:
            here = tuple(next(wires) for _ in item.values)
            found.append(py.Seq(here, "list") if item.kind == "tensors" else here[0])
        return (*found, *(self.lend(node, slot) for slot in node.callee.borrowed.values()))

    def lend(self, node: Node, slot: Child) -> py.Py:
        path = node.modules[slot.path]
        if slot.count == 1:
            return self.at(path)
        mine = self.paths.borrowed(path)
        if mine is not None:
            first, start = split_index(mine.path), split_index(path)
            whole = py.Raw(self.slots[mine.path])
            if first == start and mine.count == slot.count:
                return whole
            assert first is not None and start is not None
            begin = start[1] - first[1]
            return py.Item(whole, (py.Slice(py.Leaf(begin) if begin else None, py.Leaf(begin + slot.count)),))
        run = self.make.layout().run(self.paths.canonical(path), slot.count)
        if run is not None:
            return run
        each = py.Seq(tuple(self.at(p) for p in replace(slot, path=path).paths), "list")
        return py.Call(py.Raw("nn.ModuleList"), (each,))

    # -- runs --------------------------------------------------------------------------------------------------------
    def shaped(self, node: Node, numbers: Sequence[int]) -> Target:
        """A node's results as they are unpacked."""
        if node.callee is None or region(self, node):
            return numbers[0] if len(numbers) == 1 and node.callee is None else tuple(numbers)
        return self.unpacked(node, numbers)

    def iterable(self, nodes: Sequence[Node]) -> py.Py | None:
        first = nodes[0]
        assert first.path is not None
        path = self.paths.canonical(first.path)
        count = sum(n.count for n in nodes)
        if self.paths.owned(path) is None:
            slot = self.paths.borrowed(path)
            whole = slot is not None and slot.path == path and slot.count == count
            return py.Raw(self.slots[slot.path]) if slot is not None and whole else None
        return self.make.layout().run(path, count)

    def element(self, node: Node) -> str:
        """What one of several modules is called: `layers.0` -> `layer`."""
        words = [s for s in (node.path or "").split(".") if not s.isdecimal()]
        return words[-1][:-1] if words and words[-1].endswith("s") and len(words[-1]) > 2 else "layer"

    # -- references --------------------------------------------------------------------------------------------------
    def value(self, value: Value) -> py.Py:
        return self.direct.get(id(value)) or py.Var(self.index[id(value)])

    def at(self, path: str) -> py.Py:
        """The module under a path: owned, or lent to this graph."""
        slot = self.paths.borrowed(path)
        if slot is None or self.paths.owned(path) is not None:
            return self.make.layout().module(self.paths.canonical(path))
        if slot.count == 1:
            return py.Raw(self.slots[slot.path])
        here, first = split_index(path), split_index(slot.path)
        assert here is not None and first is not None
        return py.Item(py.Raw(self.slots[slot.path]), (py.Raw(str(here[1] - first[1])),))

    def module(self, node: Node) -> py.Py:
        if node.path is not None and self.paths.child(node.path) is not None:
            return self.at(node.path)
        return self.make.layout().module(self.make.keyless(node))

    def label(self, node: Node) -> str:
        """What an intermediate that its author did not name is called after."""
        if node.path is not None:
            words = [s for s in node.path.split(".") if not s.isdecimal()]
            if words:
                return words[-1]
        return node.callee.block if node.callee is not None else node.op

    def check_inverse(self, node: Node) -> None:
        if node.inverted and node.callee is not None and not self.forms.has_inverse(node.callee):
            fail("ARC0703", f"the inverse of `{node.callee.block}` needs a size that it cannot read", node.span)

    def check_instance(self, node: Node) -> None:
        if node.path is None or node.callee is None:
            return
        child = self.paths.child(node.path)
        if child is not None and child.graph is not None and child.graph is not node.callee:
            self.shared.same_instance(child, node)


def _runs(node: Node) -> Graph:
    """The graph that a call runs."""
    graph = runs(node)
    assert graph is not None
    return graph
