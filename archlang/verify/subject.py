"""What claims speak of: a design, its figures, the names that its claims may use, and other designs beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from archlang.elaborate.entry import elaborate_design
from archlang.elaborate.expressions import evaluate
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session
from archlang.ir.graph import Program
from archlang.ir.sizes import Equalities
from archlang.shapes.dim import Size, symbol, symbols
from archlang.syntax import tree
from archlang.verify.figures import Measured
from archlang.verify.form import always

if TYPE_CHECKING:
    from archlang.verify.sets import Domain

__all__ = ["Subject", "Verdict", "shown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds at all valid sizes; None: not decided. `at` are sizes at which it does not."""

    holds: bool | None
    at: Mapping[str, int] = field(default_factory=dict)


@dataclass(eq=False)
class Subject:
    """The design of one `verify` block. `others`: designs that were built for claims of this file, by what they are."""

    module: LoadedModule
    verify: tree.Verify
    measured: Measured
    limits: Limits
    others: dict[tuple[str, ...], Measured]

    @property
    def program(self) -> Program:
        return self.measured.program

    @property
    def name(self) -> str:
        return self.verify.design.span.text

    def on(self, design: tree.Expr, inputs: tuple[tree.Type, ...]) -> Measured:
        """A design at the types given. Raises ArchError where it cannot be built."""
        key = (design.span.text.removesuffix("()"), *(t.span.text for t in inputs))
        if key not in self.others:
            block = tree.Verify(design.span, None, design, inputs, ())
            self.others[key] = Measured(elaborate_design(self.module, block, self.limits).program)
        return self.others[key]

    # -- names ---------------------------------------------------------------------------------------------------------
    @cached_property
    def activation(self) -> Activation:
        """Where expressions in claims are evaluated: the file's names, and the design's free sizes."""
        scope = Scope(self.module.scope, frame=True)
        for name in self.measured.free:
            scope.bind(name, symbol(name), None, fixed=True, kind="size")
        return Activation(Session(self.limits), self.module, scope)

    def evaluate(self, expr: tree.Expr) -> Any:
        """The value of an expression without figures. Raises ArchError."""
        return evaluate(self.activation, expr)

    # -- questions of sizes --------------------------------------------------------------------------------------------
    @cached_property
    def domain(self) -> Domain:
        from archlang.verify.sets import domain

        return domain(self.program, declared=True)

    @cached_property
    def equalities(self) -> Equalities:
        given = [c for c in self.program.root.constraints if c.relation == "==" and c.phase != "train"]
        return Equalities((self.measured.declared(c.left), self.measured.declared(c.right)) for c in given)

    def decide(self, size: Size, relation: str) -> Verdict:
        """Whether `size == 0` or `size >= 0` at every size that the design takes in evaluation."""
        if isinstance(size, int):
            return Verdict(size == 0 if relation == "==" else size >= 0)
        if always(size, relation) or (relation == "==" and self.equalities.same(size, 0)):
            return Verdict(True)
        if not symbols(size) <= set(self.measured.free):
            return Verdict(None)
        from archlang.verify.products import decide

        where = decide(self.domain.space, size, 0, relation, self.domain.set)
        if where is None:
            return Verdict(None)
        outside = self.domain.set.subtract(where)
        if outside.is_empty():
            return Verdict(True)
        if self.domain.undecided:  # the sizes outside may be none that the design takes
            return Verdict(None)
        at = self.domain.space.lowest(outside) or {}
        return Verdict(False, {name: n for name, n in at.items() if name in symbols(size)})


def shown(sizes: Mapping[str, int]) -> str:
    """`H = 7, W = 1`."""
    return ", ".join(f"{name} = {n}" for name, n in sizes.items())
