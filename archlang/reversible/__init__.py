"""Reversibility of graphs: the proof, the inverse that follows from it, and how rounding errors grow in it."""

from archlang.reversible.effects import total
from archlang.reversible.invert import Backwards, invert
from archlang.reversible.moves import Move, Pair
from archlang.reversible.prove import Prover, prove, proved, refusal

__all__ = ["Backwards", "Move", "Pair", "Prover", "invert", "prove", "proved", "refusal", "total"]
