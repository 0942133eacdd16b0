"""Expressions that stand beside a spec, in the scope of its file: their values, and what modules make of wires."""

from __future__ import annotations

from archlang.elaborate.bounds import deep_stack
from archlang.elaborate.dispatch import evaluate
from archlang.elaborate.errors import Poisoned
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session
from archlang.report.diagnostic import ArchError
from archlang.syntax import tree

__all__ = ["Fragments"]


class Fragments:
    """One file's scope, for expressions that stand elsewhere. Everything raises ArchError."""

    def __init__(self, module: LoadedModule, limits: Limits | None = None) -> None:
        self.module = module
        self.limits = limits or Limits()
        self.session = Session(self.limits)

    def value(self, expr: tree.Expr) -> object:
        """What an expression evaluates to, as in the file's top level."""
        cx = Activation(self.session, self.module, Scope(self.module.scope, frame=True))
        try:
            with deep_stack():
                return evaluate(cx, expr)
        except Poisoned:
            raise ArchError(self.session.diagnostics) from None
        except RecursionError:
            raise self.session.endless() from None
