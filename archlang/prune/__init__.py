"""A smaller network: indices of groups left out, in the typed graph and in a trained state."""

from archlang.prune.choose import by_ratio, by_table
from archlang.prune.shrink import Unprunable, shrink

__all__ = ["Unprunable", "by_ratio", "by_table", "shrink"]
