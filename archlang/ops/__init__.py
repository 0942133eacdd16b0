"""The op library: importing it fills the registry. One line per file of entries, sorted."""

from archlang.ops import (
    conv,
    elementwise,
    join,
    shape,
)

__all__ = ["conv", "elementwise", "join", "shape"]
