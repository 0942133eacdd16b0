"""Prints the code expressions of op entries as Python text and evaluates them: what the generator does, in small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F

from archlang.ir.graph import Attr, Attrs, TensorType
from archlang.ops.base import REQUIRED, Context, Op
from archlang.ops.code import Bin, Call, Expr, Fixed, Get, Helper, In, Ins, Item, Kw, Lit, Method, Self, Seq, Un
from archlang.shapes.dim import Dim, evaluate


def text(
    expr: Expr, inputs: Sequence[str] = (), *, this: str = "self.op", sizes: Mapping[str, int] | None = None
) -> str:
    """The expression as Python; `inputs` are the names of the wires, `sizes` the values of symbols."""

    def show(e: Expr) -> str:
        return text(e, inputs, this=this, sizes=sizes)

    def arguments(args: Sequence[Expr], kwargs: Sequence[Kw]) -> str:
        named = [f"{kw.name}={show(kw.value)}" for kw in kwargs if not _is_default(kw)]
        return ", ".join([*map(show, args), *named])

    match expr:
        case Lit(value):
            return _literal(value, sizes or {})
        case Fixed(fixed):
            return fixed
        case In(index):
            return inputs[index]
        case Ins(start):
            return f"[{', '.join(inputs[start:])}]"
        case Self():
            return this
        case Call(func, args, kwargs):
            return f"{func if isinstance(func, str) else show(func)}({arguments(args, kwargs)})"
        case Method(value, name, args, kwargs):
            return f"{_operand(value, show)}.{name}({arguments(args, kwargs)})"
        case Get(value, name):
            return f"{_operand(value, show)}.{name}"
        case Bin(op, left, right):
            return f"{_operand(left, show)} {op} {_operand(right, show)}"
        case Un(op, operand):
            return f"{op}{_operand(operand, show)}"
        case Item(value, items):
            parts = [_slice(item, show) if isinstance(item, tuple) else show(item) for item in items]
            return f"{_operand(value, show)}[{', '.join(parts)}]"
        case Seq(items, kind):
            inner = ", ".join(map(show, items))
            return f"[{inner}]" if kind == "list" else f"({inner}{',' * (len(items) == 1)})"
    raise TypeError(expr)


def _operand(e: Expr, show: Any) -> str:
    return f"({show(e)})" if isinstance(e, Bin | Un) else show(e)


def _is_default(kw: Kw) -> bool:
    same = isinstance(kw.value, Lit) and kw.default is not ... and type(kw.value.value) is type(kw.default)
    return same and kw.value.value == kw.default  # type: ignore[union-attr]


def _slice(item: tuple[Expr | None, Expr | None, Expr | None], show: Any) -> str:
    start, stop, step = ("" if e is None else show(e) for e in item)
    return f"{start}:{stop}" + (f":{step}" if step else "")


def _literal(value: Attr, sizes: Mapping[str, int]) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_literal(v, sizes) for v in value)}{',' * (len(value) == 1)})"
    if isinstance(value, Dim):
        return str(evaluate(value, sizes))
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return f'float("{value}")'
    return repr(value)


def all_helpers(helpers: Sequence[Helper]) -> Iterator[Helper]:
    """Helpers with what they need, needs first."""
    for helper in helpers:
        yield from all_helpers(helper.needs)
        yield helper


def namespace(op: Op, attrs: Attrs) -> dict[str, Any]:
    """What a generated file imports, and the op's helpers."""
    names: dict[str, Any] = {"torch": torch, "nn": nn, "F": F}
    for helper in all_helpers(op.helpers(attrs)):
        exec(compile(helper.source, helper.name, "exec"), names)
    return names


def make_module(op: Op, attrs: Attrs) -> nn.Module | None:
    """The module that the emitted constructor makes."""
    constructor = op.module(attrs)
    if constructor is None:
        return None
    module = eval(text(constructor), namespace(op, attrs))
    assert isinstance(module, nn.Module)
    return module


def call(
    op: Op, attrs: Attrs, tensors: Sequence[Any], module: nn.Module | None = None, training: bool = False,
    sizes: Mapping[str, int] | None = None,
) -> Any:  # fmt: skip
    """What the emitted forward expression computes."""
    names = {f"x{i}": tensor for i, tensor in enumerate(tensors)}
    expr = text(op.call(attrs, len(tensors)), list(names), sizes=sizes)
    return eval(expr, {**namespace(op, attrs), **names, "self": SimpleNamespace(training=training, op=module)})


def arguments(op: Op, given: Mapping[str, Attr]) -> dict[str, Attr]:
    """The author's arguments with the defaults filled in, as the elaborator hands them to `resolve`."""
    unknown = set(given) - {param.name for param in op.params}
    assert not unknown, unknown
    args: dict[str, Attr] = {}
    for param in op.params:
        value = given.get(param.name, param.default)
        assert value is not REQUIRED, param.name
        args[param.name] = value
    return args


def apply(op: Op, given: Mapping[str, Attr], ins: Sequence[TensorType]) -> tuple[dict[str, Attr], Any, Context]:
    """Resolves and infers: attributes, output types, and the context with what they ask of symbols."""
    cx = Context()
    attrs = op.resolve(ins, arguments(op, given), cx)
    return attrs, op.infer(ins, attrs, cx), cx
