"""`A <-> B` and `A >-> B`: module parameters that must be bijective, or injective, between these types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.graph_calls import flat
from archlang.elaborate.patterns import match
from archlang.elaborate.scope import Scope
from archlang.elaborate.session import Activation
from archlang.elaborate.streams import streams_of
from archlang.ir.graph import Node
from archlang.records import replace
from archlang.report.diagnostic import ArchError, Span
from archlang.reversible import Prover
from archlang.syntax import tree

__all__ = ["check_arrow"]

_WORD = {"<->": "bijective", ">->": "injective"}


def check_arrow(
    cx: Activation, arrow: tree.ArrowType, nodes: Sequence[Node], items: Sequence[Any], result: Any, span: Span
) -> None:
    """Proves an application of a module that is declared to be reversible, and compares the types."""
    results = streams_of(result).items
    inner = replace(cx, scope=Scope(cx.scope))  # sizes that the type names are of this application
    for side, given, what in ((arrow.source, items, "takes"), (arrow.target, results, "gives")):
        _match(inner, side, given, span, what)
    assert cx.builder is not None
    streams = [(wire.value.name or "x", wire.value) for item in items for wire in flat(item)]
    prover = Prover(cx.builder.graph, nodes, streams, span)
    values = [wire.value for item in results for wire in flat(item)]
    declared = [(arrow.span, f"declared {_WORD[arrow.arrow]} here")]
    try:
        prover.run((), values, span)
    except ArchError as error:
        reason = error.diagnostics[0]
        related = declared + [(label.span, label.text) for label in reason.related]
        fail("ARC0614", f"this module is not {_WORD[arrow.arrow]}: {reason.message}", span, related=related)
    if arrow.arrow == "<->" and prover.proof(len(values)).grade == "injective":
        help = "declare the parameter with `>->` if that is enough"
        fail("ARC0614", "this module is injective, not bijective", span, related=declared, help=help)


def _match(cx: Activation, side: tree.Type, items: Sequence[Any], span: Span, what: str) -> None:
    types = side.items if isinstance(side, tree.TupleType) else (side,)
    if len(types) == 1 and getattr(types[0], "name", "") in ("any", "tensors"):
        return
    if len(types) != len(items):
        count = f"{len(items)} wire{'s' if len(items) != 1 else ''}"
        related = [(side.span, f"declared here: {len(types)}")]
        fail("ARC0614", f"this module {what} {count}, and its type says {len(types)}", span, related=related)
    for type, item in zip(types, items, strict=True):
        for wire in flat(item):
            match(cx, type, wire.type, span, f"what the module {what}")
