"""The builder's part for types. `[int]` is a list where its element names a type, else `[n]` is a tensor's shape."""

from __future__ import annotations

from archlang.report.diagnostic import Span
from archlang.syntax import tree
from archlang.syntax.build_expr import ExpressionBuilder
from archlang.syntax.tokens import Token

__all__ = ["DTYPES", "TYPE_NAMES", "TypeBuilder"]

_NAMES = "int float bool str module block fn tensor tensors init dtype any"
_DTYPES = "f64 f32 f16 bf16 i64 i32 i16 i8 u8 bool int float"
TYPE_NAMES = frozenset(_NAMES.split())
DTYPES = frozenset(_DTYPES.split())
Dim = tree.Expr | tree.NamedType | tree.ArrowType  # what stands between brackets


class TypeBuilder(ExpressionBuilder):
    def make_named_type(self, span: Span, name: Token, optional: Token | None) -> tree.NamedType:
        return tree.NamedType(span, name.text, optional is not None)

    def make_arrow_type(self, span: Span, source: tree.Type, arrow: Token, target: tree.Type) -> tree.ArrowType:
        return tree.ArrowType(span, arrow.text, source, target)

    def make_tuple_type(self, span: Span, *items: tree.Type) -> tree.Type:
        return items[0] if len(items) == 1 else tree.TupleType(span, items)

    def make_tensor_type(
        self,
        span: Span,
        dtype: Token | None,
        dims: tuple[Dim, ...] | None,
        optional: Token | None,
    ) -> tree.TensorTypeExpr | tree.ListType:
        question = optional is not None
        if dtype is None and dims is not None and len(dims) == 1:
            element = _as_type(dims[0], listed=True)
            if element is not None:
                return tree.ListType(span, element, question)
        sizes: list[tree.Expr] = []
        for dim in dims or ():
            if isinstance(dim, (tree.NamedType, tree.ArrowType)):
                self.report("ARC0038", f"`{dim.span.text}` is a type, and a shape is made of sizes", dim.span)
            else:
                sizes.append(dim)
        return tree.TensorTypeExpr(span, dtype.text if dtype else None, tuple(sizes), question)

    def make_dims(self, span: Span, *dims: Dim) -> tuple[Dim, ...]:
        return dims

    def make_optional_dim(self, span: Span, name: Token, question: Token) -> tree.NamedType:
        return tree.NamedType(span, name.text, True)

    def make_fn_dim(self, span: Span, word: Token) -> tree.NamedType:
        return tree.NamedType(span, "fn")

    def make_arrow_dim(self, span: Span, source: tree.Expr, arrow: Token, target: tree.Type) -> tree.ArrowType:
        left = tree.NamedType(source.span, source.id) if isinstance(source, tree.Name) else _as_type(source, True)
        if left is None:
            message = f"`{source.span.text}` is a size, and `{arrow.text}` stands between types"
            self.report("ARC0038", message, source.span)
        return tree.ArrowType(span, arrow.text, left or target, target)


def _as_type(value: Dim, listed: bool) -> tree.Type | None:
    """The type that an expression between brackets means, or None where it is a size."""
    match value:
        case tree.NamedType() | tree.ArrowType():
            return value
        case tree.Name(span=span, id=name) if name in TYPE_NAMES:
            return tree.NamedType(span, name)
        case tree.ListDisplay(span=span, items=items):
            inner = _as_type(items[0], True) if len(items) == 1 else None
            return tree.ListType(span, inner) if inner is not None else tree.TensorTypeExpr(span, None, items)
        case tree.Index(span=span, value=tree.Name(id=name), items=items) if name in DTYPES:
            return tree.TensorTypeExpr(span, name, items)
        case tree.TupleDisplay(span=span, items=items):
            types = [_as_type(item, True) for item in items]
            return tree.TupleType(span, tuple(t for t in types if t is not None)) if all(types) else None
        case tree.Paren(value=inner_value):
            return _as_type(inner_value, True)
        case _:
            return None
