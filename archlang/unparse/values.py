"""Attributes, sizes and types as they are written in a spec."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence

from archlang.ir.graph import Attr, Init, TensorType
from archlang.shapes.dim import Dim, Size, Symbol, substitute

__all__ = ["label", "literal", "quoted", "size_text", "type_text"]

DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int64": "i64", "int32": "i32",
    "int16": "i16", "int8": "i8", "uint8": "u8", "bool": "bool",
}  # fmt: skip


def quoted(text: str) -> str:
    """A string literal; braces would interpolate."""
    for char, escape in (("\\", "\\\\"), ('"', '\\"'), ("{", "{{"), ("}", "}}"), ("\n", "\\n"), ("\t", "\\t")):
        text = text.replace(char, escape)
    return f'"{text}"'


def literal(value: Attr, sizes: Mapping[str, Size], number: Callable[[int | float], str] = repr) -> str:
    """A value of elaboration. sizes: what stands for symbols; number: how those of the value itself are written."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Dim):
        return size_text(substitute(value, sizes))
    if isinstance(value, Init):
        inner = ", ".join(f"{name}={literal(arg, sizes)}" for name, arg in value.args)
        if value.name == "columns":
            inner = ", ".join(literal(arg, sizes) for _, arg in value.args)
        return f"{value.name}({inner})" if inner else value.name
    if isinstance(value, tuple):
        return f"[{', '.join(literal(item, sizes, number) for item in value)}]"
    return number(value)


def size_text(size: Size, divided: Callable[[str, str], str] = "floor({} / {})".format) -> str:
    """A size as an expression. divided: how a quotient that is rounded down is written."""
    if isinstance(size, int):
        return str(size)
    terms: list[str] = []
    for mono, coefficient in size.terms:
        atoms = []
        for atom, power in mono:
            if isinstance(atom, Symbol):
                text = atom.name
            else:
                text = divided(*(_grouped(part, divided) for part in (atom.numerator, atom.denominator)))
            atoms += [text] * power
        number = [str(abs(coefficient))] if abs(coefficient) != 1 or not atoms else []
        terms.append((" - " if coefficient < 0 else " + ") + " * ".join([*number, *atoms]))
    text = "".join(terms)
    return text[3:] if text.startswith(" + ") else "-" + text[3:]


def _grouped(size: Size, divided: Callable[[str, str], str]) -> str:
    text = size_text(size, divided)
    return text if text.isalnum() else f"({text})"


def type_text(
    kind: TensorType,
    sizes: Mapping[str, Size],
    others: Sequence[TensorType] = (),
    number: Callable[[int], str] = repr,
) -> str:
    """A declared type: `[B, 3, H, W]`, `i64[B, T]`; `_` where other types of the same wire have another size."""
    found = [substitute(size, sizes) for size in kind.shape]
    dims = [
        "_"
        if any(other.shape[d] != kind.shape[d] for other in others)
        else number(size)
        if isinstance(size, int)
        else size_text(size)
        for d, size in enumerate(found)
    ]
    return f"{DTYPES.get(kind.dtype, '')}[{', '.join(dims)}]"


def label(path: str) -> str:
    """A path as a label: bare where it is a plain name."""
    return path if path.isidentifier() and not keyword.iskeyword(path) and path not in _SOFT else quoted(path)


_SOFT = frozenset(("none", "true", "false", "then", "let", "fn"))  # words of the language that are none of Python's
