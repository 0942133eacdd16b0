"""Short forms for the tests of the syntax stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from archlang.report.diagnostic import ArchError, Diagnostic, Source
from archlang.syntax import parse, parse_expression, tree


def module(text: str) -> tree.Module:
    return parse(Source("test.arch", text))


def expr(text: str) -> Any:
    return parse_expression(Source("test.arch", text))


def body(text: str) -> tuple[Any, ...]:
    """The statements of a block's body."""
    block = module("block test(x) {\n" + text + "\n}\n").items[0]
    assert isinstance(block, tree.Block)
    return block.body


def errors(text: str) -> list[Diagnostic]:
    with pytest.raises(ArchError) as caught:
        module(text)
    return caught.value.diagnostics


def nodes(root: object) -> Iterator[tree.Node]:
    """Every node below and with a node."""
    stack: list[object] = [root]
    while stack:
        value = stack.pop()
        if isinstance(value, tree.Node):
            yield value
            stack.extend(getattr(value, f.name) for f in dataclasses.fields(value))
        elif isinstance(value, tuple):
            stack.extend(value)


def sketch(value: object) -> Any:
    """A tree without spans: `Binary('+', Name('a'), 1)` becomes ('+', 'a', 1)."""
    match value:
        case tree.Name(id=name):
            return name
        case tree.Number(value=number) | tree.Bool(value=number):
            return number
        case tree.NoneLit():
            return None
        case tree.Binary(op=op, left=left, right=right):
            return (op, sketch(left), sketch(right))
        case tree.Unary(op=op, operand=operand):
            return (op, sketch(operand))
        case tree.Paren(value=inner):
            return ("()", sketch(inner))
        case tuple():
            return tuple(sketch(v) for v in value)
        case tree.Node():
            fields = [sketch(getattr(value, f.name)) for f in dataclasses.fields(value) if not f.name.endswith("span")]
            return (type(value).__name__, *fields)
        case _:
            return value
