"""The op library: importing it fills the registry. One line per file of entries, sorted."""

from archlang.ops import (
    activation,
    constant,
    conv,
    einsum,
    elementwise,
    index,
    join,
    linear,
    norm,
    pool,
    reduce,
    repeat,
    shape,
    unary,
)

__all__ = [
    "activation",
    "constant",
    "conv",
    "einsum",
    "elementwise",
    "index",
    "join",
    "linear",
    "norm",
    "pool",
    "reduce",
    "repeat",
    "shape",
    "unary",
]
