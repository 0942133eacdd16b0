"""The op library: importing it fills the registry. One line per file of entries, sorted."""

from archlang.ops import (
    activation,
    conv,
    elementwise,
    join,
    linear,
    norm,
    pool,
    shape,
)

__all__ = ["activation", "conv", "elementwise", "join", "linear", "norm", "pool", "shape"]
