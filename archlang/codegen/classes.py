"""Groups graphs into classes and functions by the structure of their code, and works out constructor arguments."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from archlang.codegen.arguments import Arguments, abstracted
from archlang.codegen.body import Body
from archlang.codegen.builder import build
from archlang.codegen.errors import fail
from archlang.codegen.exprs import Apply, Call, Kwarg, Leaf, Py, Raw
from archlang.codegen.forms import Forms
from archlang.codegen.literals import exact
from archlang.codegen.merge import Merge, structure
from archlang.codegen.names import FILE_NAMES, Scope, camel, identifier
from archlang.codegen.progress import Alike
from archlang.codegen.rolling import roll
from archlang.codegen.shared import Shared
from archlang.ir.graph import Graph, Program

__all__ = ["Classes", "Unit"]


@dataclass
class Unit:
    """One class or function of the file, with the graphs that are its members."""

    number: int
    block: str
    function: bool
    members: list[Graph] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    name: str = ""
    body: Body | None = None  # the members' bodies, joined
    arguments: Arguments | None = None
    places: dict[int, int] = field(default_factory=dict)  # id of a graph -> its place among the members


class Classes:
    """All units of a program, callees before callers."""

    def __init__(self, program: Program, forms: Forms, shared: Shared) -> None:
        self._program = program
        self._forms = forms
        self._shared = shared
        self.units: list[Unit] = []
        self._unit: dict[tuple[int, bool], Unit] = {}
        self._sequences: dict[int, tuple[Hashable, Body]] = {}
        self._labels: dict[int, str] = {}
        self._alike = Alike(self._identity, self._below)
        self._group()
        self._name()
        self._merge = Merge(self._construct, self._apply)
        for unit in self.units:
            self._join(unit)
        self._check_instances()

    # -- grouping ----------------------------------------------------------------------------------------------------
    def _group(self) -> None:
        known: dict[Hashable, Unit] = {}
        numbers: dict[Hashable, int] = {}
        for graph in self._program.graphs:
            for node in graph.nodes:
                if node.callee is not None and node.path is not None:
                    words = [s for s in node.path.split(".") if not s.isdecimal()]
                    self._labels.setdefault(id(node.callee), words[-1] if words else "")
            root = graph is self._program.root
            if id(graph) in self._forms.constructed and self._forms.sequence(graph) and not root:
                body = roll(build(graph, self._forms, self._shared), self._alike)
                key = structure(body.base, self._identity)
                self._sequences[id(graph)] = (numbers.setdefault(key, len(numbers)), body)
            for function in (True, False):
                if not (self._forms.has_function(graph) if function else self._forms.has_class(graph)):
                    continue
                body = roll(build(graph, self._forms, self._shared, function=function), self._alike)
                key = (graph.block, root, function, structure(body, self._identity))
                unit = known.get(key)
                if unit is None:
                    unit = known[key] = Unit(len(self.units), graph.block, function)
                    self.units.append(unit)
                unit.places[id(graph)] = len(unit.members)
                unit.members.append(graph)
                unit.bodies.append(body)
                self._unit[id(graph), function] = unit

    def _identity(self, graph: Graph) -> Hashable:
        """What two references to graphs must have in common."""
        sequence = self._sequences.get(id(graph))
        units = (self._unit.get((id(graph), function)) for function in (True, False))
        return (None if sequence is None else sequence[0], *(None if u is None else u.number for u in units))

    def _below(self, graph: Graph) -> tuple[Any, ...]:
        """What a graph became, for the comparison of its literals."""
        found: list[Any] = [self._sequences[id(graph)][1].base] if id(graph) in self._sequences else []
        for function in (True, False):
            unit = self._unit.get((id(graph), function))
            if unit is not None:
                found.append(unit.bodies[unit.places[id(graph)]])
        return tuple(found)

    # -- names -------------------------------------------------------------------------------------------------------
    def _name(self) -> None:
        scope = self._shared.names
        root = self.units[-1]
        groups: dict[tuple[str, bool], list[Unit]] = {}
        for unit in self.units:
            groups.setdefault((self._title(unit), unit.function), []).append(unit)
        root.name = scope.take(camel(self._title(root)))
        for (title, function), units in groups.items():
            variants = _variants(units)
            for unit, variant in zip(units, variants, strict=True):
                if unit is root:
                    continue
                if function:
                    unit.name = scope.take(identifier(f"{title}_{variant}" if variant else title, "block"))
                else:
                    unit.name = scope.take(camel(title) + (camel(variant, "") if variant else ""))

    def _title(self, unit: Unit) -> str:
        """The block's name; compositions that have none are called after their label."""
        graph = unit.members[0]
        return (
            unit.block
            if any(c.isalnum() and c.isascii() for c in unit.block)
            else self._labels.get(id(graph)) or "block"
        )

    # -- joining -----------------------------------------------------------------------------------------------------
    def _join(self, unit: Unit) -> None:
        unit.body = self._merge.join(unit.bodies)
        assert unit.body is not None
        words = {identifier(n) for n in (*unit.body.names, *(p.port.name for p in unit.body.ports))}
        taken = Scope({"i", "name", *FILE_NAMES, *unit.body.attributes, *(words if unit.function else ())})
        unit.arguments = Arguments(unit.members, list(abstracted(unit.body)), taken)

    def _values(self, unit: Unit, graph: Graph, given: int) -> tuple[tuple[Py, ...], tuple[Kwarg, ...]]:
        """The arguments that make this member: the first ones by position, the rest by name."""
        assert unit.arguments is not None
        place = unit.places[id(graph)]
        args: list[Py] = []
        kwargs: list[Kwarg] = []
        for argument in unit.arguments.all:
            leaf = Leaf(argument.values[place], argument.name)
            if given or argument.by_name:
                kwargs.append(Kwarg(argument.name, leaf, argument.default))
            else:
                args.append(leaf)
        return tuple(args), tuple(kwargs)

    def _construct(self, graph: Graph) -> Py:
        """The module of a graph, as an expression."""
        if id(graph) in self._sequences:
            return Call(Raw("nn.Sequential"), self._sequences[id(graph)][1].base)
        unit = self._unit[id(graph), False]
        return Call(Raw(unit.name), *self._values(unit, graph, 0))

    def _apply(self, graph: Graph, inputs: tuple[Py, ...]) -> Call:
        unit = self._unit[id(graph), True]
        args, kwargs = self._values(unit, graph, len(inputs))
        return Call(Raw(unit.name), (*inputs, *args), kwargs)

    # -- one instance, one code --------------------------------------------------------------------------------------
    def _check_instances(self) -> None:
        for child, node in self._shared.applications:
            assert child.graph is not None and node.callee is not None
            before, after = (self._resolved(g) for g in (child.graph, node.callee))
            if before != after:
                fail("ARC0701", f"the module `{node.path}` needs different code at two of its uses", node.span,
                     "applied here to other types", related=[(child.span, "first applied here")],
                     help="make two modules, or give both uses the same types")  # fmt: skip

    def _resolved(self, graph: Graph) -> Any:
        """A graph's module with everything below spelled out."""
        return exact_tree(self._construct(graph), self._construct)


def exact_tree(item: Any, construct: Any) -> Hashable:
    """A key that two expressions share exactly when they print alike everywhere below."""
    if isinstance(item, Leaf):
        return exact(item.value)
    if isinstance(item, Apply) or hasattr(item, "graph"):
        return exact_tree(construct(item.graph), construct)
    if isinstance(item, tuple):
        return tuple(exact_tree(i, construct) for i in item)
    if hasattr(item, "__dataclass_fields__"):
        names = [n for n in item.__dataclass_fields__ if n not in ("hint", "default")]
        return (type(item).__name__, *(exact_tree(getattr(item, n), construct) for n in names))
    return item  # type: ignore[no-any-return]


def _variants(units: list[Unit]) -> list[str]:
    """What tells classes of one block apart: a module that only some of them have; "" for the plainest."""
    if len(units) == 1:
        return [""]
    parts = [list(dict.fromkeys(b.split(".")[0] for b in u.members[0].children)) for u in units]
    common = set(parts[0]).intersection(*parts[1:])
    extra = [[p for p in own if p not in common and not p.isdecimal()] for own in parts]
    if all(not p or p[-1].isdigit() for own in extra for p in own):
        sizes = [str(len(own)) for own in parts]  # more of the same: told apart by how many
        return sizes if len(set(sizes)) == len(sizes) else [""] * len(units)
    plain = min(range(len(units)), key=lambda i: (len(extra[i]), i))
    return ["" if i == plain else "_".join(e[:1]) for i, e in enumerate(extra)]
