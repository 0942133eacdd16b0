"""The proof that a graph can be undone: each step takes streams, which are linear, and reads only what is still there.

Streams are values of the graph, not names: an update replaces a value by a new one, and the old version is gone. What
a step reads is found by following the graph backwards from its operands to versions of streams (so a temporary, a view
or a captured wire counts as a read of what it was made from).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NoReturn
from weakref import WeakKeyDictionary

from archlang.ir.graph import Graph, Node, Proof, Step, Value
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.report.diagnostic import ArchError, Diagnostic, Span
from archlang.reversible.judge import Judge
from archlang.reversible.moves import Move, Pair

__all__ = ["Prover", "Replay", "prove", "proved", "refusal"]

_REFUSED: WeakKeyDictionary[Graph, Diagnostic] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Replay:
    """A step of an earlier proof, in terms of its node alone: the places of the inputs that it consumes."""

    consumed: tuple[int, ...]
    span: Span | None
    names: tuple[str, ...]


def proved(graph: Graph) -> Proof | None:
    """The graph's proof, found now if it has none yet; None where there is none."""
    return graph.proof if refusal(graph) is None else None


def refusal(graph: Graph) -> Diagnostic | None:
    """Why the graph has no proof; None where it has one."""
    if graph.proof is None and graph not in _REFUSED:
        try:
            prove(graph)
        except ArchError as error:
            _REFUSED[graph] = error.diagnostics[0]
    return _REFUSED.get(graph)


def prove(
    graph: Graph,
    moves: Sequence[Move] = (),
    note: Callable[[Diagnostic], None] | None = None,
    *,
    replay: Mapping[int, Replay] | None = None,
    begun: Collection[int] = (),
) -> Proof:
    """Proves the graph and keeps the proof on it. Raises ArchError with the statement and the rule that it breaks.

    moves: the statements of a `reversible` block. Without them the graph must be a composition of bijections, but for
    nodes of an earlier proof (`replay`, by their ids) and values that it made streams of (`begun`, by their ids).
    note: takes warnings.
    """
    if graph.proof is None:
        names = [
            (f"{port.name}[{i}]" if port.kind == "tensors" else port.name, value)
            for port in graph.inputs
            if not port.context
            for i, value in enumerate(port.values)
        ]
        context = [v for port in graph.inputs if port.context for v in port.values]
        *others, fewest = _streams_among(graph)
        for count in (*others, fewest):
            prover = Prover(graph, graph.nodes, names, graph.span, context)
            results = [value for output in graph.outputs[:count] for value in output.values]
            try:
                if replay is not None:
                    prover.replay(replay, begun)
                prover.run(moves, results, graph.span)
            except ArchError:
                if count == fewest:
                    raise
                continue
            graph.proof = prover.proof(count)
            break
        assert graph.proof is not None
        if note is not None:
            for warning in prover.warnings:
                note(warning)
    return graph.proof


def _streams_among(graph: Graph) -> list[int]:
    """How many of the outputs may be the streams: those without a name, as side outputs come last. Where all have
    names, as many of the first as are streams, all if possible."""
    always = next((i for i, o in enumerate(graph.outputs) if o.training), len(graph.outputs))
    plain = next((i for i, o in enumerate(graph.outputs[:always]) if o.name), always)
    return [plain] if plain or not always else [*range(always, 0, -1)]


class Prover(Judge):
    """Replays statements over nodes of a graph (all of them, or those of a call that is inlined)."""

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[Node],
        streams: Iterable[tuple[str, Value]],
        span: Span | None,
        context: Iterable[Value] = (),
    ) -> None:
        super().__init__(graph, nodes, streams, span, context)
        self.hints: dict[int, Value] = {}  # id of a value -> the value that a statement made it from
        self.origins: dict[int, tuple[str, Span]] = {}  # id of a value -> its first name, the statement that gave it
        self.lost: dict[int, Move] = {}  # id of a stream's value -> the statement that dropped its name

    # -- statements ------------------------------------------------------------------------------------------------
    def run(self, moves: Sequence[Move], results: Sequence[Value], span: Span | None) -> None:
        """Replays the statements and checks that the results are the streams, each once."""
        for move in moves:
            self.move(move)
        self.iteration = ()
        self.finish(results, span)

    def replay(self, steps: Mapping[int, Replay], begun: Collection[int]) -> None:
        """Takes the steps of an earlier proof, in order of execution, over what their nodes read now."""
        nodes = [node for _, node in sorted({id(n): (i, n) for i, n in self.makers.values()}.values(), key=_place)]
        for node in nodes:
            step = steps.get(id(node))
            if step is not None:
                consumed = tuple(node.inputs[i] for i in step.consumed)
                for value in consumed:
                    self.promote(value, step.span)
                if step.span is not None:
                    named = zip(node.outputs, step.names, strict=False)
                    self.origins.update((id(v), (name, step.span)) for v, name in named)
                if node.callee is not None and proved(node.callee) is None:
                    self.not_invertible(node, node.outputs[0], step.span)
                self.step(node, consumed, step.span)
            for value in node.outputs:
                if id(value) in begun:
                    self.begin(value, value.name, node.span)

    def move(self, move: Move) -> None:
        self.iteration = move.iteration
        for pair in move.pairs:
            self.pair(move, pair)

    def pair(self, move: Move, pair: Pair) -> None:
        old, new = pair.old, pair.new
        if move.kind == "new":
            self.create(move, pair)
            return
        if old is not None and id(old) in self.context:
            self.refuse(
                "ARC0609",
                f"`{pair.name}` is context, which is read only",
                move.span,
                help=f"give the result another name, or declare `{pair.name}` before `;` to make it a stream",
            )
        known = new is not None and (id(new) in self.makers or id(new) in self.live)
        if new is not None and id(new) in self.live and new is not old:
            self.rename(move, pair, new)
        if old is None or (not known and new is not None):  # a fresh name; or a value that was folded into a run
            if new is not None:
                self.origins.setdefault(id(new), (pair.name, move.span))
            return
        if id(old) not in self.live:
            if new is not None:
                self.hints[id(new)] = old
                self.origins.setdefault(id(new), (pair.name, move.span))
            if not self.is_moved(old):
                return  # a temporary
            if move.kind != "update" and (new is None or not self.comes_from(new, old)):
                return  # a temporary under the name of a part that is read elsewhere
            self.promote(old, move.span)
        if move.phase is not None:
            self.refuse(
                "ARC0610",
                f"the stream `{self.name(old)}` is updated in one phase only",
                move.span,
                help=f"choose inside the branch: `{pair.name} += if training then f(x) else g(x)`",
            )
        if new is not None and id(new) not in self.live:
            self.hints[id(new)] = old
            if self.comes_from(new, old):
                self.promote(new, move.span)
                self.add(new, pair.name)
                return
        if new is not old and all(other.new is not old for other in move.pairs):
            self.lost[id(old)] = move

    def rename(self, move: Move, pair: Pair, stream: Value) -> None:
        """A statement binds a name to what is a stream: its first one, where its own step made it; in a swap
        (`a, b = b, a`) its next one; else just another name for it."""
        made = self.steps[-1] if self.steps and self.steps[-1].span == move.span else None
        here = made is not None and any(stream is v for v in made.made)
        if here:
            self.names[id(stream)] = pair.name
        if here or pair.old is not None:
            self.live[id(stream)] = pair.name
            self.lost.pop(id(stream), None)

    def create(self, move: Move, pair: Pair) -> None:
        """`new s = e`."""
        assert pair.new is not None
        self.begin(pair.new, pair.name, move.span)

    def begin(self, value: Value, name: str, span: Span | None) -> None:
        """A value becomes a stream."""
        self.reads([value], (), span, f"`new {name}`")
        self.steps.append(Step("new", None, (), (value,), span))
        self.add(value, name)
        self.grades.append("injective")

    def finish(self, results: Sequence[Value], span: Span | None) -> None:
        kept = {id(value) for value in results}
        for value in results:
            if id(value) in self.live:
                continue
            try:
                self.promote(value, span)
            except ArchError as error:
                self.overwritten(kept, error.diagnostics[0])
                raise
        self.overwritten(kept, None)
        seen: set[int] = set()
        for value in results:
            if id(value) in seen:
                self.refuse("ARC0606", f"the stream `{self.live[id(value)]}` is returned twice", span)
            seen.add(id(value))
        for key, name in self.live.items():
            if key not in seen:
                self.refuse(
                    "ARC0606",
                    f"the stream `{name}` is dropped: it is not returned",
                    span,
                    help=f"return it: `return ..., {name}`",
                )

    def overwritten(self, kept: set[int], reason: Diagnostic | None) -> None:
        """Refuses a stream that is not returned because a statement gave its name to something else."""
        for key, name in self.live.items():
            move = self.lost.get(key)
            if key in kept or move is None:
                continue
            why = f": {reason.message.rpartition(': ')[2]}" if reason is not None and reason.code == "ARC0603" else ""
            self.refuse(
                "ARC0603",
                f"the stream `{name}` is overwritten, and its old value is lost{why}",
                move.span,
                "this cannot be undone",
                help=f"update it: `{name} += ...`, or apply a bijection to it: `{name} = m({name})`",
            )

    # -- streams ---------------------------------------------------------------------------------------------------
    def is_moved(self, value: Value) -> bool:
        """Whether a value is a stream already, under a name that no statement gave yet (a part of a split)."""
        maker = self.makers.get(id(value))
        if maker is None or id(value) in self.gone:
            return False
        consumed = self.consumed(maker[1], value, hinted=True)
        return bool(consumed) and all(id(v) in self.live or self.is_moved(v) for v in consumed)

    def comes_from(self, value: Value, old: Value) -> bool:
        """Whether the graph leads from `old` to `value` through nodes that may consume a stream."""
        pending, seen = [value], set()
        while pending:
            v = pending.pop()
            if v is old:
                return True
            if id(v) in seen or id(v) in self.live or id(v) not in self.makers:
                continue
            seen.add(id(v))
            pending.extend(self.consumed(self.makers[id(v)][1], v) or ())
        return False

    def consumed(self, node: Node, made: Value, *, hinted: bool = False) -> tuple[Value, ...]:
        """The streams among a node's inputs; () where it cannot be undone.

        An arithmetic node consumes one operand: what a statement says (`a += e`), else the one made from the stream
        that is being rebound; with `hinted` only the former.
        """
        found = self.streams_of(node, made, hinted)
        old = self.hints.get(id(made))
        if old is not None:  # what is said of the result is said of what it is made from
            for v in found:
                if v is not old and id(v) not in self.live and self.depends(v, old):
                    self.hints.setdefault(id(v), old)
        return found

    def streams_of(self, node: Node, made: Value, hinted: bool) -> tuple[Value, ...]:
        if node.phase is not None or node.op in ("weight", "phase"):
            return ()
        if node.op == "extern":
            return node.inputs if "inverse" in node.attrs else ()
        if node.op == "call":
            callee = node.callee
            assert callee is not None
            proof = proved(callee)
            if proof is None:
                return ()
            context = sum(len(p.values) for p in callee.inputs if p.context) + node.log_det
            return node.inputs[: len(node.inputs) - context]
        if node.log_det:
            return ()
        op = registry()[node.op]
        places = [i for i in range(len(node.inputs)) if op.undo(node.attrs, i) is not None]
        if not places:
            types = [v.type for v in (node.outputs if node.inverted else node.inputs)]
            return node.inputs if op.bijection(types, node.attrs) is not None else ()
        if len(node.inputs) == 1:
            return node.inputs
        old = self.hints.get(id(made))
        if old is None:
            return ()
        for i in places:
            if node.inputs[i] is old:
                return (old,)
        if hinted:
            return ()
        for i in places:
            if self.depends(node.inputs[i], old):
                return (node.inputs[i],)
        return ()

    # -- steps -----------------------------------------------------------------------------------------------------
    def promote(self, value: Value, span: Span | None) -> None:
        """Makes a value a stream, by the steps that lead to it from the streams at hand."""
        steps: dict[int, tuple[Node, tuple[Value, ...]]] = {}
        pending = [value]
        while pending:
            v = pending.pop()
            if id(v) in self.live:
                continue
            if id(v) in self.gone:
                self.stale(v, span, "used as a stream")
            if id(v) not in self.makers:
                self.refuse(
                    "ARC0609",
                    f"`{v.name}` is context, and no stream",
                    span,
                    help="declare it before `;` to make it a stream, or start one: `new s = ...`",
                )
            place, node = self.makers[id(v)]
            if place in steps:
                continue
            consumed = self.consumed(node, v)
            if not consumed:
                self.not_invertible(node, v, span)
            steps[place] = (node, consumed)
            pending.extend(consumed)
        wheres: dict[int, Span | None] = {}  # id of a value -> the statement that it is an intermediate result of
        for place in sorted(steps, reverse=True):
            node, consumed = steps[place]
            named = next((self.origins[id(v)][1] for v in node.outputs if id(v) in self.origins), None)
            where = named or next((wheres[id(v)] for v in node.outputs if id(v) in wheres), span)
            wheres.update((id(v), where) for v in (*node.outputs, *consumed))
        for place in sorted(steps):
            node, consumed = steps[place]
            self.step(node, consumed, wheres[id(node.outputs[0])])

    def step(self, node: Node, consumed: tuple[Value, ...], span: Span | None) -> None:
        names = [self.name(v) for v in consumed]
        for v in consumed:
            if id(v) in self.gone:
                self.stale(v, span, "used")
        if len({id(v) for v in consumed}) < len(consumed):
            twice = next(n for n in names if names.count(n) > 1)
            self.refuse("ARC0606", f"the stream `{twice}` is used twice by one step", span, "each stream is used once")
        rest = [v for v in node.inputs if not any(v is c for c in consumed)]
        if len(node.inputs) - len(rest) > len(consumed):
            self.refuse(
                "ARC0604",
                f"the stream `{names[0]}` is updated from itself",
                span,
                help="update it from the other streams",
            )
        made = node.outputs[: self.count_made(node)]
        kind = self.contracts(node, consumed, made, rest, span)
        if kind is None:
            self.reads(rest, consumed, span, self.what(node))
            kind = self.judge(node, consumed, made, rest, span)
        self.steps.append(Step(kind, node, consumed, made, span))
        for v in consumed:
            self.consume(v, span)
        for i, v in enumerate(made):
            joined = f"({', '.join(names)})" if len(made) == 1 else f"{names[0]}[{i}]"
            name = names[i] if len(made) == len(names) else v.name or joined
            self.add(v, self.origins[id(v)][0] if id(v) in self.origins else name)

    def count_made(self, node: Node) -> int:
        if node.callee is None or node.inverted:
            return len(node.outputs)
        proof = proved(node.callee)
        assert proof is not None
        return node.callee.carried

    def not_invertible(self, node: Node, value: Value, span: Span | None) -> NoReturn:
        inner = refusal(node.callee) if node.callee is not None else None
        note = f": {inner.message}" if inner is not None else ""
        named = f"`{value.name}` is no stream: " if value.name else ""
        self.refuse(
            "ARC0603",
            f"{named}{self.what(node)} cannot be undone{note}",
            span,
            help="update a stream (`a += f(b)`), apply a bijection to it, or start one (`new s = ...`)",
            spans=[(inner.span, "in here")] if inner is not None and inner.span is not None else [],
        )


def _place(entry: tuple[int, Node]) -> int:
    return entry[0]
