"""Numbers that a wire is scaled or shifted by one after the other are one number."""

from __future__ import annotations

import math
from typing import Any

from archlang.ir.graph import Node
from archlang.ops.rules import is_float
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain

_SCALES, _SHIFTS = ("mul", "div"), ("add", "sub")


@rewrites("scalar-chains", equivalence="rounding", level=2)
def scalar_chains(edit: Editor) -> None:
    """Makes one of two factors, or of two summands of the same sign, and takes `+ 0` away (-0.0 + 0 is 0.0)."""
    for node in edit.nodes(*_SCALES, *_SHIFTS):
        number = _number(node)
        if number is None:
            continue
        (x,) = node.inputs
        if node.op == "add" and number == 0 and x.type == node.outputs[0].type:
            edit.did(node, "`+ 0` changes the sign of a zero at most")
            edit.merge(node, x)
            continue
        before = edit.maker(x)
        first = None if before is None else _number(before)
        if before is None or first is None or (edit.training and not edit.sole(x)):
            continue
        if (before.op in _SCALES) != (node.op in _SCALES):
            continue
        kind = "mul" if node.op in _SCALES else "add"
        both = _together(kind, first if before.op == kind else _inverse(kind, first), node, number)
        if both is None:
            continue
        if edit.turn(node, kind, {"other": both, "reverse": False}, before.inputs):
            edit.did(node, f"`{before.op}` by {first} and `{node.op}` by {number} are `{kind}` by {both}")


def _number(node: Node) -> float | None:
    """The finite number beside a floating wire; None for other nodes."""
    if node.op not in (*_SCALES, *_SHIFTS) or len(node.inputs) != 1 or not plain(node):
        return None
    other: Any = node.attrs["other"]
    reverse = node.attrs["reverse"] and node.op in ("sub", "div")
    if reverse or not isinstance(other, (int, float)) or not is_float(node.inputs[0].type.dtype):
        return None
    return float(other) if math.isfinite(other) and (other != 0 or node.op != "div") else None


def _inverse(kind: str, number: float) -> float:
    return 1 / number if kind == "mul" else -number


def _together(kind: str, first: float, node: Node, number: float) -> float | None:
    """The one number; None where it is not finite, or digits would cancel."""
    second = number if node.op == kind else _inverse(kind, number)
    both = first * second if kind == "mul" else first + second
    fine = math.isfinite(both) and (first * second != 0 if kind == "mul" else first * second > 0)
    return both if fine else None
