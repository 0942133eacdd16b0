"""The groups of a program: for each variable of its axes, the places in weights where its indices stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

from archlang.groups.walk import Walk
from archlang.ir.graph import Program
from archlang.ir.walk import parameters
from archlang.ops.axes import Axis, Var, arranged, count, factors, parts
from archlang.records import dataclass

__all__ = ["Group", "Groups", "Member", "find"]


@dataclass(frozen=True, slots=True)
class Member:
    """Where the indices of a group stand in dimension `dim` of the tensor `key`.

    Index c of the group stands at `offset + c * block + b` for each b below `block`, and at that place plus i * stride
    for each i below count, for each (count, stride) of `repeats`.
    """

    key: str
    dim: int
    offset: int = 0
    block: int = 1
    repeats: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        """`fc.weight[1]`; `+64` where the first index stands at 64, `*49` where an index is 49 places wide."""
        start, width = f"+{self.offset}" if self.offset else "", f"*{self.block}" if self.block > 1 else ""
        return f"{self.key}[{self.dim}]{start}{width}"

    def places(self, index: int) -> list[int]:
        """The places of one index of the group, in ascending order of the repeats."""
        shifts = [sum(steps) for steps in product(*(range(0, n * stride, stride) for n, stride in self.repeats))]
        start = self.offset + index * self.block
        return [start + shift + b for shift in shifts for b in range(self.block)]


@dataclass(frozen=True, slots=True)
class Group:
    """Indices that are reordered together.

    fixed: why they keep their places, None where they are free. held: why none can be left out, None where some can.
    measured: which norm takes statistics over them, None where none does and the rest computes what it did.
    """

    size: int
    members: tuple[Member, ...]
    fixed: str | None = None
    held: str | None = None
    measured: str | None = None

    @property
    def name(self) -> str:
        """The name of the first member: no other group's is the same."""
        return self.members[0].name

    @property
    def free(self) -> bool:
        """Whether the indices may be reordered."""
        return self.fixed is None

    @property
    def prunable(self) -> bool:
        """Whether indices may be left out: the rest then computes what it did when nobody read those."""
        return self.shrinkable and self.measured is None

    @property
    def shrinkable(self) -> bool:
        """Whether indices may be left out where norms may take their statistics over the rest."""
        return self.fixed is None and self.held is None


class Groups:
    """The groups of a program, in the order of the state dict: of `groups[i]` the variable is `variables[i]`.

    walk: the axes of all wires and weights.
    """

    def __init__(self, program: Program) -> None:
        self.walk = Walk(program)
        found: dict[int, tuple[Var, list[Member]]] = {}
        self.aliases: dict[str, str] = {}  # further keys of tensors -> the first
        for entry in parameters(program):
            if entry.alias_of is not None:
                self.aliases[entry.key] = entry.alias_of
            if entry.key not in self.walk.weights:
                continue
            for dim, axis in enumerate(self.walk.weights[entry.key]):
                for var, offset, block, repeats in _places(axis):
                    found.setdefault(id(var), (var, []))[1].append(Member(entry.key, dim, offset, block, repeats))
        self.variables = [var for var, _ in found.values()]
        self.groups = tuple(
            Group(count(var), tuple(members), var.fixed, var.held, var.measured) for var, members in found.values()
        )

    def __iter__(self) -> Iterator[Group]:
        return iter(self.groups)

    @property
    def free(self) -> list[Group]:
        """Those whose indices may be reordered."""
        return [group for group in self.groups if group.free]

    def arranged(self, picked: Callable[[int], Sequence[int] | None]) -> dict[str, list[list[int] | None]]:
        """For each tensor and each of its dimensions the old indices in their new order; None: as they are.

        picked: of a group, by its number, the indices that are kept, in their new order; None for all as they are.
        """
        chosen = {id(var): picked(i) for i, var in enumerate(self.variables)}
        tensors: dict[str, list[list[int] | None]] = {}
        for key, axes in self.walk.weights.items():
            rows = [arranged(axis, lambda var: chosen.get(id(var))) for axis in axes]
            tensors[key] = [None if row == [*range(count(axis))] else row for row, axis in zip(rows, axes, strict=True)]
        tensors.update((second, tensors[first]) for second, first in self.aliases.items() if first in tensors)
        return tensors


def find(program: Program) -> Groups:
    """The groups of a program. Needs no torch."""
    return Groups(program)


def _places(
    axis: Axis, offset: int = 0, block: int = 1, repeats: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[Var, int, int, tuple[tuple[int, int], ...]]]:
    """Each occurrence of a variable: where its first index stands, how wide an index is, and how it is repeated."""
    for piece in parts(axis):
        inner = block * count(piece)
        loops = repeats
        for factor in factors(piece) if inner else ():
            inner //= count(factor)
            if isinstance(factor, Var):
                yield factor, offset, inner, loops
            else:
                yield from _places(factor, offset, inner, loops)
            loops = (*loops, (count(factor), inner))
        offset += block * count(piece)
