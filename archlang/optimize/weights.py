"""Changes of a network's state as data: which tensors of a trained state dict make which of the optimised network's.

A `Change` names a function of `runtime/weights.py` and the keys that it reads and writes, relative to an instance of
the graph that it belongs to. The same data is applied to a state (`convert`) and written out as text
(`codegen/conversion.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archlang.ir.graph import Attrs, Graph, Program
from archlang.ir.paths import join, shift
from archlang.records import dataclass, field

__all__ = [
    "ASSUMED", "DROP", "LOW_RANK", "MOVE", "Change", "Changes", "Loss", "Trained", "convert", "instances", "within",
]  # fmt: skip

# Functions of the state itself, which take names: MOVE of what is under one to another, DROP of what is under them.
MOVE, DROP = "move", "drop"
# Functions that lose something.
LOW_RANK, ASSUMED = "split_low_rank", "assume_zero"


@dataclass(frozen=True, slots=True)
class Change:
    """`writes` = function(*reads, **attrs), after which what was read is gone, and so is all under `drops`.

    reads: keys; None stands for an absent tensor (a layer without bias).
    """

    function: str
    reads: tuple[str | None, ...] = ()
    writes: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    attrs: Attrs = field(default_factory=dict)


Changes = Mapping[int, "list[Change]"]  # id of a graph -> its changes, in the order in which they are made


@dataclass(frozen=True, slots=True)
class Loss:
    """What an approximate pass loses of the tensor under a key.

    error: of a weight that became two layers of a rank, how far their product is from it, relative to its norm
    (Frobenius); of a buffer that is taken to be 0 (rank None), how large it is. full: the smaller side of the matrix.
    """

    key: str
    error: float
    rank: int | None = None
    full: int | None = None


def within(change: Change, prefix: str) -> Change:
    """The same change, as a graph sees it that has this one's graph under `prefix`."""
    return Change(
        change.function,
        tuple(None if key is None else join(prefix, key) for key in change.reads),
        tuple(join(prefix, key) for key in change.writes),
        tuple(join(prefix, key) for key in change.drops),
        change.attrs,
    )


def instances(program: Program) -> Iterator[tuple[str, Graph]]:
    """Every instance of every graph under its path, callers first. Iterative: nesting is unbounded."""
    stack = [("", program.root)]
    while stack:
        prefix, graph = stack.pop()
        yield prefix, graph
        for child in reversed(graph.children.values()):
            if child.graph is not None:
                places = reversed(range(child.count))
                stack.extend((join(prefix, shift(child.path, i)), child.graph) for i in places)


def convert(
    program: Program, changes: Changes, trained: Mapping[str, Any], losses: list[Loss] | None = None
) -> dict[str, Any]:
    """The optimised program's state from the trained network's. Imports torch. Raises KeyError for a missing tensor.

    losses: takes how much is lost of weights that are not kept up to rounding.
    """
    from archlang.optimize.runtime import weights as runtime

    state = dict(trained)
    for prefix, graph in instances(program):
        at = f"{prefix}." if prefix else ""
        for change in changes.get(id(graph), ()):
            function = getattr(runtime, change.function)
            if change.function in (MOVE, DROP):
                function(state, at, *change.reads, *change.writes, *change.drops)
            else:
                key = f"{at}{change.reads[0]}"
                if losses is not None and change.function == LOW_RANK:
                    error = runtime.low_rank_error(state[key], **change.attrs)
                    losses.append(Loss(key, error, change.attrs["rank"], min(state[key].flatten(1).shape)))
                elif losses is not None and change.function == ASSUMED:
                    losses.append(Loss(key, float(state[key].abs().max())))
                runtime.rewrite(state, at, function, change.reads, change.writes, change.drops, **change.attrs)
    return state


class Trained:
    """A trained state as a program has it while passes rewrite it: a pass that looks at weights asks here."""

    def __init__(self, program: Program, changes: Changes, trained: Mapping[str, Any]) -> None:
        self._program, self._changes, self._trained = program, changes, trained
        self._state: dict[str, Any] | None = None
        self._places: dict[int, list[str]] = {}

    def tensors(self, graph: Graph, key: str) -> list[Any]:
        """The tensors under a key of a graph, one for each of its instances."""
        if self._state is None:
            self._state = convert(self._program, self._changes, self._trained)
            for prefix, one in instances(self._program):
                self._places.setdefault(id(one), []).append(prefix)
        return [self._state[join(prefix, key)] for prefix in self._places[id(graph)]]
