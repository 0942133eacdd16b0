"""Reversible blocks while they are elaborated: what each statement rebinds, and the proof when the body has run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from archlang.elaborate.session import Activation
from archlang.elaborate.values import Wire
from archlang.ir.graph import Value
from archlang.report.diagnostic import Span
from archlang.reversible.moves import Move, Pair

__all__ = ["fresh", "record"]


def record(cx: Activation, kind: str, span: Span, names: Sequence[str], run: Callable[[], None]) -> None:
    """Runs a statement that binds the names; in a reversible block, keeps what it did to their wires."""
    if cx.moves is None or cx.builder is None:
        run()
        return
    before = _wires(cx, names)
    run()
    after = _wires(cx, names)
    pairs = [
        Pair(name, before.get(name), after.get(name))
        for name in {**before, **after}
        if before.get(name) is not after.get(name)
    ]
    if pairs:
        cx.moves.append(Move(kind, span, tuple(pairs), tuple(cx.builder.iterations), cx.builder.phase))


def _wires(cx: Activation, names: Sequence[str]) -> dict[str, Value]:
    """The values of the wires that the names hold, elements of lists as `c[2]`."""
    found: dict[str, Value] = {}
    for name in names:
        binding = cx.scope.find(name)
        if binding is not None:
            found.update(_elements(name, binding.value))
    return found


def _elements(name: str, value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Wire):
        yield name, value.value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _elements(f"{name}[{i}]", item)


def fresh(cx: Activation, name: str, wires: Sequence[Wire], span: Span) -> list[Wire]:
    """Wires that are no stream, context or weight themselves: where one is, a value of its own that equals it."""
    builder = cx.graph_builder(span)
    made = {id(v) for node in builder.graph.nodes if node.op != "weight" for v in node.outputs}
    taken = {id(v) for move in cx.moves or () for pair in move.pairs for v in (pair.old, pair.new)}
    found: list[Wire] = []
    for wire in wires:
        if id(wire.value) not in made or id(wire.value) in taken:
            (wire,) = builder.node("identity", (wire,), (wire.type,), span, {})
        taken.add(id(wire.value))
        wire.value.name = wire.value.name or (name if len(wires) == 1 else f"{name}{len(found)}")
        found.append(wire)
    return found
