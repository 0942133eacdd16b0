"""The builder's part for types, statements and items: one method per grammar rule or alias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archlang.report.diagnostic import Label, Span
from archlang.syntax import tree
from archlang.syntax.build_expr import ExpressionBuilder
from archlang.syntax.build_type import TypeBuilder
from archlang.syntax.docs import Docs
from archlang.syntax.suggest import closest
from archlang.syntax.tokens import Token

__all__ = ["Builder"]

_FLAGS = ("nonzero", "frozen")
_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))


class Builder(TypeBuilder, ExpressionBuilder):
    """Every rule's action; `docs` knows which doc comment stands before which line."""

    docs: Docs

    def actions(self) -> dict[str, Callable[..., Any]]:
        return {name[5:]: getattr(self, name) for name in dir(self) if name.startswith("make_")}

    # -- items -----------------------------------------------------------------------------------------------------
    def make_module(self, span: Span, *items: tree.Item) -> tree.Module:
        whole = Span(self.source, 0, len(self.source.text))
        return tree.Module(whole, items, self.docs.of_module(items), tuple(self.docs.comments))

    def make_expression(self, span: Span, value: tree.Expr) -> tree.Expr:
        return value

    def make_use(self, span: Span, level: int | None, path: tuple[str, ...], alias: Token | None) -> tree.Use:
        return tree.Use(span, level or 0, path, alias.text if alias else None, ())

    def make_use_names(
        self, span: Span, level: int | None, path: tuple[str, ...], *names: tuple[str, str, Span]
    ) -> tree.Use:
        return tree.Use(span, level or 0, path, None, names)

    def make_dots(self, span: Span, *dots: Token) -> int:
        return sum(len(dot.text) for dot in dots)

    def make_path(self, span: Span, *names: Token) -> tuple[str, ...]:
        return tuple(name.text for name in names)

    def make_use_name(self, span: Span, name: Token, alias: Token | None) -> tuple[str, str, Span]:
        return name.text, (alias or name).text, self.span(alias or name)

    def make_block(
        self,
        span: Span,
        reversible: Token | None,
        name: Token,
        groups: tuple[_Group, ...],
        result: tree.Type | None,
        where: tree.Expr | None,
        body: tuple[tree.Stmt, ...],
    ) -> tree.Block:
        params, inputs = self.split_groups(name, groups)
        doc = self.docs.before(span.start)
        return tree.Block(
            span, name.text, self.span(name), params, inputs, result, body, None, reversible is not None, doc, where
        )

    def make_promise(self, span: Span, condition: tree.Expr) -> tree.Expr:
        return condition

    def make_alias(
        self,
        span: Span,
        reversible: Token | None,
        name: Token,
        groups: tuple[_Group, ...],
        result: tree.Type | None,
        value: tree.Expr,
    ) -> tree.Block:
        if len(groups) > 1:
            message = f"`block {name.text} ... = ` names a module and so has parameters only, no inputs"
            help = "leave the second parentheses out, or write a body: `{ return ... }`"
            self.report("ARC0035", message, groups[1].span, help=help)
        if groups:
            self.no_context(groups[0])
        doc = self.docs.before(span.start)
        params = groups[0].params if groups else ()
        return tree.Block(
            span, name.text, self.span(name), params, None, result, (), value, reversible is not None, doc
        )

    def make_extern(
        self,
        span: Span,
        pure: Token | None,
        name: Token,
        groups: tuple[_Group, ...],
        result: tree.Type,
        target: tree.String,
        facts: tuple[tree.Fact, ...] | None,
    ) -> tree.Extern:
        params, inputs = self.split_groups(name, groups)
        doc = self.docs.before(span.start)
        return tree.Extern(
            span, name.text, self.span(name), params, inputs, result, target, pure is not None, doc, facts or ()
        )

    def make_facts(self, span: Span, *facts: tree.Fact) -> tuple[tree.Fact, ...]:
        return facts

    def make_fact(self, span: Span, name: Token, value: tree.Expr) -> tree.Fact:
        return tree.Fact(span, name.text, self.span(name), value)

    def split_groups(
        self, name: Token, groups: tuple[_Group, ...]
    ) -> tuple[tuple[tree.Param, ...], tuple[tree.Param, ...]]:
        """One parenthesis is the inputs, two are parameters and inputs."""
        if len(groups) > 2:
            message = f"`{name.text}` has {len(groups)} pairs of parentheses; a block has at most two"
            self.report("ARC0035", message, groups[2].span, help="first the parameters, then the inputs")
        if not groups:
            return (), ()
        if len(groups) == 1:
            return (), groups[0].params
        self.no_context(groups[0])
        self.unique(groups[0].params + groups[1].params)
        return groups[0].params, groups[1].params

    def no_context(self, group: _Group) -> None:
        for param in group.params:
            if param.context:
                message = f"`{param.name}` stands after `;` among the parameters; context belongs to the inputs"
                self.report("ARC0035", message, param.span, help="move it to the second parentheses, after `;`")

    def unique(self, params: tuple[tree.Param, ...]) -> None:
        seen: dict[str, Span] = {}
        for param in params:
            if param.name in seen and param.name != "_":
                first = (Label(seen[param.name], "first named here"),)
                self.report("ARC0034", f"two parameters are called `{param.name}`", param.name_span, related=first)
            seen.setdefault(param.name, param.name_span)

    def make_function(self, span: Span, name: Token, group: _Group, body: tuple[tree.Stmt, ...]) -> tree.Function:
        self.no_context(group)
        doc = self.docs.before(span.start)
        return tree.Function(span, name.text, self.span(name), group.params, body, doc)

    def make_function_short(self, span: Span, name: Token, group: _Group, value: tree.Expr) -> tree.Function:
        returned = tree.Return(value.span, (tree.ReturnItem(value.span, value),))
        return self.make_function(span, name, group, (returned,))

    def make_lambda(self, span: Span, group: Any, body: tree.Expr) -> tree.Lambda:
        self.no_context(group)
        return tree.Lambda(span, group.params, body)

    def make_groups(self, span: Span, *groups: _Group) -> tuple[_Group, ...]:
        return groups

    def make_group(
        self, span: Span, params: tuple[tree.Param, ...] | None, context: tuple[tree.Param, ...] | None
    ) -> _Group:
        both = (params or ()) + (context or ())
        self.unique(both)
        return _Group(span, both)

    def make_params(self, span: Span, *params: tree.Param) -> tuple[tree.Param, ...]:
        return params

    def make_context_params(self, span: Span, params: tuple[tree.Param, ...]) -> tuple[tree.Param, ...]:
        return tuple(
            tree.Param(p.span, p.name, p.name_span, p.type, p.default, p.transparent, True, p.star) for p in params
        )

    def make_param(
        self, span: Span, marker: Token | None, name: Token, type: tree.Type | None, default: tree.Expr | None
    ) -> tree.Param:
        return tree.Param(span, name.text, self.span(name), type, default, transparent=marker is not None)

    def make_star_param(self, span: Span, name: Token, type: tree.Type | None) -> tree.Param:
        return tree.Param(span, name.text, self.span(name), type, star=True)

    # -- claims ----------------------------------------------------------------------------------------------------
    def make_verify(
        self,
        span: Span,
        title: tree.String | None,
        design: tree.Expr,
        inputs: tuple[tree.Type, ...] | None,
        *claims: tree.Claim,
    ) -> tree.Verify:
        return tree.Verify(span, title, design, inputs or (), claims)

    def make_on_types(self, span: Span, *types: tree.Type) -> tuple[tree.Type, ...]:
        return types

    def make_claim(self, span: Span, value: tree.Expr, tolerance: tree.Expr | None = None) -> tree.Claim:
        if isinstance(value, tree.Binary) and value.op in _COMPARISONS:
            return tree.Claim(span, "compare", value.left, value.op, value.right, None, tolerance)
        if isinstance(value, tree.Call) and tolerance is None:
            return tree.Claim(span, "call", value)
        if isinstance(value, tree.Binary) and value.op == "and":
            message, help = "a claim states one thing", "write one line for each, or `x in 1 .. 2` for an interval"
        elif tolerance is not None:
            message, help = "`+-` belongs to a comparison", "write `params == 25.6M +- 1%`"
        else:
            message = "this claims nothing that could be true or false"
            help = "write `quantity == value`, `quantity in low .. high`, `output: type` or `valid for condition`"
        self.report("ARC0036", message, value.span, help=help)
        return tree.Claim(span, "call", value)

    def make_claim_within(self, span: Span, value: tree.Expr, sign: Token, tolerance: tree.Expr) -> tree.Claim:
        return self.make_claim(span, value, tolerance)

    def make_claim_type(self, span: Span, value: tree.Expr, type: tree.Type) -> tree.Claim:
        return tree.Claim(span, "type", value, type=type)

    def make_claim_valid(self, span: Span, condition: tree.Expr) -> tree.Claim:
        return tree.Claim(span, "valid", condition)

    # -- statements ------------------------------------------------------------------------------------------------
    def make_body(self, span: Span, *statements: tree.Stmt) -> tuple[tree.Stmt, ...]:
        return statements

    def make_let(self, span: Span, target: tree.Expr, value: tree.Expr) -> tree.Let:
        return tree.Let(span, self.target(target), value)

    def make_new(self, span: Span, name: Token, value: tree.Expr) -> tree.New:
        return tree.New(span, name.text, self.span(name), value)

    def make_weight(
        self,
        span: Span,
        kind: Token,
        name: Token,
        label: tree.String | None,
        type: tree.TensorTypeExpr,
        init: tree.Expr | None,
        *flags: Token,
    ) -> tree.Weight:
        for flag in flags:
            if flag.text not in _FLAGS:
                help = closest(flag.text, _FLAGS) or f"the properties are {', '.join(f'`{f}`' for f in _FLAGS)}"
                self.report("ARC0037", f"`{flag.text}` is no property of a {kind.text}", self.span(flag), help=help)
        names = tuple(flag.text for flag in flags)
        return tree.Weight(span, kind.text, name.text, self.span(name), label, type, init, names)

    def make_label_as(self, span: Span, label: tree.String) -> tree.String:
        return label

    def make_initial(self, span: Span, value: tree.Expr) -> tree.Expr:
        return value

    def make_if(
        self,
        span: Span,
        condition: tree.Expr,
        then: tuple[tree.Stmt, ...],
        otherwise: tuple[tree.Stmt, ...] | tree.If | None,
    ) -> tree.If:
        last = (otherwise,) if isinstance(otherwise, tree.If) else otherwise or ()
        return tree.If(span, condition, then, last)

    def make_for(self, span: Span, target: tree.Expr, iterable: tree.Expr, body: tuple[tree.Stmt, ...]) -> tree.For:
        return tree.For(span, self.target(target), iterable, body)

    def make_return(self, span: Span, items: tuple[tree.ReturnItem, ...] | None) -> tree.Return:
        return tree.Return(span, items or ())

    def make_return_items(self, span: Span, *items: tree.ReturnItem) -> tuple[tree.ReturnItem, ...]:
        return items

    def make_return_item(self, span: Span, value: tree.Expr) -> tree.ReturnItem:
        return tree.ReturnItem(span, value)

    def make_return_named(self, span: Span, name: Token, value: tree.Expr) -> tree.ReturnItem:
        return tree.ReturnItem(span, value, name.text)

    def make_return_training(self, span: Span, value: tree.Expr) -> tree.ReturnItem:
        return tree.ReturnItem(span, value, None, True)

    def make_return_training_named(self, span: Span, name: Token, value: tree.Expr) -> tree.ReturnItem:
        return tree.ReturnItem(span, value, name.text, True)

    def make_emit(self, span: Span, name: Token, value: tree.Expr) -> tree.Emit:
        return tree.Emit(span, name.text, self.span(name), value)

    def make_assert(self, span: Span, condition: tree.Expr, message: tree.Expr | None) -> tree.Assert:
        return tree.Assert(span, condition, message)

    def make_assign_op(self, span: Span, op: Token) -> Token:
        return op

    def make_assign(self, span: Span, target: tree.Expr, op: Token, value: tree.Expr) -> tree.Assign:
        return tree.Assign(span, self.target(target), op.text[:-1], value)

    def make_expr_stmt(self, span: Span, value: tree.Expr) -> tree.ExprStmt:
        return tree.ExprStmt(span, value)


class _Group:
    """One pair of parentheses after a name."""

    def __init__(self, span: Span, params: tuple[tree.Param, ...]) -> None:
        self.span = span
        self.params = params
