"""Expressions that stand beside a spec, in the scope of its file: their values, and what modules make of wires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from archlang.elaborate.apply import apply
from archlang.elaborate.bounds import deep_stack
from archlang.elaborate.builder import Builder
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.entry import Elaborated, elaborate_expression
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.finish import finish
from archlang.elaborate.graph_calls import flat
from archlang.elaborate.instances import to_module
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session
from archlang.elaborate.values import BlockTemplate, Builtin, Instance, LabelText, OpTemplate, Streams, Wire
from archlang.ir.graph import Graph, Output, Port, TensorType, Value
from archlang.report.diagnostic import ArchError, Diagnostic
from archlang.syntax import tree

__all__ = ["Fragments"]

_T = TypeVar("_T")


class Fragments:
    """One file's scope, for expressions that stand elsewhere. Everything raises ArchError."""

    def __init__(self, module: LoadedModule, limits: Limits | None = None) -> None:
        self.module = module
        self.limits = limits or Limits()
        self._session = Session(self.limits)
        self.warnings: list[Diagnostic] = []

    def value(self, expr: tree.Expr) -> object:
        """What an expression evaluates to at the file's top level."""
        return self._guarded(lambda: evaluate(self._activation(), expr))

    def op_or_block(self, value: object) -> tuple[str, str] | None:
        """("op", its name) or ("block", its name) for a bare name of one; None for other values."""
        if isinstance(value, (OpTemplate, Builtin)):
            return "op", value.name
        return ("block", value.name) if isinstance(value, BlockTemplate) else None

    def applied(
        self, expr: tree.Expr, label: str, types: Sequence[TensorType], lists: Sequence[int | None], context: int
    ) -> Graph:
        """A graph of what a module, which `expr` evaluates to, makes of wires of these types.

        label: the path of the module in the graph. lists: for each input, how many wires a list of it holds, None for
        a single wire; the last `context` of them are context. The types' symbols stay what they are.
        """

        def run() -> Graph:
            graph = Graph("(fragment)", "(fragment)", expr.span)
            builder = Builder(graph)
            cx = self._activation(builder)
            graph.inputs = [Port(f"x{i}", (Value(kind),)) for i, kind in enumerate(types)]
            wires = [Wire(port.values[0], builder, expr.span) for port in graph.inputs]
            items: list[object] = []
            for count in lists:
                taken, wires = wires[: 1 if count is None else count], wires[1 if count is None else count :]
                items.append(taken[0] if count is None else taken)
            module = to_module(cx, evaluate(cx, expr), expr.span, "the replacement")
            if not isinstance(module, Instance):
                fail("ARC0215", "a list of modules cannot stand where one module is expected", expr.span)
            module.label = LabelText(label, module.named_at)
            plain = len(items) - context
            result = apply(cx, module, Streams(tuple(items[:plain]), tuple(items[plain:])), expr.span)
            results = result if isinstance(result, tuple) else (result,)
            graph.outputs = [Output((w.value,)) for item in results for w in flat(item)]
            finish(self._session, builder)
            return graph

        return self._guarded(run)

    def design(self, expr: tree.Expr) -> Elaborated:
        """What a block of the file is as a design of its own, on the types that it declares."""
        done = elaborate_expression(self.module, expr, self.limits)
        self.warnings += done.warnings
        return done

    def forget(self) -> None:
        """What was made so far may be changed by its owner: nothing of it is used again."""
        self.warnings += self._session.diagnostics
        self._session = Session(self.limits)

    def _activation(self, builder: Builder | None = None) -> Activation:
        scope = Scope(self.module.scope, frame=True)
        return Activation(self._session, self.module, scope, builder)

    def _guarded(self, run: Callable[[], _T]) -> _T:
        session = self._session
        try:
            with deep_stack():
                made = run()
        except RecursionError:
            raise ArchError([*session.diagnostics, *session.endless().diagnostics]) from None
        except ArchError as error:
            raise ArchError([*session.diagnostics, *error.diagnostics]) from None
        except Poisoned:
            raise ArchError(session.diagnostics) from None
        if session.error_count:
            raise ArchError(session.diagnostics)
        return made
