"""The steps of a reversible block as they are recorded in training: what each updates, reads, and how it is undone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from archlang.codegen import exprs as py
from archlang.codegen.body import Body, Method, Step, StepItem
from archlang.codegen.convert import convert
from archlang.codegen.errors import fail
from archlang.codegen.forms import entry
from archlang.codegen.regions import run_block
from archlang.ir.check import attr_symbols
from archlang.ir.graph import CONTRACTIONS, Graph, Node, Output, Port, Value
from archlang.ir.graph import Step as Taken
from archlang.reversible import Backwards, may_vanish
from archlang.reversible.effects import effects_of
from archlang.reversible.together import Operands, groups, operands_of

if TYPE_CHECKING:
    from archlang.codegen.builder import _Builder

__all__ = ["Statements", "alone"]

STEPS = py.Raw("steps")
_PAIRS = {"add": ("torch.add", "torch.sub"), "sub": ("torch.sub", "torch.add"), "mul": ("torch.mul", "torch.div"),
          "div": ("torch.div", "torch.mul")}  # fmt: skip


@dataclass
class Statements:
    """Builds the method `statements` of a graph, and the methods that its steps refer to."""

    builder: _Builder
    name: str = "statements"
    taken: frozenset[str] = frozenset()  # names of other methods
    methods: list[Method] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph: Graph = self.builder.graph
        self.operands = Operands(self.graph)
        proof = self.graph.proof
        assert proof is not None
        self.steps = proof.steps
        self.live = {id(v) for v in self.graph.entries}
        self.jumps = False  # the steps at hand
        self.taken_streams: set[int] = set()  # by the steps at hand

    def build(self) -> list[Method]:
        """The methods, the statements last. Raises ArchError where the steps cannot be written."""
        items: list[StepItem] = []
        for group in self.groups():
            items.append(self.item(group))
            for step in group:
                self.live -= {id(v) for v in step.consumed}
                self.live |= {id(v) for v in step.made}
        self.check_complete()
        b = self.builder
        body = Body("function", b.ports(), b.lents(), (), (), (), (), tuple(items), b.outputs(), b.names(), b.types())
        return [*self.methods, Method(self.name, "int", body)]

    # -- groups ------------------------------------------------------------------------------------------------------
    def groups(self) -> list[list[Taken]]:
        """Steps that are taken together."""
        found = groups(self.graph)
        for group in found:
            if group.torn is not None:
                self.refuse(group.torn)
        return [group.steps for group in found]

    def closure(self, values: Iterable[Value]) -> list[Node]:
        """The nodes that compute values from the streams at hand and the context, in their order."""
        return self.operands.nodes(values, self.live)

    # -- steps -------------------------------------------------------------------------------------------------------
    def item(self, group: list[Taken]) -> StepItem:
        step = group[0]
        self.jumps = self.can_jump(group)
        self.taken_streams = {id(v) for s in group for v in s.consumed}
        if all(s.node is None for s in group):
            made = [v for s in group for v in s.made]
            fn, reads = self.function(made)
            count = () if len(made) == 1 else (py.Kwarg("results", py.Raw(str(len(made)))),)
            return self.call(made, "new", fn, *reads, many=True, kwargs=count)
        if len(group) > 1:
            return self.together(group)
        assert step.node is not None
        if step.kind == "update" and step.node.op in _PAIRS and len(step.node.inputs) == 2:
            (old,) = step.consumed
            swapped = step.node.inputs[1] is old or bool(step.node.attrs.get("reverse"))
            vanishes = any(may_vanish(o, step.node, self.graph, self.operands.makers) for o in operands_of(step))
            if (step.node.op in ("add", "mul") or not swapped) and not vanishes:
                fn, reads = self.function(operands_of(step))
                if step.node.op == "add":
                    return self.call(step.made, "add", self.var(old), fn, *reads)
                pair = (py.Raw(text) for text in _PAIRS[step.node.op])
                return self.call(step.made, "update", self.var(old), *pair, fn, *reads)
        if step.kind == "apply" and self.runs(step.node):
            return run_block(self.builder, step.node)
        return self.together(group)

    def can_jump(self, group: Sequence[Taken]) -> bool:
        """Whether what the steps compute depends on what they read by jumps."""
        nodes = self.closure(o for s in group for o in operands_of(s))
        nodes += [s.node for s in group if s.node is not None and not self.runs(s.node)]
        return any(effect.kind == "discontinuous" for effect in effects_of(nodes))

    def runs(self, node: Node) -> bool:
        """Whether a call's own statements are written."""
        forms = self.builder.forms
        if node.callee is None or node.inverted:
            return False
        return forms.has_log_statements(node.callee) if node.log_det else forms.has_statements(node.callee)

    def together(self, group: list[Taken]) -> StepItem:
        """Steps as one, by methods that do and undo them."""
        made = {id(v) for step in group for v in step.made}
        consumed = [v for step in group for v in step.consumed if id(v) not in made]
        results = [v for step in group for v in step.made if not any(v is c for s in group for c in s.consumed)]
        operands = list({id(o): o for step in group for o in operands_of(step)}.values())
        nodes = [step.node for step in group if step.node is not None]
        steady = all(n.callee is None or self.builder.forms.reversal.steady(n.callee) for n in nodes)
        steady = steady and not any(n.log_det for n in nodes)  # whose inverse knows nothing of the sum
        if len(nodes) != len(group) or not steady:
            self.refuse(group[0])
        do = self.method("do", [*consumed, *operands], nodes, results)
        back = Backwards(nodes, self.graph)
        starts = [back.start(v) for v in (*results, *operands)]
        back.undo(group)
        undo = self.method("undo", starts, back.nodes, [back.value(v) for v in consumed])
        x: list[py.Py] = [py.Seq(tuple(self.var(v) for v in consumed))]
        if all(id(o) in self.live for o in operands):
            count = () if len(results) == len(consumed) else (py.Kwarg("results", py.Raw(str(len(results)))),)
            return self.call(results, "apply", *x, do, undo, *(self.var(o) for o in operands), many=True, kwargs=count)
        fn, reads = self.function(operands)
        return self.call(results, "update_all", *x, do, undo, fn, *reads, many=True)

    def function(self, values: Sequence[Value]) -> tuple[py.Py, list[py.Py]]:
        """What computes operands, a module or a method, and the streams that it reads."""
        nodes = self.closure(values)
        known = {id(v) for n in nodes for v in n.outputs} | self.live
        if any(id(v) not in known for v in (*(i for n in nodes for i in n.inputs), *values)):  # a stream that is gone
            self.refuse(None)
        reads = list(
            {id(i): i for i in (*(i for n in nodes for i in n.inputs), *values) if id(i) in self.live}.values()
        )
        reads += self.shown(nodes, reads)
        if not nodes:
            return py.Leaf(None), [self.var(v) for v in values]
        if len(nodes) == 1 and nodes[0].outputs == tuple(values) and list(nodes[0].inputs) == reads:
            module = alone(self.builder, nodes[0])
            if module is not None:
                return module, [self.var(v) for v in reads]
        name = "new" if any(s.node is None and s.made[0] is values[0] for s in self.steps) else "change"
        return self.method(name, reads, nodes, values), [self.var(v) for v in reads]

    def shown(self, nodes: Sequence[Node], reads: Sequence[Value]) -> list[Value]:
        """Further streams, from whose shapes nodes read sizes that what they compute with does not show."""
        found: list[Value] = []
        free = [v for v in self.graph.values if id(v) in self.live and id(v) not in self.taken_streams]
        for symbol in dict.fromkeys(s for n in nodes for s in attr_symbols(n.attrs)):
            if not any(symbol in map(str, v.type.shape) for v in (*reads, *found)):
                found += [v for v in free if symbol in map(str, v.type.shape)][:1]
        return found

    def method(self, wish: str, inputs: Iterable[Value], nodes: Sequence[Node], outputs: Sequence[Value]) -> py.Py:
        """A method of the class that computes these values."""
        name, number = wish, 1
        taken = {m.name for m in self.methods} | self.taken | set(self.builder.make.layout().attributes)
        while name in taken:
            number += 1
            name = f"{wish}_{number}"
        ports = [Port(v.name, (v,)) for v in inputs]
        part = replace(self.graph, inputs=ports, nodes=list(nodes), outputs=[Output((v,)) for v in outputs])
        self.methods.append(Method(name, "Tensor", self.builder.part(part)))
        return py.Get(py.SELF, name)

    def var(self, value: Value) -> py.Py:
        return py.Var(self.builder.index[id(value)])

    def call(
        self, made: Sequence[Value], name: str, *args: py.Py, many: bool = False, kwargs: tuple[py.Kwarg, ...] = ()
    ) -> Step:
        numbers = tuple(self.builder.index[id(v)] for v in made)
        steps: py.Py = py.Call(py.Get(STEPS, "jumping")) if self.jumps else STEPS
        return Step(numbers if many or len(numbers) != 1 else numbers[0], py.Call(py.Get(steps, name), args, kwargs))

    # -- refusals ----------------------------------------------------------------------------------------------------
    def check_complete(self) -> None:
        """What no step needs would not run: refused where it could have an effect."""
        used = {id(s.node) for s in self.steps if s.node is not None}
        live = {id(v) for v in self.graph.entries}
        for step in self.steps:
            used |= {id(n) for n in self.operands.nodes(operands_of(step), live)}
            live -= {id(v) for v in step.consumed}
            live |= {id(v) for v in step.made}
        for node in self.graph.nodes:
            if id(node) not in used and node.op in ("call", "extern"):
                self.refuse(None)

    def refuse(self, step: Taken | None) -> None:
        fail("ARC0703", "the steps of this block cannot be taken one by one", step.span if step else self.graph.span)


def alone(b: _Builder, node: Node) -> py.Py | None:
    """The module that a node calls with its inputs as they are."""
    if node.inverted or node.log_det or node.phase is not None or node.count != 1 or node.op in ("weight", "phase"):
        return None
    if node.callee is not None:
        plain = not node.modules and not any(o.training or o.kind != "tensor" for o in node.callee.outputs)
        plain = plain and all(p.kind == "tensor" for p in node.callee.inputs)
        return None if b.forms.function(node.callee) or not plain else b.module(node)
    if node.op == "extern" or node.op in CONTRACTIONS:
        return None
    ins: list[py.Py] = [py.Raw(f"x{i}") for i in range(len(node.inputs))]  # of whatever inputs
    layer = py.Raw("layer")
    plain = convert(entry(node).call(node.attrs, len(ins)), ins, lambda: layer, {}) == py.Call(layer, tuple(ins))
    return b.module(node) if plain else None
