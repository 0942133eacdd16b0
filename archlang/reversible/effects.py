"""What running a branch again depends on besides its inputs: random numbers, the batch, jumps, foreign code."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from archlang.ir.graph import Graph, Node
from archlang.ops.base import registry
from archlang.records import dataclass
from archlang.report.diagnostic import Span

__all__ = ["Effect", "effects_of", "total"]

_KNOWN: WeakKeyDictionary[Graph, tuple[Effect, ...]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Effect:
    """kind: "random", "batch-coupled", "discontinuous" or "impure"; what: the op; path: where in the graph."""

    kind: str
    what: str
    path: str
    span: Span | None

    def __str__(self) -> str:
        return f"{self.kind}: `{self.what}`" + (f" at `{self.path}`" if self.path else "")


def effects_of(nodes: Iterable[Node]) -> list[Effect]:
    """The effects of nodes, those of the graphs that they call included; one for each kind and op."""
    found: dict[tuple[str, str], Effect] = {}
    for node in nodes:
        if node.op == "call":
            assert node.callee is not None
            inner = [Effect(e.kind, e.what, _join(node.path, e.path), e.span) for e in _inside(node.callee)]
        else:
            inner = [Effect(kind, node.op, node.path or "", node.span) for kind in _kinds(node)]
        for effect in inner:
            found.setdefault((effect.kind, effect.what), effect)
    return list(found.values())


def _kinds(node: Node) -> tuple[str, ...]:
    if node.op in ("weight", "phase"):
        return ()
    if node.op == "extern":
        return () if node.attrs.get("pure") else ("impure",)
    return registry()[node.op].effects(node.attrs)


def _inside(graph: Graph) -> tuple[Effect, ...]:
    if graph not in _KNOWN:
        _KNOWN[graph] = tuple(effects_of(graph.nodes))
    return _KNOWN[graph]


def _join(*parts: str | None) -> str:
    return ".".join(part for part in parts if part)


def total(graph: Graph) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hypotheses and effects of a proved graph, those of the graphs in its steps included, under their paths."""
    hypotheses: dict[str, None] = {}
    effects: dict[str, None] = {}
    stack: list[tuple[Graph, str]] = [(graph, "")]
    done: set[int] = set()
    while stack:
        here, prefix = stack.pop()
        if here.proof is None or id(here) in done:
            continue
        done.add(id(here))
        for text, table in ((here.proof.hypotheses, hypotheses), (here.proof.effects, effects)):
            table.update(dict.fromkeys(f"{t} (in `{prefix}`)" if prefix else t for t in text))
        for step in reversed(here.proof.steps):
            if step.node is not None and step.node.callee is not None:
                stack.append((step.node.callee, _join(prefix, step.node.path)))
    return tuple(hypotheses), tuple(effects)
