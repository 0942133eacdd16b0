"""Elaboration: syntax tree -> typed graph. `load` a file, `elaborate` one of its blocks, `check` all of them."""

from archlang.elaborate.entry import Design, Elaborated, check, designs, distinct, elaborate
from archlang.elaborate.fragments import Fragments
from archlang.elaborate.loader import LoadedModule, load
from archlang.elaborate.session import Limits

__all__ = [
    "Design",
    "Elaborated",
    "Fragments",
    "Limits",
    "LoadedModule",
    "check",
    "designs",
    "distinct",
    "elaborate",
    "load",
]
