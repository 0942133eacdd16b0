"""What an extern block declares of itself, besides its types: what undoes it, and what it costs."""

from __future__ import annotations

from typing import Any, NoReturn

from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import describe
from archlang.ir.graph import Attr
from archlang.report.suggest import did_you_mean
from archlang.shapes.dim import Dim, symbols
from archlang.syntax import tree

__all__ = ["facts"]

_KNOWN = {
    "inverse": 'what undoes it: "module:function", or a method of its class, "module:Class.method"',
    "params": "how many numbers its parameters hold",
    "macs": "multiply-accumulates of a call",
    "saved": "bytes that autograd keeps of a call",
}


def facts(cx: Activation, declared: tree.Extern) -> dict[str, Attr]:
    """The attributes that the facts make. cx: the activation that has the parameters and the sizes of this call."""
    found: dict[str, Attr] = {}
    for fact in declared.facts:
        if fact.name not in _KNOWN:
            help = did_you_mean(fact.name, _KNOWN) or "there are " + ", ".join(f"`{name}`" for name in _KNOWN)
            fail("ARC0334", f"an extern block has no fact `{fact.name}`", fact.name_span, help=help)
        if fact.name in found:
            fail("ARC0334", f"`{fact.name}` is stated twice", fact.name_span)
        found[fact.name] = _inverse(cx, declared, fact) if fact.name == "inverse" else _figure(cx, fact)
    return found


def _inverse(cx: Activation, declared: tree.Extern, fact: tree.Fact) -> str:
    value = _value(cx, fact)
    if not isinstance(value, str):
        _refuse(fact, value)
    if not declared.pure:
        message = f"`{declared.name}` is not pure, and so nothing undoes it"
        help = "declare it `extern pure block`, if its result depends on its inputs and weights alone"
        fail("ARC0334", message, fact.span, related=[(declared.name_span, "declared here")], help=help)
    return value


def _figure(cx: Activation, fact: tree.Fact) -> int | Dim:
    value = _value(cx, fact)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, Dim)) or (isinstance(value, int) and value < 0):
        _refuse(fact, value)
    if fact.name == "params" and symbols(value):
        help = "parameters do not depend on sizes that are still open"
        fail("ARC0305", f"`params` is a number, and this is {value}", fact.value.span, help=help)
    return value


def _value(cx: Activation, fact: tree.Fact) -> Any:
    from archlang.elaborate.dispatch import evaluate

    return evaluate(cx, fact.value)


def _refuse(fact: tree.Fact, value: Any) -> NoReturn:
    fail("ARC0334", f"`{fact.name}` is {_KNOWN[fact.name]}, not {describe(value)}", fact.value.span)
