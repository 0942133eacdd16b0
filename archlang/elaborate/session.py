"""The state of one elaboration: limits, fuel, findings, memoised graphs; and the activation that code runs in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from archlang.elaborate.builder import Builder
from archlang.elaborate.errors import Poisoned, fail
from archlang.elaborate.scope import Scope
from archlang.elaborate.values import POISON, OpInstance
from archlang.ir.graph import Attrs, Constraint, Graph, TensorType, Value, WeightDecl
from archlang.records import dataclass, field, replace
from archlang.report.diagnostic import ArchError, Diagnostic, Label, Severity, Span
from archlang.reversible.moves import Move
from archlang.shapes.dim import Size

if TYPE_CHECKING:
    from archlang.elaborate.loader import LoadedModule

__all__ = ["Activation", "Applied", "Limits", "NeedConcrete", "Session", "Split", "StopElaboration"]


_CALL = 6  # steps that a call costs
Arguments = tuple[Mapping[str, Any], tuple[Any, ...]]
Applied = tuple[Attrs, Sequence[TensorType], tuple[WeightDecl, ...], Sequence[Constraint]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that make elaboration total. Each has a diagnostic of its own."""

    source_bytes: int = 1 << 20
    loop: int = 100_000  # iterations of one loop, elements of one list
    steps: int = 300_000  # expressions evaluated and statements executed in one elaboration
    depth: int = 150  # nested activations of blocks and functions
    errors: int = 50  # findings after which elaboration stops


class NeedConcrete(Exception):
    """The element of a comprehension depends on the loop variable: evaluate it once per value."""


class Split(Exception):
    """A comparison changes its truth inside the loop variable's interval, at `at`."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(eq=False)
class Session:
    limits: Limits
    diagnostics: list[Diagnostic] = field(default_factory=list)
    error_count: int = 0
    makers: dict[Value, OpInstance] = field(default_factory=dict)  # a layer's result -> the layer
    memo: dict[Any, Graph | None] = field(default_factory=dict)  # None: elaboration failed, and was reported
    arguments: dict[Any, Arguments] = field(default_factory=dict)  # what an op is given -> all, checked; their key
    applied: dict[Any, Applied] = field(default_factory=dict)  # an op, its arguments and input types -> what it makes
    names: dict[str, int] = field(default_factory=dict)
    slots: dict[int, tuple[str, ...]] = field(default_factory=dict)  # id(graph) -> borrowed slots, in argument order
    emitted: dict[int, int] = field(default_factory=dict)  # id(graph) -> how many of its last outputs are `emit`s
    stack: list[tuple[str, Span]] = field(default_factory=list)
    steps: int = 0
    measured: dict[int, tuple[Any, int, int]] = field(default_factory=dict)  # nested lists: elements, levels
    last_call: tuple[str, Span, int] | None = None
    root: Span | None = None  # where the design itself is declared: no call led to it
    given: dict[str, Size] = field(default_factory=dict)  # the design's own symbols -> sizes of its declared inputs
    built: dict[Any, list[Graph]] = field(default_factory=dict)  # structure of a design -> its graphs
    abstract: int = 0  # > 0 while a comprehension is tried for an interval of its variable

    def after(self, other: Session | None) -> Session:
        """This session, with the graphs that another one of the same file has made."""
        if other is not None:
            self.memo, self.names, self.slots, self.emitted = other.memo, other.names, other.slots, other.emitted
            self.built, self.arguments, self.applied = other.built, other.arguments, other.applied
        return self

    def tick(self, span: Span, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > self.limits.steps:
            fail(
                "ARC0502",
                f"elaboration takes more than {self.limits.steps:,} steps",
                span,
                "stopped here",
                help="use fewer iterations; equal layers in a list comprehension cost one step",
            )

    def enter(self, name: str, span: Span) -> None:
        self.tick(span, _CALL)
        self.last_call = (name, span, len(self.stack))
        if len(self.stack) >= self.limits.depth:
            raise self.endless()
        self.stack.append((name, span))

    def endless(self) -> ArchError:
        """The finding that calls nest too deeply."""
        assert self.last_call is not None
        name, span, depth = self.last_call
        message = f"`{name}` is nested {depth} calls deep: it seems never to end"
        help = f"`{name}` needs a case that does not lead to itself again"
        return ArchError(Diagnostic("ARC0503", message, span, "stopped at this call", help=help))

    def leave(self) -> None:
        self.stack.pop()

    def report(self, error: ArchError) -> None:
        """Records findings, each with the call that led to it; stops when there are too many."""
        for diagnostic in error.diagnostics:
            self.diagnostics.append(self._placed(diagnostic))
            self.error_count += diagnostic.severity is Severity.ERROR
        fatal = {"ARC0502", "ARC0503"} & {d.code for d in error.diagnostics}
        if fatal or self.error_count >= self.limits.errors:
            raise StopElaboration

    def note(self, warning: Diagnostic) -> None:
        """Records a warning, once for each place."""
        if not any(d.code == warning.code and d.span == warning.span for d in self.diagnostics):
            self.diagnostics.append(warning)

    def _placed(self, diagnostic: Diagnostic) -> Diagnostic:
        calls = [(name, span) for name, span in self.stack if span not in (diagnostic.span, self.root)]
        if not calls or diagnostic.code in ("ARC0502", "ARC0503"):
            return diagnostic
        name, span = calls[-1]
        return replace(diagnostic, related=(*diagnostic.related, Label(span, f"in this call of `{name}`")))

    def unique(self, name: str) -> str:
        """A graph name that no other graph of the program has."""
        found, number = name, self.names.get(name, 0) + 1
        if number > 1:
            while (found := f"{name}_{number}") in self.names:  # of a block that is called so
                number += 1
            self.names[found] = 1
        self.names[name] = number
        return found


class StopElaboration(Exception):
    """Too many findings, or a bound was hit: what was found so far is reported."""


@dataclass(eq=False, slots=True)
class Activation:
    """Where a piece of syntax runs: a file's top level (no builder), a block's body, or a function's."""

    session: Session
    module: LoadedModule
    scope: Scope
    builder: Builder | None = None
    block: str = ""
    new_streams: list[str] = field(default_factory=list)
    moves: list[Move] | None = None  # what its statements rebind; None outside of reversible blocks

    def nested(self) -> Activation:
        """The same activation with an inner scope."""
        scope = Scope(self.scope)
        return Activation(self.session, self.module, scope, self.builder, self.block, self.new_streams, self.moves)

    def graph_builder(self, span: Span) -> Builder:
        """The builder, where wires can be made."""
        if self.builder is None:
            fail("ARC0261", "wires exist only inside a block", span, help="move this into a block's body")
        if self.session.abstract:
            raise NeedConcrete
        return self.builder

    def read(self, name: str, value: Any) -> Any:
        if value is POISON:
            raise Poisoned(name)
        return value
