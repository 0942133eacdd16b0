"""Building one graph: nodes, children under their paths, weights, and the phase in force."""

from __future__ import annotations

import keyword
from collections.abc import Mapping, Sequence
from typing import NoReturn

from archlang.elaborate.errors import fail
from archlang.elaborate.reserved import MODULE_ATTRIBUTES
from archlang.elaborate.values import Instance, Run, Wire
from archlang.ir.graph import Attrs, Child, Constraint, Graph, Node, TensorType, Value, WeightDecl
from archlang.records import dataclass, field, replace
from archlang.report.diagnostic import Span
from archlang.reversible import METHODS
from archlang.shapes.dim import Size, size_str

__all__ = ["Builder", "check_label", "check_methods"]


_Shapes = Mapping[str, tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class _Site:
    """Where an unlabelled name is given: the same place in a loop keeps its stem, with the iteration appended."""

    start: int
    base: str


@dataclass(eq=False)
class Builder:
    graph: Graph
    phase: str | None = None
    iterations: list[int] = field(default_factory=list)
    taken: dict[str, Span] = field(default_factory=dict)
    runs: dict[str, list[tuple[range, Span]]] = field(default_factory=dict)  # stem -> numbers taken by runs
    containers: dict[str, Span] = field(default_factory=dict)  # prefixes of taken paths
    stems: dict[str, _Site] = field(default_factory=dict)
    slots: dict[str, Instance] = field(default_factory=dict)  # borrowed slot -> what the caller passed
    owned: list[Instance | Run] = field(default_factory=list)  # named or passed in: must be applied
    emits: list[tuple[str, Wire]] = field(default_factory=list)
    declared: dict[int, Span] = field(default_factory=dict)  # id of an input's value -> its declaration
    given: dict[int, Wire] = field(default_factory=dict)  # id of an input's value -> the caller's wire
    first_use: dict[str, Span] = field(default_factory=dict)  # path of a module -> where it was first applied
    needed: set[object] = field(default_factory=set)  # keys of the graph's constraints

    # -- paths ---------------------------------------------------------------------------------------------------------
    def reserve(self, path: str, span: Span) -> None:
        """Takes a relative path; two different things under one path are an error."""
        first = self.taken.get(path) or self._run_holding(path)
        if first is not None:
            again = first == span
            fail(
                "ARC0402",
                f"two different things are called `{path}`" + (": this line runs more than once" if again else ""),
                span,
                "reached again" if again else "and again here",
                related=[] if again else [(first, f"`{path}` is first used here")],
                help='put the loop variable into the label, as in "name{i}": ...; without a label each gets a number'
                if again
                else "give one of them another label",
            )
        inside = self.containers.get(path)
        prefixes: list[str] = []
        if "." in path:
            parts = path.split(".")
            prefixes = [".".join(parts[:i]) for i in range(1, len(parts))]
        above = next((p for p in prefixes if p in self.taken), None) if prefixes else None
        if inside is not None or above is not None:
            other = inside if inside is not None else self.taken[above or ""]
            fail(
                "ARC0403",
                f"`{path}` would lie inside another module",
                span,
                "this path",
                related=[(other, f"`{above or path}` is a module of its own" if above else "and here it is a prefix")],
                help="choose a path that is not part of another child's",
            )
        self.taken[path] = span
        for prefix in prefixes:
            self.containers.setdefault(prefix, span)

    def _run_holding(self, path: str) -> Span | None:
        if not self.runs:
            return None
        stem, _, number = path.rpartition(".")
        if not number.isdecimal():
            return None
        return next((span for numbers, span in self.runs.get(stem, ()) if int(number) in numbers), None)

    def _reserve_run(self, path: str, count: int, span: Span) -> None:
        """Takes `count` consecutive numbered paths, at a cost that does not grow with the count."""
        self.reserve(path, span)
        stem, _, first = path.rpartition(".")
        numbers = range(int(first), int(first) + count)
        for other in self.taken:
            other_stem, _, number = other.rpartition(".")
            if other != path and other_stem == stem and number.isdecimal() and int(number) in numbers:
                self.reserve(other, span)
        self.runs.setdefault(stem, []).append((numbers, span))

    def free_path(self, base: str, span: Span) -> str:
        """A path for something that the author did not label: `base`, `base_2`, ...; in loops `base.i`."""
        suffix = "".join(f".{i}" for i in self.iterations)
        base = f"{base}_" if base in MODULE_ATTRIBUTES else base
        site = _Site(span.start, base)
        number = 1
        while True:
            stem = base if number == 1 else f"{base}_{number}"
            known = self.stems.get(stem)
            clash = stem + suffix in self.taken or (suffix == "" and stem in self.containers)
            if not clash and (known is None or (known == site and suffix)) and (suffix == "" or stem not in self.taken):
                self.stems[stem] = site
                return stem + suffix
            number += 1

    def claim(self, instance: Instance, base: str, *, bound: Span | None = None) -> str:
        """Gives an unowned instance its owner and path: label, else binding, else op name."""
        if instance.label is not None:
            path, span = instance.label.path, instance.label.span
            check_label(path, span)
        elif bound is not None:
            path, span = base + "".join(f".{i}" for i in self.iterations), bound
            check_label(path, span)
            self.stems.setdefault(base, _Site(bound.start, base))
        else:
            span = instance.span
            path = self.free_path(base, span)
        self.reserve(path, span)
        instance.owner, instance.path = self, path
        return path

    def claim_at(self, item: Instance | Run, path: str, span: Span) -> None:
        """Takes an element of a list, or a module argument, under a path that its place decides."""
        check_label(path, span)
        if isinstance(item, Run):
            stem, _, first = path.rpartition(".")
            self._reserve_run(path, item.count, span)
            item.owner, item.stem, item.first = self, stem, int(first)
        else:
            self.reserve(path, span)
            item.owner, item.path = self, path
        self.owned.append(item)

    # -- nodes ---------------------------------------------------------------------------------------------------------
    def node(
        self,
        op: str,
        inputs: Sequence[Wire],
        types: Sequence[TensorType],
        span: Span,
        attrs: Attrs,
        *,
        path: str | None = None,
        callee: Graph | None = None,
        count: int = 1,
        sizes: Mapping[str, Size] | None = None,
        modules: Mapping[str, str] | None = None,
    ) -> tuple[Wire, ...]:
        """Appends a node and returns its output wires."""
        phase = self.phase
        values = []
        for wire in inputs:
            if wire.builder is not self:
                _foreign(wire, span)
            if wire.phase is not None and wire.phase != phase:
                when = "training" if wire.phase == "train" else "evaluation"
                fail(
                    "ARC0260",
                    f"this wire exists in {when} only",
                    span,
                    "used here in both phases",
                    related=[(wire.span, f"made here, in {when} only")],
                    help="use it under `if training { ... }`, or return it as `training name=...`",
                )
            values.append(wire.value)
        outputs = tuple([Value(t) for t in types])
        made = (op, tuple(values), outputs, span, attrs, path, callee, count, sizes or {}, modules or {}, phase)
        self.graph.nodes.append(Node(*made))
        return tuple([Wire(v, self, span, phase) for v in outputs])

    def need(self, constraints: Sequence[Constraint], span: Span) -> None:
        """Records what a node needs of symbolic sizes."""
        for c in constraints:
            if c.phase is not None and self.phase not in (None, c.phase):
                continue  # what training needs of an arm that runs in evaluation only
            phase = c.phase or self.phase
            key = (c.left, c.right, c.relation, phase, c.cases and c.key[-1])
            if key not in self.needed:
                self.needed.add(key)
                fits = c.span is not None and c.phase is phase
                self.graph.constraints.append(c if fits else replace(c, span=c.span or span, phase=phase))

    # -- children ------------------------------------------------------------------------------------------------------
    def fix_op(
        self, path: str, op: str, attrs: Attrs, weights: tuple[WeightDecl, ...], span: Span, borrowed: bool, use: Span
    ) -> None:
        """Registers an op module at its first application; later ones must find the same weights."""
        table = self.graph.borrowed if borrowed else self.graph.children
        known = table.get(path)
        if known is None:
            table[path] = Child(path, span, op, attrs, weights)
            self.first_use[path] = use
            return
        before = {w.name: w.shape for w in known.weights}
        after = {w.name: w.shape for w in weights}
        if before != after:
            name = next(n for n in {**before, **after} if before.get(n) != after.get(n))
            self._disagree(path, name, before, after, span, use)

    def fix_graph(self, path: str, graph: Graph, count: int, span: Span, borrowed: bool, use: Span) -> None:
        """Registers `count` instances of a graph at their first application."""
        table = self.graph.borrowed if borrowed else self.graph.children
        known = table.get(path)
        if known is None:
            table[path] = Child(path, span, graph=graph, count=count)
            self.first_use[path] = use
        elif known.graph is not graph and known.graph is not None:
            key = difference(known.graph, graph, set())
            if key is not None:
                before, after = ({key: shape_at(g, key)} for g in (known.graph, graph))
                self._disagree(path, key, before, after, span, use)

    def _disagree(self, path: str, key: str, before: _Shapes, after: _Shapes, made: Span, use: Span) -> None:
        related = [(made, "it is one module, with one set of weights")]
        first = self.first_use.get(path)
        if first is not None and first != use:
            related.append((first, f"here {key} {_shape(before.get(key))}"))
        fail(
            "ARC0404",
            f"`{path}` is used twice with sizes that need different weights",
            use,
            f"here {key} {_shape(after.get(key))}",
            related=related,
            help="make two modules if they are not meant to share weights",
        )


def _foreign(wire: Wire, span: Span) -> NoReturn:
    message = "this wire belongs to another block" + (f" (as `{wire.value.name}`)" if wire.value.name else "")
    help = "pass it as a context input (`(x; mask) -> layer`), or let the body stand in this block (`x -> _: layer`)"
    fail("ARC0415", message, span, "used here", related=[(wire.span, "made here")], help=help)


def difference(a: Graph, b: Graph, seen: set[tuple[int, int]]) -> str | None:
    """A relative state-dict key that only one of the graphs has, or that has another shape in the other."""
    if a is b or (id(a), id(b)) in seen:
        return None
    seen.add((id(a), id(b)))
    ours, theirs = _tensors(a), _tensors(b)
    for key in {**ours, **theirs}:
        if ours.get(key) != theirs.get(key):
            return key
    inner, other = _instances(a), _instances(b)
    for path in {**inner, **other}:
        if path in inner and path in other:
            deeper = difference(inner[path], other[path], seen)
        else:
            deeper = _first_key(inner[path] if path in inner else other[path])
        if deeper is not None:
            return f"{path}.{deeper}"
    return None


def _tensors(graph: Graph) -> dict[str, tuple[int, ...]]:
    own = {path: w.shape for path, w in graph.weights.items()}
    return own | {f"{child.path}.{w.name}": w.shape for child in graph.children.values() for w in child.weights}


def _instances(graph: Graph) -> dict[str, Graph]:
    return {path: child.graph for child in graph.children.values() if child.graph is not None for path in child.paths}


def _first_key(graph: Graph) -> str | None:
    for key in _tensors(graph):
        return key
    for path, inner in _instances(graph).items():
        deeper = _first_key(inner)
        if deeper is not None:
            return f"{path}.{deeper}"
    return None


def shape_at(graph: Graph, key: str) -> tuple[int, ...] | None:
    """The shape of the tensor under a relative state-dict key."""
    own = _tensors(graph)
    if key in own:
        return own[key]
    for path, inner in _instances(graph).items():
        if key.startswith(path + "."):
            return shape_at(inner, key[len(path) + 1 :])
    return None


_GOOD: set[str] = set()  # labels that were looked at


def check_label(path: str, span: Span) -> None:
    """Refuses labels that cannot be attributes of an nn.Module."""
    if path in _GOOD:
        return
    for part in path.split("."):
        if not part:
            fail("ARC0406", f"the label `{path}` has an empty segment", span, help='dots separate names: "a.b"')
        if part in MODULE_ATTRIBUTES:
            fail(
                "ARC0407",
                f"`{part}` is an attribute of every torch module and cannot be a label",
                span,
                help=f"try `{part}_` or another name",
            )
        if not part.replace("_", "a").isalnum():
            fail(
                "ARC0408",
                f"`{part}` cannot be part of a state-dict path",
                span,
                help="use letters, digits and `_`; dots nest",
            )
    if keyword.iskeyword(path) and span.text == path:
        fail("ARC0409", f"`{path}` is a Python keyword", span, help=f'as a label it needs quotes: "{path}": ...')
    if not keyword.iskeyword(path):
        _GOOD.add(path)


def check_methods(graph: Graph) -> None:
    """Refuses labels and weights that would hide the methods of a reversible block's class."""
    spans = {path: child.span for path, child in (*graph.children.items(), *graph.borrowed.items())}
    spans |= {path: weight.span for path, weight in graph.weights.items()}
    for path, span in spans.items():
        name = path.partition(".")[0]
        if name in METHODS and span is not None:
            message = f"`{name}` is a method of every reversible block and cannot be a label in one"
            fail("ARC0407", message, span, help=f"try `{name}_` or another name")


def _shape(shape: tuple[int, ...] | None) -> str:
    return "is absent" if shape is None else "is [" + ", ".join(size_str(s) for s in shape) + "]"
