"""Op emissions (`ops.code`) as expressions of the generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from archlang.codegen import exprs as py
from archlang.codegen.names import positional
from archlang.codegen.printer import measured
from archlang.ops import code
from archlang.shapes.dim import Dim

__all__ = ["convert", "literal", "mentions_self", "symbolic", "walk"]


def convert(
    e: code.Expr,
    inputs: Sequence[py.Py],
    module: Callable[[], py.Py],
    attrs: Mapping[str, Any],
    hint: str = "",
) -> py.Py:
    """inputs: what the op's wires are; module: what `Self()` is; attrs: for the names of literals."""

    def go(e: code.Expr, hint: str = "") -> py.Py:
        return convert(e, inputs, module, attrs, hint)

    def keywords(kwargs: tuple[code.Kw, ...]) -> tuple[py.Kwarg, ...]:
        return tuple(py.Kwarg(k.name, go(k.value, k.name), k.default) for k in kwargs)

    def arguments(function: str, args: tuple[code.Expr, ...]) -> tuple[py.Py, ...]:
        return tuple(go(a, positional(function, i) or _attribute_of(a, attrs)) for i, a in enumerate(args))

    if isinstance(e, code.Lit):
        return literal(e.value, hint or _attribute_of(e, attrs))
    if isinstance(e, code.Fixed):
        return py.Raw(e.text)
    if isinstance(e, code.In):
        return inputs[e.index]
    if isinstance(e, code.Ins):
        return py.Seq(tuple(inputs[e.start :]), "list")
    if isinstance(e, code.Self):
        return module()
    if isinstance(e, code.Call):
        name = e.func if isinstance(e.func, str) else ""
        func = py.Raw(e.func) if isinstance(e.func, str) else go(e.func)
        return py.Call(func, arguments(name, e.args), keywords(e.kwargs))
    if isinstance(e, code.Method):
        return py.Call(py.Get(go(e.value), e.name), arguments("", e.args), keywords(e.kwargs))
    if isinstance(e, code.Get):
        value = go(e.value)
        if isinstance(e, code.Buffer) and isinstance(value, py.Call):  # of `get_submodule`, which tells no class
            return py.Call(py.Get(value, "get_buffer"), (py.Raw(f'"{e.name}"'),))
        return py.Get(value, e.name)
    if isinstance(e, code.Bin):
        return py.Bin(e.op, go(e.left, hint), go(e.right, hint))
    if isinstance(e, code.Un):
        return py.Un(e.op, go(e.operand, hint))
    if isinstance(e, code.Item):
        return py.Item(go(e.value), tuple(_item(i, go) for i in e.items))
    if isinstance(e, code.Seq):
        return py.Seq(tuple(go(i, hint) for i in e.items), e.kind)
    raise TypeError(type(e).__name__)


def _item(item: Any, go: Callable[..., py.Py]) -> py.Py | py.Slice:
    if isinstance(item, tuple):
        return py.Slice(*(None if part is None else go(part) for part in item))
    return go(item)


def literal(value: Any, hint: str) -> py.Py:
    """A leaf; a symbolic size, or a tuple that holds one, becomes an expression."""
    if isinstance(value, Dim):
        return measured(value)
    if isinstance(value, tuple) and symbolic(value):
        return py.Seq(tuple(literal(v, hint) for v in value))
    return py.Leaf(value, hint)


def symbolic(value: Any) -> bool:
    if isinstance(value, tuple):
        return any(symbolic(v) for v in value)
    return isinstance(value, Dim)


def _attribute_of(e: code.Expr, attrs: Mapping[str, Any]) -> str:
    """The attribute whose value a positional literal is."""
    if not isinstance(e, code.Lit) or e.value is None or isinstance(e.value, bool):
        return ""
    return next((name for name, value in attrs.items() if type(value) is type(e.value) and value == e.value), "")


def walk(e: Any) -> Iterator[Any]:
    """All parts of an op's emission."""
    stack = [e]
    while stack:
        top = stack.pop()
        if isinstance(top, tuple):
            stack.extend(top)
        elif hasattr(top, "__dataclass_fields__"):
            yield top
            stack.extend(getattr(top, name) for name in top.__dataclass_fields__)


def mentions_self(e: code.Expr) -> bool:
    """Whether an emission needs the surrounding module: its mode, or a module of its own."""
    return any(isinstance(p, code.Self) or (isinstance(p, code.Fixed) and "self." in p.text) for p in walk(e))
