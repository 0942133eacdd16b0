"""`weight` and `buffer` declarations."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.arguments import DTYPES
from archlang.elaborate.builder import check_label
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import Wire, describe
from archlang.ir.graph import Init, TensorType, WeightDecl
from archlang.ops.base import OpError
from archlang.ops.init import as_init, check
from archlang.shapes.dim import Dim
from archlang.syntax import tree

__all__ = ["declare_weight"]


def declare_weight(cx: Activation, stmt: tree.Weight) -> Wire:
    """Adds the tensor to the graph at hand and gives the wire that reads it."""
    builder = cx.graph_builder(stmt.span)
    shape = tuple(_extent(cx, dim, stmt) for dim in stmt.type.dims)
    dtype = DTYPES.get(stmt.type.dtype or "float", "")
    if not dtype:
        fail("ARC0322", f"`{stmt.type.dtype}` is not an element type", stmt.type.span)
    init = _initialiser(cx, stmt, shape)
    if stmt.label is not None:
        path = evaluate(cx, stmt.label)
        span = stmt.label.span
        check_label(path, span)
        builder.reserve(path, span)
    else:
        span = stmt.name_span
        path = builder.free_path(stmt.name, span) if builder.iterations else stmt.name
        check_label(path, span)
        builder.reserve(path, span)
    kind = "parameter" if stmt.kind == "weight" else "buffer"
    trainable = kind == "parameter" and "frozen" not in stmt.flags
    constraint = "nonzero" if "nonzero" in stmt.flags else None
    persistent = "transient" not in stmt.flags
    builder.graph.weights[path] = WeightDecl(path, shape, init, dtype, kind, trainable, persistent, constraint, span)
    type = TensorType(shape, dtype)
    phase, builder.phase = builder.phase, None  # weights exist in both phases
    (wire,) = builder.node("weight", (), (type,), stmt.span, {}, path=path)
    builder.phase = phase
    wire.value.name = stmt.name
    return wire


def _extent(cx: Activation, dim: tree.Expr, stmt: tree.Weight) -> int:
    if isinstance(dim, tree.Ellipsis):
        fail("ARC0329", "every extent of a weight must be written", dim.span)
    value: Any = evaluate(cx, dim)
    if isinstance(value, Dim):
        fail(
            "ARC0305",
            f"the extent of a weight must be a number, and {value} is symbolic",
            dim.span,
            help="declare the size as a number in the input's type, or reduce over that dimension",
        )
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        fail(
            "ARC0323",
            f"an extent is a whole number, not {value if isinstance(value, int) else describe(value)}",
            dim.span,
        )
    return value


def _initialiser(cx: Activation, stmt: tree.Weight, shape: tuple[int, ...]) -> Init:
    if stmt.init is None:
        fail(
            "ARC0285",
            f"`{stmt.name}` needs an initial value",
            stmt.span,
            help="such as `= zeros`, `= 0.5`, `= normal(std=0.02)`",
        )
    value = evaluate(cx, stmt.init)
    init = as_init(value)
    if init is None:
        fail("ARC0201", f"an initial value is a number or an initialiser, not {describe(value)}", stmt.init.span)
    try:
        check(init, shape)
    except OpError as error:
        fail(error.code, error.message, stmt.init.span, help=error.help)
    return init
