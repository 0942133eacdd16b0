"""Rewrites of typed graphs that keep the function, or say how it changes. See docs/optimizer.md."""

from archlang.optimize.base import EQUIVALENCES, PURPOSES, Pass, known_passes
from archlang.optimize.driver import NeedsWeights, Optimized, optimize
from archlang.optimize.overwrite import overwriting

__all__ = [
    "EQUIVALENCES", "PURPOSES", "NeedsWeights", "Optimized", "Pass", "known_passes", "optimize", "overwriting",
]  # fmt: skip
