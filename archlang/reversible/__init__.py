"""Reversibility of graphs: the proof, the inverse that follows from it, and how rounding errors grow in it."""

from archlang.reversible.effects import total
from archlang.reversible.invert import Backwards, invert, may_vanish
from archlang.reversible.log_det import Measure, adds_log_det, with_log_det
from archlang.reversible.moves import Move, Pair
from archlang.reversible.prove import Prover, Replay, prove, proved, refusal
from archlang.reversible.regions import METHODS, concerned, rebuildable, region_from, uses
from archlang.reversible.runs import runs

__all__ = [
    "METHODS",
    "Backwards",
    "Measure",
    "Move",
    "Pair",
    "Prover",
    "Replay",
    "adds_log_det",
    "concerned",
    "invert",
    "may_vanish",
    "prove",
    "proved",
    "rebuildable",
    "refusal",
    "region_from",
    "runs",
    "total",
    "uses",
    "with_log_det",
]
