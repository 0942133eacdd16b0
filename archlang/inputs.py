"""Example inputs for a program: numbers for its free sizes that satisfy what it requires, and random tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from archlang.ir.graph import Constraint, Graph, Program, TensorType
from archlang.shapes.dim import Size, evaluate, symbols

if TYPE_CHECKING:
    import torch

__all__ = ["NoSizes", "choose_sizes", "random_inputs", "violated"]

BATCH = (2, 1, 3, 4, 8)
EXTENTS = (224, 32, 64, 128, 256, 16, 8, 299, 96, 192, 384, 512, *range(1, 513))
SEARCHED = 20_000


class NoSizes(Exception):
    """No choice was found that satisfies every requirement; `constraint` is one that stands in the way."""

    def __init__(self, constraint: Constraint | None) -> None:
        super().__init__(str(constraint))
        self.constraint = constraint


def choose_sizes(graph: Graph, given: Mapping[str, int]) -> dict[str, int]:
    """A number for every free size of the inputs: 2 for a batch, 224 or another usual one for extents.

    Raises NoSizes where nothing fits beside what is given.
    """
    names = list(dict.fromkeys(name for t in _input_types(graph) for size in t.shape for name in _ordered(size)))
    names += [name for name in graph.symbols if name not in names]
    free = [name for name in names if name not in given]
    first = next((t.shape[0] for t in _input_types(graph) if t.rank > 1), None)
    batch = [name for name in free if first is not None and symbols(first) == {name}]
    extents = [name for name in free if name not in batch]
    search = _Search(graph, {**dict.fromkeys(batch, BATCH), **dict.fromkeys(extents, EXTENTS)})
    found = search.equal(dict(given), extents) or search.each(dict(given), [*batch, *extents])
    if found is None:
        raise NoSizes(search.blame)
    return {name: found[name] for name in names}


def violated(graph: Graph, sizes: Mapping[str, int], phase: str = "eval") -> Constraint | None:
    """The first requirement of a phase, "eval" or "train", that the sizes break."""
    for constraint in graph.constraints:
        if constraint.phase not in (None, phase):
            continue
        if constraint.symbols <= sizes.keys() and not constraint.holds(sizes):
            return constraint
    return None


def random_inputs(program: Program, sizes: Mapping[str, int], device: str = "cpu") -> list[Any]:
    """A tensor (for a `tensors` input a list of them) for each input, from torch's generator. Imports torch.

    Floats are normal, integers small enough to index every embedding of the program.
    """
    below = _index_bound(program)

    def one(type: TensorType) -> torch.Tensor:
        import torch

        shape = [evaluate(size, sizes) for size in type.shape]
        if type.dtype == "bool":
            return torch.rand(shape, device=device) < 0.5
        dtype = torch.get_default_dtype() if type.dtype == "float" else getattr(torch, type.dtype)
        if dtype.is_floating_point:
            return torch.randn(shape, device=device).to(dtype)
        return torch.randint(0, min(below, 128), shape, device=device).to(dtype)

    return [
        [one(v.type) for v in port.values] if port.kind == "tensors" else one(port.values[0].type)
        for port in program.root.inputs
    ]


class _Search:
    """Tries likely sizes in order, within a budget; remembers the first requirement that stood in the way."""

    def __init__(self, graph: Graph, choices: Mapping[str, tuple[int, ...]]) -> None:
        self.graph = graph
        self.choices = choices
        self.blame: Constraint | None = None
        self.budget = SEARCHED
        self.extents = {n for v in graph.values for n in v.type.shape if not isinstance(n, int)}

    def fits(self, sizes: Mapping[str, int]) -> bool:
        self.budget -= 1
        broken = violated(self.graph, sizes)
        self.blame = self.blame or broken
        return broken is None and self.positive(sizes)

    def positive(self, sizes: Mapping[str, int]) -> bool:
        """Whether every tensor of the root has elements: requirements aside, an example should not be empty."""
        return all(evaluate(n, sizes) > 0 for n in self.extents if symbols(n) <= sizes.keys())

    def equal(self, sizes: dict[str, int], extents: list[str]) -> dict[str, int] | None:
        """All extents equal, as images mostly are."""
        for n in EXTENTS if extents else (0,):
            same = {**sizes, **dict.fromkeys(extents, n)}
            if self.fits(same):
                found = self.each(same, [name for name in self.choices if name not in same])
                if found is not None:
                    return found
        return None

    def each(self, sizes: dict[str, int], free: list[str]) -> dict[str, int] | None:
        """One after the other, each against what can be decided so far."""
        if not free:
            return sizes if self.fits(sizes) else None
        name, *rest = free
        for n in self.choices[name]:
            if self.budget <= 0:
                return None
            more = {**sizes, name: n}
            if self.fits(more):
                found = self.each(more, rest)
                if found is not None:
                    return found
        return None


def _input_types(graph: Graph) -> list[TensorType]:
    return [value.type for value in graph.entries]


def _ordered(size: Size) -> Iterable[str]:
    return sorted(symbols(size))


def _index_bound(program: Program) -> int:
    found = [
        attrs["num_embeddings"]
        for graph in program.graphs
        for attrs in (*(n.attrs for n in graph.nodes), *(c.attrs for c in graph.children.values()))
        if isinstance(attrs.get("num_embeddings"), int)
    ]
    return max(min(found, default=128), 1)
