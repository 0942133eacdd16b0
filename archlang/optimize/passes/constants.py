"""Constants: what is computed of numbers alone is a number, a wire of one number beside another wire is that number.

A number counts where every element type holds it as it is, and so holds what is computed of it: small ones with few
binary digits. So the result is the same in float16 as in float64.
"""

from __future__ import annotations

import math
from fractions import Fraction

from archlang.ir.graph import Node, Value
from archlang.ops.base import Context, OpError
from archlang.ops.rules import is_float
from archlang.optimize.base import rewrites
from archlang.optimize.edit import Editor, plain

_DIGITS, _LARGE, _SMALL = 8, 2.0**7, 2.0**-7  # bfloat16 has 8 digits, int8 ends at 127, float16 has 11 from 2**-14 on


@rewrites("fold-constants", equivalence="exact", level=1)
def fold_constants(edit: Editor) -> None:
    """Computes what follows from numbers alone, and takes the arm of `where` that is always taken."""
    for node in edit.nodes():
        if not plain(node) or not node.inputs or len(node.outputs) != 1 or edit.entry(node) is None:
            continue
        if node.op == "where":
            _where(edit, node)
        elif not _to_full(edit, node):
            _to_number(edit, node)


def _number(edit: Editor, value: Value) -> float | None:
    """The number that fills a wire, where all element types hold it."""
    node = edit.maker(value)
    if node is None or node.op != "full" or not plain(node):
        return None
    number = node.attrs["value"]
    return _in_type(number, value.type.dtype) if isinstance(number, (bool, int, float)) else None


def _held(number: float) -> bool:
    """Whether every element type holds the number as it is (integers, where it is whole)."""
    if not math.isfinite(number) or (number and not _SMALL <= abs(number) < _LARGE):
        return False
    scaled = Fraction(number) * 2**7
    while scaled and scaled.denominator == 1 and scaled.numerator % 2 == 0:
        scaled /= 2
    return scaled.denominator == 1 and abs(scaled) < 2**_DIGITS


def _in_type(number: float, dtype: str) -> bool | int | float | None:
    """The number as an element of a type; None where it is none."""
    if not _held(number):
        return None
    if dtype == "bool":
        return bool(number) if number in (0, 1) else None
    if is_float(dtype):
        return float(number)
    return int(number) if number == int(number) and (number >= 0 or dtype != "uint8") else None


def _to_full(edit: Editor, node: Node) -> bool:
    """A node whose inputs are all filled with numbers is filled with one itself."""
    op = edit.entry(node)
    numbers = [_number(edit, v) for v in node.inputs]
    if op is None or None in numbers:
        return False
    result = op.of_numbers([n for n in numbers if n is not None], node.attrs)
    kind = node.outputs[0].type
    value = None if result is None else _in_type(result, kind.dtype)
    if value is None or (is_float(kind.dtype) and any(v.type.dtype != kind.dtype for v in node.inputs)):
        return False  # torch makes floats of integers in its default type, whatever the module's is
    model = edit.maker(node.inputs[0])
    assert model is not None
    like = model.inputs[0].type.dtype if model.inputs else "float"
    if kind.dtype == "float" and like != "float":
        return False
    attrs = {"shape": kind.shape, "value": value, "dtype": kind.dtype}
    attrs |= {"like": bool(model.inputs), "same": kind.dtype == like}
    edit.did(node, f"`{node.op}` of numbers is {value}")
    path = None if model.inputs else edit.fresh_module("full", attrs, node)
    edit.merge(node, edit.add("full", model.inputs, attrs, at=node, path=path).outputs[0])
    return True


def _to_number(edit: Editor, node: Node) -> None:
    """`x + full(shape, 2)` is `x + 2` where x has the shape of the result; so is the beginning of a longer sum."""
    op, given = edit.entry(node), node.inputs
    if op is None or "reverse" not in node.attrs or node.attrs["other"] is not None or len(given) < 2:
        return
    numbers = [_number(edit, v) for v in given]
    at = next((i for i, number in enumerate(numbers) if number is not None), None)
    if at is None:
        return
    before, rest = (given[:at], given[at + 1 :]) if at else (given[1:2], given[2:])
    attrs = {**node.attrs, "other": numbers[at], "reverse": at == 0}
    try:
        wire = op.infer(edit.types(before), node.attrs, Context())[0] if len(before) > 1 else before[0].type
        types = op.infer([wire], attrs, Context())
        wanted = op.infer([wire, given[at].type], node.attrs, Context())
    except OpError:
        return
    if types != wanted or wire.shape != types[0].shape:
        return
    edit.did(node, f"one side of `{node.op}` is {numbers[at]}")
    if len(before) > 1:
        before = edit.add(node.op, before, node.attrs, at=node).outputs
    if rest:
        edit.rewire(node, (*edit.add(node.op, before, attrs, at=node).outputs, *rest))
    else:
        edit.turn(node, node.op, attrs, before)


def _where(edit: Editor, node: Node) -> None:
    """In evaluation: an arm that is never taken has a gradient of 0, and would have none."""
    if edit.training:
        return
    condition, *wires = node.inputs
    arms: list[Value | None] = [
        wires.pop(0) if node.attrs[name] is None else None for name in ("if_true", "if_false")
    ]  # fmt: skip
    number = _number(edit, condition)
    chosen = arms[0] if number == 1 or arms[0] is arms[1] else arms[1] if number == 0 else None
    if chosen is not None and chosen.type == node.outputs[0].type and edit.same_layout(node.outputs[0], chosen):
        edit.did(node, "`where` takes one arm")
        edit.merge(node, chosen)
