"""Declared shapes: matching `[B, 2*C, ...]` against real types, and naming the symbols of a block's own graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.arguments import DTYPES
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import fail
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.ir.graph import Constraint, TensorType
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size, size_str, symbol
from archlang.syntax import tree

__all__ = ["Localiser", "check_result", "declared_dtype", "declared_type", "match", "result_type"]

_CONVENTION = {
    1: ("N",),
    2: ("B", "D"),
    3: ("B", "N", "D"),
    4: ("B", "C", "H", "W"),
    5: ("B", "C", "D", "H", "W"),
}


class Localiser:
    """Replaces the symbolic sizes of a caller by symbols of the callee's own, so that one graph serves many callers.

    Equal sizes become the same symbol; `sizes` maps the symbols back to the caller's sizes.
    """

    def __init__(self, reserved: Sequence[str] = ()) -> None:
        self.sizes: dict[str, Size] = {}
        self._names: dict[Size, str] = {}
        self._reserved = set(reserved)

    def local(self, type: TensorType, declared: tree.Type | None) -> TensorType:
        sizes = zip(type.shape, _hints(type.rank, declared), strict=True)
        return TensorType(tuple([s if s.__class__ is int else self._size(s, h) for s, h in sizes]), type.dtype)

    def _size(self, size: Size, hint: str) -> Size:
        if isinstance(size, int):
            return size
        name = self._names.get(size)
        if name is None:
            hint = size.as_symbol or hint
            name, number = hint, 1
            while name in self.sizes or name in self._reserved:
                number += 1
                name = f"{hint}{number}"
            self._names[size] = name
            self.sizes[name] = size
        return symbol(name)


def _hints(rank: int, declared: tree.Type | None) -> Sequence[str]:
    usual = _CONVENTION.get(rank) or [f"D{i}" for i in range(rank)]
    if not isinstance(declared, tree.TensorTypeExpr):
        return usual
    hints, dims = list(usual), declared.dims
    at = next((i for i, d in enumerate(dims) if isinstance(d, tree.Ellipsis)), None)
    before = dims if at is None else dims[:at]
    after = () if at is None else dims[at + 1 :]
    for i, d in enumerate(before[:rank]):
        hints[i] = d.id if isinstance(d, tree.Name) else hints[i]
    for i, d in enumerate(reversed(after[-rank:] if after else ())):
        hints[rank - 1 - i] = d.id if isinstance(d, tree.Name) else hints[rank - 1 - i]
    return hints


def declared_type(cx: Activation, declared: tree.Type | None, span: Span, name: str) -> TensorType:
    """The type of a root input: unbound names become size symbols of the design."""
    if not isinstance(declared, tree.TensorTypeExpr):
        fail(
            "ARC0320",
            f"the input `{name}` of a design that stands alone needs a type",
            span,
            "no type here",
            help=f"write `{name}: [B, 3, H, W]`; names stand for sizes that are free",
        )
    shape = []
    for dim in declared.dims:
        if isinstance(dim, tree.Ellipsis):
            fail("ARC0321", "the rank of a design's input must be known", dim.span, help="write the sizes out")
        _bind_free(cx, dim)
        shape.append(_dim_value(cx, dim))
    return TensorType(tuple(shape), declared_dtype(declared))


def declared_dtype(declared: tree.TensorTypeExpr) -> str:
    """The element type that is written; "float" where none is."""
    if declared.dtype is None:
        return "float"
    found = DTYPES.get(declared.dtype)
    if found is None:
        fail(
            "ARC0322", f"`{declared.dtype}` is not an element type", declared.span, help="such as f32, bf16, i64, bool"
        )
    return "float" if found == "float32" else found


def _bind_free(cx: Activation, dim: tree.Expr) -> None:
    """Names in a declared size that nothing binds yet are new symbols."""
    stack: list[Any] = [dim]
    while stack:
        node = stack.pop()
        if isinstance(node, tree.Name):
            if cx.scope.find(node.id) is None or not _is_size(cx, node.id):
                cx.scope.bind(node.id, symbol(node.id), node.span, fixed=True, kind="size")
        elif isinstance(node, tree.Binary):
            stack += [node.left, node.right]
        elif isinstance(node, tree.Paren):
            stack.append(node.value)


def _is_size(cx: Activation, name: str) -> bool:
    binding = cx.scope.find(name)
    return binding is not None and isinstance(binding.value, (int, Dim)) and not isinstance(binding.value, bool)


def _dim_value(cx: Activation, dim: tree.Expr) -> Size:
    value = evaluate(cx, dim)
    if isinstance(value, bool) or not isinstance(value, (int, Dim)):
        fail("ARC0323", "a size must be an int", dim.span)
    return value


def match(cx: Activation, declared: tree.Type | None, type: TensorType, span: Span, what: str) -> None:
    """Checks a wire's type against a declaration, binding the names of sizes that it mentions for the first time."""
    if not isinstance(declared, tree.TensorTypeExpr):
        return
    if declared.dtype is not None and declared_dtype(declared) != type.dtype:
        fail(
            "ARC0324",
            f"{what} is declared as {declared.span.text} and is {type}",
            span,
            f"has type {type}",
            related=[(declared.span, "declared here")],
        )
    dims = declared.dims
    at = next((i for i, d in enumerate(dims) if isinstance(d, tree.Ellipsis)), None)
    if (at is None and len(dims) != type.rank) or (at is not None and len(dims) - 1 > type.rank):
        fail(
            "ARC0325",
            f"{what} is declared as {declared.span.text} and has rank {type.rank}",
            span,
            f"has type {type}",
            related=[(declared.span, "declared here")],
        )
    if at is None:
        pairs = list(zip(dims, type.shape, strict=True))
    else:
        tail = len(dims) - at - 1
        pairs = list(zip(dims[:at], type.shape, strict=False))
        pairs += list(zip(dims[at + 1 :], type.shape[type.rank - tail :], strict=True)) if tail else []
    # Plain names first, so that `[2*C, C]` finds C bound.
    for dim, size in sorted(pairs, key=lambda p: not isinstance(p[0], tree.Name)):
        _match_size(cx, dim, size, span, what, type)


def _match_size(cx: Activation, dim: tree.Expr, size: Size, span: Span, what: str, type: TensorType) -> None:
    if isinstance(dim, tree.Name) and not _is_size(cx, dim.id):
        if dim.id != "_":
            cx.scope.bind(dim.id, size, dim.span, fixed=True, kind="size")
        return
    if _solve(cx, dim, size, span, what):
        return
    wanted = _dim_value(cx, dim)
    difference = wanted - size
    if difference == 0:
        return
    if isinstance(difference, int):
        shown = dim.span.text if dim.span.text == size_str(wanted) else f"{dim.span.text} = {size_str(wanted)}"
        fail(
            "ARC0326",
            f"{what} must have {shown} where it has {size_str(size)}",
            span,
            f"has type {type}",
            related=[(dim.span, "declared here")],
        )
    assert cx.builder is not None
    reason = f"{what} is declared with {dim.span.text}"
    cx.builder.need([Constraint(size, wanted, "==", reason, dim.span, rule="language")], span)


def _solve(cx: Activation, dim: tree.Expr, size: Size, span: Span, what: str) -> bool:
    """`2*C` against 64 binds C = 32 where C is new; against H it binds H // 2, and H must be even."""
    if not (isinstance(dim, tree.Binary) and dim.op == "*"):
        return False
    for factor, unknown in ((dim.left, dim.right), (dim.right, dim.left)):
        if isinstance(unknown, tree.Name) and not _is_size(cx, unknown.id) and isinstance(factor, tree.Number):
            times = int(factor.value)
            if times < 1 or times != factor.value:
                return False
            quotient = size // times
            rest = size - quotient * times
            if isinstance(rest, int) and rest:
                fail(
                    "ARC0304",
                    f"{what} must have a multiple of {times} where it has {size_str(size)}",
                    span,
                    related=[(dim.span, "declared here")],
                )
            if rest != 0:
                assert cx.builder is not None
                reason = f"{what} is declared with {dim.span.text}"
                cx.builder.need([Constraint(size, quotient * times, "==", reason, dim.span, rule="language")], span)
            cx.scope.bind(unknown.id, quotient, unknown.span, fixed=True, kind="size")
            return True
    return False


def result_type(cx: Activation, declared: tree.Type) -> tuple[TensorType, ...]:
    """The types that an extern block declares for its results, with the sizes of this call."""
    items = declared.items if isinstance(declared, tree.TupleType) else (declared,)
    types = []
    for item in items:
        if not isinstance(item, tree.TensorTypeExpr) or any(isinstance(d, tree.Ellipsis) for d in item.dims):
            fail(
                "ARC0330", "an extern block declares the full shape of its results", item.span, help="such as [B, T, D]"
            )
        types.append(TensorType(tuple(_dim_value(cx, d) for d in item.dims), declared_dtype(item)))
    return tuple(types)


def check_result(cx: Activation, block: tree.Block, returned: Span) -> None:
    """Compares what a block returns with the type that it declares."""
    declared = block.result
    if declared is None or cx.builder is None:
        return
    outputs = [o for o in cx.builder.graph.outputs if not o.training]
    wanted = declared.items if isinstance(declared, tree.TupleType) else (declared,)
    if len(wanted) != len(outputs):
        fail(
            "ARC0331",
            f"`{block.name}` declares {_results(len(wanted))} and returns {len(outputs)}",
            returned,
            related=[(declared.span, "declared here")],
        )
    for type, output in zip(wanted, outputs, strict=True):
        name = getattr(type, "name", None)
        if (name == "tensors") != (output.kind == "tensors") and name is not None:
            kind = "a list of wires" if output.kind == "tensors" else "one wire"
            fail(
                "ARC0331",
                f"`{block.name}` declares `{name}` and returns {kind}",
                returned,
                related=[(type.span, "declared here")],
            )
        if output.kind == "tensor":
            _match_result(cx, block, type, output.values[0].type, returned)


def _results(count: int) -> str:
    return "one result" if count == 1 else f"{count} results"


def _match_result(cx: Activation, block: tree.Block, declared: tree.Type, type: TensorType, returned: Span) -> None:
    scope = cx.scope
    cx.scope = type_scope = Scope(scope)
    try:
        match(cx, declared, type, returned, f"the result of `{block.name}`")
    finally:
        cx.scope = scope
    scope.names.update({k: v for k, v in type_scope.names.items() if k not in scope.names})
