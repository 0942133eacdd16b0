"""The syntax tree. Every node carries its span; the whole tree is defined on this page."""

from __future__ import annotations

from typing import Union

from archlang.records import dataclass, field
from archlang.report.diagnostic import Span


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    span: Span


# -- expressions -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class Number(Node):
    """`64`, `0.5`, `1e-5`, `25_557_032`, `4.08G`, `4GiB` (suffixes are multiplied in)."""

    value: int | float


@dataclass(frozen=True, slots=True, eq=False)
class Bool(Node):
    value: bool


@dataclass(frozen=True, slots=True, eq=False)
class NoneLit(Node):
    pass


@dataclass(frozen=True, slots=True, eq=False)
class String(Node):
    """A string; `parts` alternates literal text (escapes resolved) and interpolated expressions."""

    parts: tuple[str | Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Name(Node):
    id: str


@dataclass(frozen=True, slots=True, eq=False)
class Ellipsis(Node):
    """`...` inside an index."""


@dataclass(frozen=True, slots=True, eq=False)
class Attribute(Node):
    value: Expr
    name: str
    name_span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Slice(Node):
    """`lower:upper:step` inside an index."""

    lower: Expr | None
    upper: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class Index(Node):
    """`x[i]`, `x[..., 1:, :]`."""

    value: Expr
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Argument(Node):
    """One argument of a call: `e`, `name=e`, `*e`; after `;` it is context."""

    value: Expr
    name: str | None = None
    name_span: Span | None = None
    star: bool = False
    context: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    func: Expr
    args: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Unary(Node):
    """op: "-", "not", "~" (the inverse of a module)."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Binary(Node):
    """op: + - * / // % ** @ == != < <= > >= and or in "not in". Chained comparisons become `and`."""

    op: str
    left: Expr
    right: Expr
    op_span: Span


@dataclass(frozen=True, slots=True, eq=False)
class Range(Node):
    """`lo..hi`: excludes hi in elaboration; both ends belong in a claim's interval."""

    lower: Expr
    upper: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Conditional(Node):
    """`if c then a else b`."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Star(Node):
    """`*e` in a list or tuple display."""

    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Guarded(Node):
    """`e if c` as an element of a list display: there only where c holds."""

    value: Expr
    condition: Expr


@dataclass(frozen=True, slots=True, eq=False)
class ListDisplay(Node):
    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TupleDisplay(Node):
    """`(a, b)`, `(a,)`, `(a, b; ctx)`."""

    items: tuple[Expr, ...]
    context: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Clause(Node):
    """`for target in iterable if condition`."""

    target: Target
    iterable: Expr
    conditions: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Comprehension(Node):
    element: Expr
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Paren(Node):
    """Parentheses around one expression, kept: `(y + x) -> relu` is clear, `y + x -> relu` is refused."""

    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Labelled(Node):
    """`conv1: e`, `"layer{s}": e`, `_: e`. `label` is a String (interpolated) or None for `_`."""

    label: String | None
    label_span: Span
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Flow(Node):
    """`a -> b -> c`: two or more steps."""

    steps: tuple[Expr, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Lambda(Node):
    """`fn(a, b = 2) => e`."""

    params: tuple[Param, ...]
    body: Expr


Expr = Union[
    Number, Bool, NoneLit, String, Name, Ellipsis, Attribute, Slice, Index, Call, Unary, Binary, Range, Conditional,
    Star, Guarded, ListDisplay, TupleDisplay, Comprehension, Paren, Labelled, Flow, Lambda,
]  # fmt: skip
Target = Union[Name, Index, TupleDisplay, ListDisplay, Star]  # what may stand left of `=` (and after `for`)


# -- types -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class NamedType(Node):
    """`int float bool str module block fn tensor tensors init dtype any`; `optional` for a trailing `?`."""

    name: str
    optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ListType(Node):
    """`[int]`, `[module]`, `[[int]]`: in parameter position only."""

    element: Type
    optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TupleType(Node):
    """`(int, float)`."""

    items: tuple[Type, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TensorTypeExpr(Node):
    """`[B, 3, H, W]`, `f32[B, T]`, `[..., n, D]`, `[]`: each dim an expression, or Ellipsis."""

    dtype: str | None
    dims: tuple[Expr, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ArrowType(Node):
    """`A -> B`, `A <-> B`, `A >-> B`."""

    arrow: str
    source: Type
    target: Type


Type = Union[NamedType, ListType, TupleType, TensorTypeExpr, ArrowType]


# -- statements --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class Let(Node):
    target: Target
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Assign(Node):
    """`targets = value`; op "" or one of + - * / for `+=` and so on."""

    target: Target
    op: str
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class New(Node):
    """`new s = e`: creates a stream (reversible blocks)."""

    name: str
    name_span: Span
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Weight(Node):
    """`weight w as "label": [n, d] = init, nonzero, frozen` and `buffer ...`."""

    kind: str  # "weight" | "buffer"
    name: str
    name_span: Span
    label: String | None
    type: TensorTypeExpr
    init: Expr | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class If(Node):
    condition: Expr
    then: tuple[Stmt, ...]
    otherwise: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True, eq=False)
class For(Node):
    target: Target
    iterable: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ReturnItem(Node):
    """`e`, `name=e`, `training name=e`."""

    value: Expr
    name: str | None = None
    training: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Return(Node):
    items: tuple[ReturnItem, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Emit(Node):
    """`emit name = e`: a side output that surfaces at the root, keyed by path."""

    name: str
    name_span: Span
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Assert(Node):
    """`assert condition, "message"`: checked at elaboration."""

    condition: Expr
    message: Expr | None


@dataclass(frozen=True, slots=True, eq=False)
class ExprStmt(Node):
    value: Expr


Stmt = Union[Let, Assign, New, Weight, If, For, Return, Emit, Assert, ExprStmt, "Function"]


# -- items -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class Param(Node):
    """A parameter or an input: `transparent` is `_ layers: [module]`, `context` stands after `;`, `star` is `*xs`."""

    name: str
    name_span: Span
    type: Type | None = None
    default: Expr | None = None
    transparent: bool = False
    context: bool = False
    star: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Block(Node):
    """`[reversible] block name(params)(inputs) -> result where promise { body }`, or the alias form
    `block name(params) = module`.

    `params` is None-free: a single parenthesis before a body is the inputs (`block swish(x) { ... }`), and an alias
    form has parameters only (`inputs` is then None and `alias` the expression).
    """

    name: str
    name_span: Span
    params: tuple[Param, ...]
    inputs: tuple[Param, ...] | None
    result: Type | None
    body: tuple[Stmt, ...]
    alias: Expr | None = None
    reversible: bool = False
    doc: str = ""
    where: Expr | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Fact(Node):
    """`name = e`: what an extern block declares of itself."""

    name: str
    name_span: Span
    value: Expr


@dataclass(frozen=True, slots=True, eq=False)
class Extern(Node):
    """`extern [pure] block name(params)(inputs) -> type = "module:Class" { facts }`."""

    name: str
    name_span: Span
    params: tuple[Param, ...]
    inputs: tuple[Param, ...]
    result: Type
    target: String
    pure: bool = False
    doc: str = ""
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Function(Node):
    """`fn name(params) => e` or `fn name(params) { let ...; return e }`: elaboration only."""

    name: str
    name_span: Span
    params: tuple[Param, ...]
    body: tuple[Stmt, ...]  # `=> e` is a single Return
    doc: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Use(Node):
    """`use std.init`, `use zoo.net as n`, `use .sibling: a, b as c`. Leading dots count folders up, as in Python."""

    level: int  # 0: absolute (std / zoo); 1: this folder; 2: its parent ...
    path: tuple[str, ...]
    alias: str | None
    names: tuple[tuple[str, str, Span], ...]  # (name, local name, span); empty: bind the module itself


@dataclass(frozen=True, slots=True, eq=False)
class Claim(Node):
    """One line of a `verify` block.

    kind "compare": `params == 25_557_032`, `a.params <= 0.75 * b.params` (left, op, right; op also "in");
    kind "type": `output: [B, 1000]`; kind "valid": `valid for H % 32 == 0 and H >= 32` (left is the condition);
    kind "call": `reversible(...)` (left is the call).
    """

    kind: str
    left: Expr
    op: str = ""
    right: Expr | None = None
    type: Type | None = None
    tolerance: Expr | None = None  # `params == 25.6M +- 1%` keeps the 1% here (as a fraction)


@dataclass(frozen=True, slots=True, eq=False)
class Verify(Node):
    """`verify "title" design on type, type { claims }`."""

    title: String | None
    design: Expr
    inputs: tuple[Type, ...]
    claims: tuple[Claim, ...]


Item = Union[Use, Block, Extern, Function, Let, Verify]


@dataclass(frozen=True, slots=True, eq=False)
class Module(Node):
    """A whole file."""

    items: tuple[Item, ...]
    doc: str = ""
    comments: tuple[tuple[Span, str], ...] = field(default=())
