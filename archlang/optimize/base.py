"""What a pass is, and the register of all of them.

A pass is one file in `passes/`: a name, when it may run, how equal the result is, and a function that rewrites one
graph through an `Editor`. It is run until it finds nothing more, so it may stop after any rewrite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from archlang.records import dataclass

if TYPE_CHECKING:
    from archlang.optimize.edit import Editor

__all__ = ["EQUIVALENCES", "PURPOSES", "Pass", "known_passes", "rewrites"]

EQUIVALENCES = ("exact", "rounding", "approximate")  # bit for bit; up to rounding; by an error that is reported
PURPOSES = ("train", "inference")
# In the order in which they run; one file each.
_FILES = (
    "dead_code", "unread", "identities", "constants", "common", "views", "inverses", "joins", "parts", "sink",
    "scalars", "inline", "means", "fold_norm", "collapse", "through", "branches", "paths", "matrix", "low_rank",
    "blend", "order",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pass:
    """One rewrite of graphs.

    level: the lowest -O at which it runs; purposes: for training, inference or both; doc: one line for a reader; takes:
    the name of the whole number that it asks for, `name=8`, if any; within: of the number below 1 that it takes in its
    place, `name=0.1`, and then looks at trained weights; late: it runs where the others find nothing more, and after it
    these run again.
    """

    name: str
    equivalence: str
    level: int
    purposes: tuple[str, ...]
    doc: str
    run: Callable[[Editor], None]
    takes: str = ""
    within: str = ""
    late: bool = False


_PASSES: dict[str, Pass] = {}


def rewrites(
    name: str,
    *,
    equivalence: str,
    level: int,
    purposes: Sequence[str] = PURPOSES,
    takes: str = "",
    within: str = "",
    late: bool = False,
) -> Callable[[Callable[[Editor], None]], Callable[[Editor], None]]:
    """Registers the function under a name; the first line of its docstring says what it does."""
    assert equivalence in EQUIVALENCES

    def register(run: Callable[[Editor], None]) -> Callable[[Editor], None]:
        doc = (run.__doc__ or "").strip().partition("\n")[0]
        _PASSES[name] = Pass(name, equivalence, level, tuple(purposes), doc, run, takes, within, late)
        return run

    return register


def known_passes() -> dict[str, Pass]:
    """All passes by name, in the order in which they run."""
    for file in _FILES:
        import_module(f"archlang.optimize.passes.{file}")
    return _PASSES
