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

__all__ = ["ASSUMED", "DROP", "LOW_RANK", "MOVE", "Change", "Changes", "convert", "instances", "within"]

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
    program: Program, changes: Changes, trained: Mapping[str, Any], errors: dict[str, float] | None = None
) -> dict[str, Any]:
    """The optimised program's state from the trained network's. Imports torch. Raises KeyError for a missing tensor.

    errors: takes, by key, how much is lost of weights that are not kept up to rounding.
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
                if errors is not None and change.function == LOW_RANK:
                    errors[key] = runtime.low_rank_error(state[key], **change.attrs)
                elif errors is not None and change.function == ASSUMED:
                    errors[key] = float(state[key].abs().max())
                runtime.rewrite(state, at, function, change.reads, change.writes, change.drops, **change.attrs)
    return state
