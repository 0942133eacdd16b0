"""What a class's constructor builds: its modules and weights under their paths, and how they are initialised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archlang.codegen import exprs as py
from archlang.codegen.body import Marked, Rule
from archlang.codegen.convert import convert, literal
from archlang.codegen.forms import Forms, entry
from archlang.codegen.layout import Layout, Slot
from archlang.codegen.names import attribute
from archlang.codegen.shared import Shared
from archlang.ir.externs import is_class
from archlang.ir.graph import Attrs, Child, Graph, Node, WeightDecl
from archlang.ir.paths import Paths
from archlang.ops import code, init
from archlang.ops.base import registry
from archlang.report.diagnostic import Span

__all__ = ["HOLE", "Constructor", "extern_arguments", "initialisation", "module_class"]

HOLE = py.Var(-1)  # stands for the weight in an initialisation


def extern_arguments(attrs: Attrs) -> tuple[py.Kwarg, ...]:
    return tuple(py.Kwarg(name, literal(value, name)) for name, value in attrs.get("args", ()))


class Constructor:
    """The constructor of one graph's class."""

    def __init__(self, graph: Graph, forms: Forms, shared: Shared) -> None:
        self._graph = graph
        self._forms = forms
        self._shared = shared
        self._paths = Paths(graph)
        self._keyless: dict[int, str] = {}
        self._layout: Layout | None = None

    def layout(self) -> Layout:
        """Where everything lives. Fixed at the first call."""
        if self._layout is None:
            self._layout = Layout(list(self._slots()))
        return self._layout

    def keyless(self, node: Node) -> str:
        """The path of a weightless module that has none of its own."""
        self.layout()
        if id(node) not in self._keyless:  # of the inverse: any equal one will do
            same = (n for n in self._graph.nodes if id(n) in self._keyless and (n.op, n.attrs) == (node.op, node.attrs))
            return self._keyless[id(next(same))]
        return self._keyless[id(node)]

    # -- modules -----------------------------------------------------------------------------------------------------
    def _slots(self) -> Iterator[Slot]:
        graph = self._graph
        for child in graph.children.values():
            if child.graph is not None and self._forms.function(child.graph) and not self._is_lent(child.path):
                continue
            value = self._child(child)
            if value is not None:
                yield Slot(child.path, value, child.count)
        for decl in graph.weights.values():
            yield self._weight(decl)
        for second in graph.aliases:
            first = self._paths.canonical(second)
            if first in graph.children or self._paths.counted(first):
                yield Slot(second, py.SELF, kind="alias", first=first)
        taken = {path.split(".")[0] for path in (*graph.children, *graph.weights, *graph.aliases)}
        for node in graph.nodes:
            if node.op in ("call", "weight", "phase") or self._has_child(node):
                continue
            module = self._module(node.op, node.attrs, node.span)
            if module is None or not self._calls_module(node):
                continue
            path = node.op if attribute(node.op) else f"{node.op}_"
            number = 1
            while path in taken:
                number += 1
                path = f"{node.op}_{number}"
            taken.add(path)
            self._keyless[id(node)] = path
            yield Slot(path, module)

    def _is_lent(self, path: str) -> bool:
        return any(path in node.modules.values() for node in self._graph.nodes)

    def _has_child(self, node: Node) -> bool:
        return node.path is not None and self._paths.child(node.path) is not None

    def _calls_module(self, node: Node) -> bool:
        """Whether an op's forward refers to its module."""
        if node.op == "extern":
            return True
        found: list[int] = []

        def module() -> py.Py:
            found.append(1)
            return py.SELF

        ins = [py.SELF] * len(node.inputs)
        convert(entry(node).call(node.attrs, len(ins)), ins, module, {})
        return bool(found)

    def _child(self, child: Child) -> py.Py | None:
        if child.graph is not None:
            return py.Ctor(child.graph)
        assert child.op is not None
        call = next((n for n in self._graph.nodes if child.op == "extern" and n.path == child.path), child)
        return self._module(child.op, child.attrs, call.span)

    def _module(self, op: str, attrs: Attrs, span: Span | None) -> py.Py | None:
        if op == "extern":
            name = self._shared.extern(attrs["target"], span)
            return py.Call(py.Raw(name), (), extern_arguments(attrs)) if is_class(attrs["target"]) else None
        rules = registry()[op]
        module = rules.module(attrs)
        if module is None:
            return None
        self._shared.help(rules.helpers(attrs))
        return convert(module, (), lambda: py.SELF, attrs)

    def steps(self) -> tuple[py.Py, ...]:
        """The arguments of nn.Sequential."""
        found: list[py.Py] = []
        for node in self._graph.nodes:
            if node.callee is not None:
                step: py.Py | None = py.Ctor(node.callee)
            else:
                step = self._module(node.op, node.attrs, node.span)
            assert step is not None
            found.append(step if node.count == 1 else py.Rep(step, py.Leaf(node.count, "depth")))
        return tuple(found)

    # -- weights -----------------------------------------------------------------------------------------------------
    def _weight(self, decl: WeightDecl) -> Slot:
        dtype = () if decl.dtype == "float" else (py.Kwarg("dtype", py.Raw(f"torch.{decl.dtype}")),)
        sizes = tuple(py.Leaf(n, f"{decl.name.split('.')[-1]}_size{i}") for i, n in enumerate(decl.shape))
        shape = sizes or (py.Leaf(()),)
        kind = decl.init.name if decl.init is not None else "zeros"
        if kind in ("zeros", "ones"):
            value: py.Py = py.Call(py.Raw(f"torch.{kind}"), shape, dtype)
        elif kind == "constant" and decl.init is not None:
            number: Any = dict(decl.init.args)["value"]  # torch.full would take an int's type
            floats = decl.dtype.startswith(("float", "bfloat"))
            fill = py.Leaf(float(number) if floats else number, decl.name.split(".")[-1])
            full = (py.Seq(sizes) if sizes else py.Leaf(()), fill)
            value = py.Call(py.Raw("torch.full"), full, dtype)
        else:
            value = py.Call(py.Raw("torch.empty"), shape, dtype)
        if decl.kind == "buffer":
            return Slot(decl.name, value, kind="buffer", persistent=decl.persistent)
        frozen = () if decl.trainable else (py.Kwarg("requires_grad", py.Raw("False")),)
        return Slot(decl.name, py.Call(py.Raw("nn.Parameter"), (value,), frozen), kind="parameter")

    # -- initialisation ----------------------------------------------------------------------------------------------
    def rules(self) -> tuple[Rule, ...]:
        """What happens to weights after everything is built."""
        return tuple(self._rules(self._graph, (), own=True))

    def _rules(self, graph: Graph, above: tuple[str | Marked, ...], *, own: bool) -> Iterator[Rule]:
        for child in graph.children.values():
            path = _extend(above, child)
            if child.graph is not None:
                if self._forms.sequence(child.graph):
                    yield from self._rules(child.graph, path, own=False)
                continue
            torch_class = module_class(child)
            for decl in child.weights:
                swept = (torch_class, decl.name) in self._shared.swept
                direct = own and child.count == 1 and attribute(child.path) and decl.name == "weight"
                target = py.Get(py.Get(py.SELF, child.path), "weight") if direct else None
                yield from _weight_rules(decl, (*path, decl.name), target, swept=swept, frozen=not decl.trainable)
        for decl in graph.weights.values():
            if decl.init is not None and decl.init.name not in ("zeros", "ones", "constant"):
                yield from _weight_rules(decl, (decl.name,), self.layout().weight(decl.name), swept=False, frozen=False)


def _extend(above: tuple[str | Marked, ...], child: Child) -> tuple[str | Marked, ...]:
    if child.count == 1:
        return (*above, child.path)
    stem, _, first = child.path.rpartition(".")
    mark = Marked(int(first), py.Leaf(child.count, "depth"))
    return (*above, stem, mark) if stem else (*above, mark)


def module_class(child: Child) -> str | None:
    """The torch class of an op module, where it is a plain constructor call."""
    module = registry()[child.op].module(child.attrs) if child.op not in (None, "extern") else None
    return module.func if module is not None and isinstance(module.func, str) else None


def initialisation(decl: WeightDecl) -> py.Py:
    """The code that initialises a weight, with a hole in its place."""
    assert decl.init is not None
    return convert(init.emit(decl.init, code.In(0), decl.shape), (HOLE,), lambda: py.SELF, {})


def _weight_rules(
    decl: WeightDecl, path: tuple[str | Marked, ...], direct: py.Py | None, *, swept: bool, frozen: bool
) -> Iterator[Rule]:
    if decl.init is not None and not swept:
        yield Rule(path, initialisation(decl), decl.kind, direct)
    if frozen and decl.kind == "parameter":
        yield Rule(path, py.Call(py.Get(HOLE, "requires_grad_"), (py.Raw("False"),)), decl.kind, direct)
