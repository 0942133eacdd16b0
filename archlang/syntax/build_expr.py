"""The builder's part for expressions and types: one method per grammar rule or alias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from archlang.report.diagnostic import Diagnostic, Fix, Label, Source, Span
from archlang.syntax import tree
from archlang.syntax.literals import number_value, string_parts
from archlang.syntax.tokens import Token

__all__ = ["ExpressionBuilder"]

Interpolation = Callable[[int, int], "tree.Expr | None"]
_UNCLEAR = (tree.Binary, tree.Range, tree.Conditional)


class ExpressionBuilder:
    """Makes nodes from the children of a rule. Mistakes that the grammar cannot see are reported, and a node made."""

    def __init__(self, source: Source, found: list[Diagnostic], interpolation: Interpolation) -> None:
        self.source = source
        self.found = found
        self.interpolation = interpolation

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def report(
        self,
        code: str,
        message: str,
        span: Span,
        help: str | None = None,
        fix: Fix | None = None,
        related: tuple[Label, ...] = (),
    ) -> None:
        self.found.append(Diagnostic(code, message, span, help=help, fix=fix, related=related))

    # -- literals --------------------------------------------------------------------------------------------------
    def make_number(self, span: Span, token: Token) -> tree.Number:
        value = number_value(token.text)
        if value is None:
            self.report("ARC0028", "this number is too large", span, help="numbers go up to about 1e308")
            value = 0
        return tree.Number(span, value)

    def make_true(self, span: Span) -> tree.Bool:
        return tree.Bool(span, True)

    def make_false(self, span: Span) -> tree.Bool:
        return tree.Bool(span, False)

    def make_none(self, span: Span) -> tree.NoneLit:
        return tree.NoneLit(span)

    def make_string(self, span: Span, token: Token) -> tree.String:
        return self.string(token)

    def string(self, token: Token) -> tree.String:
        span = self.span(token)
        return tree.String(span, string_parts(self.source, token, self.found, self.interpolation))

    def make_name(self, span: Span, token: Token) -> tree.Name:
        return tree.Name(span, token.text)

    def make_ellipsis(self, span: Span) -> tree.Ellipsis:
        return tree.Ellipsis(span)

    # -- operators -------------------------------------------------------------------------------------------------
    def make_binary(self, span: Span, left: tree.Expr, op: Token, right: tree.Expr) -> tree.Binary:
        return tree.Binary(span, op.text, left, right, self.span(op))

    def make_unary(self, span: Span, op: Token, operand: tree.Expr) -> tree.Unary:
        return tree.Unary(span, op.text, operand)

    def make_compare_op(self, span: Span, *words: Token) -> Token:
        text = " ".join(word.text for word in words)
        return Token(text, text, words[0].start, words[-1].end)

    def make_compare(self, span: Span, first: tree.Expr, *rest: Any) -> tree.Expr:
        """`a < b < c` is `a < b and b < c`; elaboration is pure, so that `b` may be read twice."""
        left = first
        result: tree.Expr | None = None
        for op, right in zip(rest[::2], rest[1::2], strict=True):
            one = tree.Binary(left.span.to(right.span), op.text, left, right, self.span(op))
            result = one if result is None else tree.Binary(result.span.to(one.span), "and", result, one, one.op_span)
            left = right
        return cast(tree.Expr, result)

    def make_range(self, span: Span, lower: tree.Expr, upper: tree.Expr) -> tree.Range:
        return tree.Range(span, lower, upper)

    def make_conditional(
        self, span: Span, condition: tree.Expr, then: tree.Expr, otherwise: tree.Expr
    ) -> tree.Conditional:
        return tree.Conditional(span, condition, then, otherwise)

    def make_lambda(self, span: Span, params: tuple[tree.Param, ...], body: tree.Expr) -> tree.Lambda:
        return tree.Lambda(span, params, body)

    # -- flows -----------------------------------------------------------------------------------------------------
    def make_flow(self, span: Span, *steps: tree.Expr) -> tree.Flow:
        for step in steps:
            value = step.value if isinstance(step, tree.Labelled) else step
            if isinstance(value, _UNCLEAR) or (isinstance(value, tree.Unary) and value.op == "not"):
                text = value.span.text
                shown = text if len(text) <= 40 and "\n" not in text else "..."
                self.report(
                    "ARC0030",
                    f"it is unclear what flows here: `->` binds looser than `{_operator(value)}`",
                    value.span,
                    help=f"write `({shown})`",
                    fix=Fix(value.span, f"({text})"),
                )
        return tree.Flow(span, steps)

    def make_label(self, span: Span, token: Token) -> tuple[tree.String | None, Span]:
        if token.type == "STRING":
            return self.string(token), span
        return (None if token.text == "_" else tree.String(span, (token.text,))), span

    def make_labelled(self, span: Span, label: tuple[tree.String | None, Span], value: tree.Expr) -> tree.Labelled:
        return tree.Labelled(span, label[0], label[1], value)

    # -- postfix ---------------------------------------------------------------------------------------------------
    def make_attribute(self, span: Span, value: tree.Expr, name: Token) -> tree.Attribute:
        return tree.Attribute(span, value, name.text, self.span(name))

    def make_call(self, span: Span, func: tree.Expr, arguments: tuple[tree.Argument, ...]) -> tree.Call:
        return tree.Call(span, func, arguments)

    def make_arguments(
        self, span: Span, args: tuple[tree.Argument, ...] | None, context: tuple[tree.Argument, ...] | None
    ) -> tuple[tree.Argument, ...]:
        return (args or ()) + (context or ())

    def make_args(self, span: Span, *args: tree.Argument) -> tuple[tree.Argument, ...]:
        named: dict[str, Span] = {}
        for arg in args:
            if arg.name is not None and arg.name_span is not None:
                if arg.name in named:
                    first = (Label(named[arg.name], "first given here"),)
                    self.report("ARC0033", f"`{arg.name}` is given twice", arg.name_span, related=first)
                named[arg.name] = arg.name_span
            elif named and not arg.star:
                self.report(
                    "ARC0033",
                    "an argument without a name comes after one with a name",
                    arg.span,
                    help="move it in front, or give it its name",
                )
        return args

    def make_context_args(self, span: Span, args: tuple[tree.Argument, ...]) -> tuple[tree.Argument, ...]:
        return tuple(tree.Argument(a.span, a.value, a.name, a.name_span, a.star, True) for a in args)

    def make_arg(self, span: Span, value: tree.Expr) -> tree.Argument:
        return tree.Argument(span, value)

    def make_named_arg(self, span: Span, name: Token, value: tree.Expr) -> tree.Argument:
        return tree.Argument(span, value, name.text, self.span(name))

    def make_star_arg(self, span: Span, value: tree.Expr) -> tree.Argument:
        return tree.Argument(span, value, star=True)

    def make_index(self, span: Span, value: tree.Expr, items: tuple[tree.Expr, ...]) -> tree.Index:
        return tree.Index(span, value, items)

    def make_index_items(self, span: Span, *items: tree.Expr) -> tuple[tree.Expr, ...]:
        return items

    def make_slice(
        self, span: Span, lower: tree.Expr | None, upper: tree.Expr | None, step: tuple[tree.Expr | None] | None
    ) -> tree.Slice:
        return tree.Slice(span, lower, upper, step[0] if step else None)

    def make_slice_step(self, span: Span, value: tree.Expr | None) -> tuple[tree.Expr | None]:
        return (value,)

    # -- displays --------------------------------------------------------------------------------------------------
    def make_paren(self, span: Span, value: tree.Expr) -> tree.Paren:
        return tree.Paren(span, value)

    def make_tuple(self, span: Span, *parts: Any) -> tree.TupleDisplay:
        items: list[tree.Expr] = []
        context: tuple[tree.Expr, ...] = ()
        for part in parts:
            if isinstance(part, _Context):
                context = tuple(part)
            elif isinstance(part, tuple):
                items.extend(part)
            elif part is not None:
                items.append(part)
        return tree.TupleDisplay(span, tuple(items), context)

    def make_elements(self, span: Span, *items: tree.Expr) -> tuple[tree.Expr, ...]:
        return items

    def make_context(self, span: Span, items: tuple[tree.Expr, ...]) -> _Context:
        return _Context(items)

    def make_bare_tuple(self, span: Span, *items: tree.Expr) -> tree.TupleDisplay:
        return tree.TupleDisplay(span, items)

    def make_star(self, span: Span, value: tree.Expr) -> tree.Star:
        return tree.Star(span, value)

    def make_list(self, span: Span, items: tuple[tree.Expr, ...] | None) -> tree.ListDisplay:
        return tree.ListDisplay(span, items or ())

    def make_list_items(self, span: Span, *items: tree.Expr) -> tuple[tree.Expr, ...]:
        return items

    def make_guarded(self, span: Span, value: tree.Expr, condition: tree.Expr) -> tree.Guarded:
        return tree.Guarded(span, value, condition)

    def make_comprehension(self, span: Span, element: tree.Expr, *clauses: tree.Clause) -> tree.Comprehension:
        return tree.Comprehension(span, element, clauses)

    def make_clause(self, span: Span, target: tree.Expr, iterable: tree.Expr, *conditions: tree.Expr) -> tree.Clause:
        return tree.Clause(span, self.target(target), iterable, conditions)

    def target(self, value: tree.Expr) -> tree.Target:
        """Check that an expression may stand left of `=`."""
        stack: list[tree.Expr] = [value]
        while stack:
            part = stack.pop()
            if isinstance(part, (tree.TupleDisplay, tree.ListDisplay)):
                stack.extend(part.items)
            elif isinstance(part, tree.Star):
                stack.append(part.value)
            elif not isinstance(part, (tree.Name, tree.Index)):
                self.report(
                    "ARC0031",
                    "nothing can be assigned to this",
                    part.span,
                    help="left of `=` stands a name, `xs[i]`, or a tuple of such; `==` compares",
                )
        return cast(tree.Target, value)


class _Context(tuple[Any, ...]):
    """The elements after `;`."""


def _operator(value: tree.Expr) -> str:
    match value:
        case tree.Binary(op=op):
            return op
        case tree.Range():
            return ".."
        case tree.Conditional():
            return "if ... then ... else"
        case _:
            return "not"
