"""What claims speak of: a design, its figures, the names that its claims may use, and other designs beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from math import lcm
from typing import TYPE_CHECKING, Any, NoReturn

from archlang.elaborate.entry import elaborate_design
from archlang.elaborate.errors import fail
from archlang.elaborate.expressions import evaluate
from archlang.elaborate.loader import LoadedModule
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation, Limits, Session
from archlang.ir.graph import Program
from archlang.ir.sizes import Equalities
from archlang.records import dataclass, field
from archlang.report.suggest import did_you_mean
from archlang.shapes.dim import Atom, Dim, Floor, Monomial, Size, non_negative, symbol, symbols
from archlang.shapes.dim import evaluate as evaluate_size
from archlang.syntax import tree
from archlang.verify.figures import Measured
from archlang.verify.form import always

if TYPE_CHECKING:
    from archlang.verify.sets import Domain

__all__ = ["Others", "Subject", "Verdict", "design_key", "shown"]

_SAMPLES = (1, 2, 3, 8, 16, 32, 64, 224)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds at all valid sizes; None: not decided. `at` are sizes at which it does not."""

    holds: bool | None
    at: Mapping[str, int] = field(default_factory=dict)


def design_key(text: str, inputs: Sequence[tree.Type]) -> tuple[str, ...]:
    """Equal for designs that are written alike: `net` is `net()`."""
    return (text.removesuffix("()"), *(t.span.text for t in inputs))


@dataclass(eq=False)
class Others:
    """Designs of a file that claims speak of, by what they are; `session` holds graphs that were made before."""

    module: LoadedModule
    limits: Limits
    session: Session | None = None
    known: dict[tuple[str, ...], Measured] = field(default_factory=dict)

    def get(self, design: tree.Expr, inputs: tuple[tree.Type, ...]) -> Measured:
        """Raises ArchError where it cannot be built."""
        key = design_key(design.span.text, inputs)
        if key not in self.known:
            block = tree.Verify(design.span, None, design, inputs, ())
            session, self.session = Session(self.limits).after(self.session), None  # what failed says so anew
            self.known[key] = Measured(elaborate_design(self.module, block, self.limits, session).program)
            self.session = session
        return self.known[key]


@dataclass(eq=False)
class Subject:
    """The design of one `verify` block, and those that its claims may compare it with."""

    verify: tree.Verify
    measured: Measured
    others: Others

    @property
    def module(self) -> LoadedModule:
        return self.others.module

    @property
    def program(self) -> Program:
        return self.measured.program

    @property
    def name(self) -> str:
        return self.verify.design.span.text

    def on(self, design: tree.Expr, inputs: tuple[tree.Type, ...]) -> Measured:
        """A design at the types given. Raises ArchError where it cannot be built."""
        return self.others.get(design, inputs)

    # -- names ---------------------------------------------------------------------------------------------------------
    @cached_property
    def activation(self) -> Activation:
        """Where expressions in claims are evaluated: the file's names, and the design's free sizes."""
        scope = Scope(self.module.scope, frame=True)
        for name in self.measured.free:
            scope.bind(name, symbol(name), None, fixed=True, kind="size")
        return Activation(Session(self.others.limits), self.module, scope)

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
        if relation == ">=" and always(_lower(size), ">="):
            return Verdict(True)
        if not symbols(size) <= set(self.measured.free):
            return Verdict(None)
        from archlang.verify.products import decide

        where = decide(self.domain.space, size, 0, relation, self.domain.set)
        if where is None:
            return self._sampled(size, relation)
        outside = self.domain.set.subtract(where)
        if outside.is_empty():
            return Verdict(True)
        if self.domain.undecided:  # the sizes outside may be none that the design takes
            return Verdict(None)
        at = self.domain.space.lowest(outside) or {}
        return Verdict(False, {name: n for name, n in at.items() if name in symbols(size)})

    def _sampled(self, size: Size, relation: str) -> Verdict:
        """Of what the rules leave open, some sizes can still show that it does not hold."""
        free = self.measured.free
        points = [dict.fromkeys(free, n) for n in _SAMPLES]
        if len(free) <= 4:
            points += [dict(zip(free, some, strict=True)) for some in product(_SAMPLES[:4], repeat=len(free))]
        for at in points:
            value = evaluate_size(size, at)
            if not (value == 0 if relation == "==" else value >= 0) and self.domain.contains(at):
                return Verdict(False, {name: n for name, n in at.items() if name in symbols(size)})
        return Verdict(None)

    def unknown_size(self, expr: tree.Name, known: Sequence[str] | None = None) -> NoReturn:
        """Says that a name in a claim is none of the design's free sizes."""
        names = self.measured.free if known is None else known
        listed = ", ".join(f"`{n}`" for n in names)
        help = did_you_mean(expr.id, names) or (f"its free sizes are {listed}" if names else "it has none")
        fail("ARC0804", f"`{self.name}` has no free size `{expr.id}`", expr.span, help=help)


def _lower(size: Size) -> Size:
    """A multiple of something that is at most `size`: floors that are taken off are at most their quotients."""
    for _ in range(4):
        if isinstance(size, int):
            return size
        taken = [(mono, coef) for mono, coef in size.terms if coef < 0 and any(_quotient(a) for a, _ in mono)]
        if not taken:
            return size
        scale = lcm(*(_split(mono)[1] for mono, _ in taken))
        kept: Size = size * scale
        for mono, coef in taken:
            above, below = _split(mono)
            kept = kept - Dim({mono: coef * scale}) + above * (coef * scale // below)
        size = kept
    return size


def _quotient(atom: Atom) -> bool:
    return isinstance(atom, Floor) and isinstance(atom.denominator, int) and non_negative(atom.numerator)


def _split(mono: Monomial) -> tuple[Size, int]:
    """A product of atoms, none of them negative, as a fraction that is at least as large."""
    above: Size = 1
    below = 1
    for atom, power in mono:
        for _ in range(power):
            if isinstance(atom, Floor) and _quotient(atom) and isinstance(atom.denominator, int):
                above, below = above * atom.numerator, below * atom.denominator
            else:
                above = above * Dim({((atom, 1),): 1})
    return above, below


def shown(sizes: Mapping[str, int]) -> str:
    """`H = 7, W = 1`."""
    return ", ".join(f"{name} = {n}" for name, n in sizes.items())
