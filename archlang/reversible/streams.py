"""The streams of a graph at one point of its proof: which values they are now, which were, and what reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn

from archlang.ir.graph import Graph, Node, Value
from archlang.records import dataclass
from archlang.report.diagnostic import ArchError, Diagnostic, Label, Severity, Span

__all__ = ["Streams"]


@dataclass(frozen=True, slots=True)
class _Gone:
    """An old version: the stream's name, the statement that replaced it."""

    name: str
    span: Span | None


class Streams:
    """Streams are values, not names: an update replaces a value by a new one, and the old version is gone."""

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[Node],
        streams: Iterable[tuple[str, Value]],
        span: Span | None,
        context: Iterable[Value] = (),
    ) -> None:
        self.graph = graph
        self.context = {id(value) for value in context}
        self.makers = {id(v): (i, node) for i, node in enumerate(nodes) for v in node.outputs}
        self.live: dict[int, str] = {id(value): name for name, value in streams}  # id of the value -> the stream's name
        self.names = dict(self.live)  # the same, of old versions too
        self.gone: dict[int, _Gone] = {}
        self.branches: dict[int, tuple[Node, Span | None]] = {}  # nodes that steps read: they run again in the inverse
        self.warnings: list[Diagnostic] = []
        self.iteration: tuple[int, ...] = ()
        self.span = span

    def add(self, value: Value, name: str) -> None:
        self.live[id(value)] = self.names[id(value)] = name
        self.gone.pop(id(value), None)

    def name(self, value: Value) -> str:
        gone = self.gone.get(id(value))
        return self.live.get(id(value)) or (gone.name if gone is not None else value.name or "?")

    def consume(self, value: Value, span: Span | None) -> None:
        self.gone[id(value)] = _Gone(self.live.pop(id(value)), span)

    def depends(self, value: Value, on: Value) -> bool:
        pending, seen = [value], set()
        while pending:
            v = pending.pop()
            if v is on:
                return True
            if id(v) in seen or id(v) in self.live:
                continue
            seen.add(id(v))
            if id(v) in self.makers:
                pending.extend(self.makers[id(v)][1].inputs)
        return False

    # -- reads -----------------------------------------------------------------------------------------------------
    def reads(self, values: Iterable[Value], consumed: Sequence[Value], span: Span | None, what: str) -> None:
        """Every stream that the values are made from must be there now, and none of them be consumed."""
        avoid = {id(v) for v in consumed}
        pending = list(values)
        seen: set[int] = set()
        while pending:
            v = pending.pop()
            if id(v) in avoid:
                name = self.name(v)
                self.refuse(
                    "ARC0604",
                    f"the stream `{name}` is updated from itself",
                    span,
                    f"reads `{name}`, which it updates{self.when()}",
                    help="update it from the other streams; or split it: `a, b = s -> halves`, then `a += f(b)`",
                )
            if id(v) in self.gone:
                self.stale(v, span, f"read by {what}")
            if id(v) in seen or id(v) in self.live:
                continue
            seen.add(id(v))
            if id(v) in self.makers:
                node = self.makers[id(v)][1]
                self.branches.setdefault(id(node), (node, span))
                pending.extend(node.inputs)

    def when(self) -> str:
        return f" (iteration {', '.join(map(str, self.iteration))})" if self.iteration else ""

    def stale(self, value: Value, span: Span | None, how: str) -> NoReturn:
        gone = self.gone[id(value)]
        self.refuse(
            "ARC0605",
            f"an old version of the stream `{gone.name}` is {how}",
            span,
            f"reads what `{gone.name}` was before{self.when()}",
            spans=[(gone.span, f"`{gone.name}` is updated here: its old version is gone")],
            help="compute it again after the update, from what the streams are then",
        )

    # -- findings -------------------------------------------------------------------------------------------------
    def what(self, node: Node) -> str:
        return f"`{node.callee.block}`" if node.callee is not None else f"`{node.op}`"

    def warn(self, code: str, message: str, span: Span | None, *, help: str | None = None) -> None:
        self.warnings.append(Diagnostic(code, message, span, "", (), help, (), Severity.WARNING))

    def refuse(
        self,
        code: str,
        message: str,
        span: Span | None,
        label: str = "",
        *,
        help: str | None = None,
        related: Sequence[tuple[Value, str]] = (),
        spans: Sequence[tuple[Span | None, str]] = (),
    ) -> NoReturn:
        marks = [Label(s, text) for s, text in spans if s is not None and s != span]
        for value, text in related:
            maker = self.makers.get(id(value))
            if maker is not None and maker[1].span is not None:
                marks.append(Label(maker[1].span, text))
        raise ArchError(Diagnostic(code, message, span or self.span, label, tuple(marks), help))
