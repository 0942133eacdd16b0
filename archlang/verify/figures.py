"""The quantities that a claim can name: how each is computed from a program, and which of its parts make it up.

Figures are exact, and symbolic in the program's free sizes. Those that grow with the batch are of one example: where
the batch is a free size, it is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, TypeVar, Union

from archlang.ir.externs import cost_is_stated, figure, parameters_of
from archlang.ir.graph import Child, Graph, Node, Program, WeightDecl
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.shapes.dim import Size, substitute, symbol, symbols, with_all

if TYPE_CHECKING:
    from archlang.analyze import Cost
    from archlang.analyze.transfer import Algebra

__all__ = ["FIGURES", "Figure", "Measured", "Part", "Unknown", "amount"]


P = TypeVar("P")


class Unknown(Exception):
    """The figure cannot be told; the text says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum over weights, a sum over operations, or what `whole` finds. unit: "" or "bytes"."""

    name: str
    what: str
    of_weight: Callable[[WeightDecl], int] | None = None
    of_node: Callable[[Node], Size] | None = None
    whole: Callable[[Measured], Size] | None = None
    block: str = ""  # for `whole`: the attribute of the cost tree's blocks that it is the sum of
    parts: Callable[[Measured], list[tuple[str, Size]]] | None = None  # for `whole`: what it is the sum of
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A child, or operations without weights, of the block that is looked at."""

    name: str
    size: Size


_Item = Union[Child, Node, str]  # str: the path of a weight that the graph declares
_Row = tuple[_Item, Size]


class Measured:
    """The figures of one program; each is computed once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.totals: dict[str, dict[int, Size]] = {}

    @cached_property
    def sizes(self) -> dict[str, Size]:
        """Of every symbol of the program's root, what the design's types say of it."""
        root, given = self.program.root, self.program.given
        return {name: given.get(name, symbol(name)) for name in root.symbols}

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The free sizes, as they are called in the design's types (the `h` of `16*h`)."""
        return tuple(dict.fromkeys(name for size in self.sizes.values() for name in sorted(symbols(size))))

    @cached_property
    def batch(self) -> str | None:
        """The symbol of the batch: the first size of the first input, where that is a free size."""
        shapes = (v.type.shape for v in self.program.root.entries)
        first = self.declared(next((shape[0] for shape in shapes if shape), 1))
        return None if isinstance(first, int) else first.as_symbol

    def declared(self, size: Size) -> Size:
        """A size of the root's in terms of the free sizes."""
        return substitute(size, self.sizes)

    def single(self, size: Size) -> Size:
        """A size in terms of the free sizes, for one example."""
        return size if self.batch is None else substitute(size, {self.batch: 1})

    @cached_property
    def example(self) -> dict[str, Size]:
        """Of every symbol of the root, what it is for one example."""
        return {name: self.single(size) for name, size in self.sizes.items()}

    @cached_property
    def cost(self) -> Cost:
        """All other figures. Raises Unknown where an extern block hides what it needs."""
        from archlang.analyze import cost

        for graph in self.program.graphs:
            for node in graph.nodes:
                _counted(node)
        return cost(self.program, {name: n for name, n in self.example.items() if isinstance(n, int)})

    def longest(self, algebra: Algebra[P]) -> P | None:
        """The longest path, in an algebra of the cost model."""
        from archlang.analyze.plan import Plans
        from archlang.analyze.transfer import Transfer

        return Transfer(Plans(), algebra).total(self.program.root, self.example)

    def value(self, figure: Figure) -> Size:
        """The figure of the whole program. Raises Unknown."""
        if figure.whole is not None:
            return figure.whole(self)
        return substitute(self._totals(figure)[id(self.program.root)], self.example)

    # -- what makes it up ----------------------------------------------------------------------------------------------
    def parts(self, figure: Figure) -> list[Part]:
        """Largest first; [] where the figure is no sum. What is the whole of a block is looked into."""
        if figure.whole is not None:
            return self._from_tree(figure)
        graph, prefix, sizes = self.program.root, "", self.example
        while True:
            rows = [(item, substitute(size, sizes)) for item, size in self._rows(graph, figure)]
            found = [row for row in rows if row[1] != 0]
            inner = _inner(found[0][0]) if len(found) == 1 else None
            if inner is None:
                return _merged(prefix, [(_name(item), size) for item, size in found])
            prefix = f"{prefix}{_name(found[0][0])}."
            graph = inner[0]
            sizes = {name: substitute(size, sizes) for name, size in inner[1].items()}

    def trail(self, algebra: Algebra[P], measure: Callable[[P], int]) -> list[tuple[str, Size]]:
        """The nodes on the path that measures most, in an algebra of the cost model, and how much each adds."""
        from archlang.analyze.plan import Plans
        from archlang.analyze.transfer import Transfer

        steps = Transfer(Plans(), algebra).trail(self.program.root, self.example, measure)
        return [(_name(n) if n.path is not None else n.op, size) for n, size in steps]

    def _from_tree(self, figure: Figure) -> list[Part]:
        if figure.parts is not None:
            return _merged("", [row for row in figure.parts(self) if row[1] != 0])
        if not figure.block:
            return []
        rows = [(b.name or b.kind, substitute(getattr(b, figure.block), self.example)) for b in self.cost.tree.children]
        return _merged("", [row for row in rows if row[1] != 0])

    # -- sums ----------------------------------------------------------------------------------------------------------
    def _totals(self, figure: Figure) -> dict[int, Size]:
        """The figure of every graph, in its own symbols: each is summed once, runs are multiplied."""
        if figure.name not in self.totals:
            totals = self.totals[figure.name] = {}
            for graph in self.program.graphs:
                totals[id(graph)] = sum((size for _, size in self._rows(graph, figure)), start=0)
        return self.totals[figure.name]

    def _rows(self, graph: Graph, figure: Figure) -> Iterable[_Row]:
        totals = self.totals[figure.name]
        if figure.of_weight is not None:
            yield from _weight_rows(graph, figure.of_weight, totals)
        elif figure.of_node is not None:
            for node in graph.nodes:
                if node.phase != "train":
                    yield node, _of_node(node, figure.of_node, totals)


def _weight_rows(graph: Graph, of: Callable[[WeightDecl], int], totals: Mapping[int, Size]) -> Iterable[_Row]:
    for path, decl in graph.weights.items():
        yield path, of(decl)
    for child in graph.children.values():
        if child.op == "extern":
            stated = parameters_of(child.attrs)
            if stated is None:
                raise Unknown(f"the weights of `{child.path}`, which is an extern block, are not known")
            yield child, of(WeightDecl("params", (stated,)))
            continue
        one = totals[id(child.graph)] if child.graph is not None else sum(of(decl) for decl in child.weights)
        yield child, one * child.count


def _of_node(node: Node, of: Callable[[Node], Size], totals: Mapping[int, Size]) -> Size:
    if node.callee is None:
        return of(node)
    return substitute(totals[id(node.callee)], node.sizes) * node.count


def _inner(item: _Item) -> tuple[Graph, Mapping[str, Size]] | None:
    """The graph that a single child or call stands for, and the sizes of its symbols there."""
    if isinstance(item, str) or item.count != 1:
        return None
    if isinstance(item, Node):
        return (item.callee, item.sizes) if item.callee is not None else None
    return (item.graph, {n: symbol(n) for n in item.graph.symbols}) if item.graph is not None else None


def _name(item: _Item) -> str:
    if isinstance(item, str):
        return item
    if item.path is None:
        return item.op
    first, *rest = item.paths
    return f"{first}..{rest[-1].rpartition('.')[2]}" if rest else first


def _merged(prefix: str, rows: Iterable[tuple[str, Size]]) -> list[Part]:
    total: dict[str, Size] = {}
    for name, size in rows:
        total[name] = total.get(name, 0) + size
    parts = [Part(prefix + name, size) for name, size in total.items()]
    return sorted(parts, key=lambda part: (-_rough(part.size), part.name))


def _rough(size: Size) -> int:
    """An order for symbolic sizes: their value where every free size is large."""
    return with_all(size, 224)


def _counted(node: Node) -> None:
    if node.op == "extern" and not cost_is_stated(node.attrs):
        raise Unknown(f"what `{node.path}`, which is an extern block, computes is not known")


def _of_op(node: Node, method: str) -> Size:
    if node.op == "extern" and "macs" in node.attrs:
        return (figure(node.attrs, "macs") or 0) * (1 if method == "macs" else 2)
    _counted(node)
    entry = registry().get(node.op)
    if entry is None:  # `weight` and `phase` compute nothing
        return 0
    size: Size = getattr(entry, method)([v.type for v in node.inputs], [v.type for v in node.outputs], node.attrs)
    return size


# -- the list ----------------------------------------------------------------------------------------------------------
def _parameters(decl: WeightDecl) -> int:
    return prod(decl.shape) if decl.kind == "parameter" else 0


def _saved(of: Measured) -> Size:
    if of.cost.uncounted:
        names = ", ".join(f"`{name}`" for name in of.cost.uncounted)
        raise Unknown(f"what autograd keeps of {names} is not known")
    return substitute(of.cost.saved, of.example)


def _peak(of: Measured) -> Size:
    options = of.cost.peak.options
    if len(options) != 1:
        raise Unknown("which moment needs the most memory depends on the free sizes")
    return substitute(options[0], of.example)


def _live(of: Measured) -> list[tuple[str, Size]]:
    from archlang.analyze import at_peak

    found = at_peak(of.program, {name: n for name, n in of.example.items() if isinstance(n, int)})
    return [(name, substitute(size, of.example)) for name, size in found]


def _depth(of: Measured) -> Size:
    from archlang.analyze.paths import Depth

    return of.longest(Depth()) or 0


def _field(of: Measured) -> Size:
    from archlang.analyze.paths import Field

    reach = of.longest(Field())
    sizes = [window.size for window in reach.windows] if reach is not None else []
    if not sizes:
        raise Unknown("no operation of this design has a receptive field")
    if len(set(sizes)) > 1:
        raise Unknown(f"the receptive field is {' x '.join(map(str, sizes))}, which is not one number")
    return sizes[0]


def _layers(of: Measured) -> list[tuple[str, Size]]:
    from archlang.analyze.paths import Depth

    return of.trail(Depth(), lambda depth: depth)


def _reach(of: Measured) -> list[tuple[str, Size]]:
    from archlang.analyze.paths import Field

    return of.trail(Field(), lambda reach: max((int(w.size) for w in reach.windows), default=1))


FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("params", "parameters", _parameters),
        Figure("trainable_params", "trainable parameters", lambda d: _parameters(d) if d.trainable else 0),
        Figure("frozen_params", "frozen parameters", lambda d: 0 if d.trainable else _parameters(d)),
        Figure("buffers", "scalars in buffers", lambda d: prod(d.shape) if d.kind == "buffer" else 0),
        Figure("macs", "multiply-accumulates", of_node=lambda node: _of_op(node, "macs")),
        Figure("flops", "floating-point operations", of_node=lambda node: _of_op(node, "flops")),
        Figure("train_memory", "kept for the backward pass", whole=_saved, block="saved", unit="bytes"),
        Figure("infer_memory", "of activations at one time, at most", whole=_peak, parts=_live, unit="bytes"),
        Figure("receptive_field", "pixels across", whole=_field, parts=_reach),
        Figure("depth", "layers with weights on the longest path", whole=_depth, parts=_layers),
    )
}


def amount(size: Size, unit: str = "") -> str:
    """A figure as it is printed: digits in groups; bytes with their binary unit too."""
    if not isinstance(size, int):
        return str(size)
    if unit == "bytes":
        for scale, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
            if abs(size) >= 1 << scale:
                return f"{size / (1 << scale):.2f} {name} ({size:,} bytes)"
        return f"{size:,} bytes"
    return f"{size:,}"
