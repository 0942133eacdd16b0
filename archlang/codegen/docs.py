"""Docstrings: the block's documentation, its parameters and where it stands in the source, safely escaped."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from archlang.codegen.classes import Unit
from archlang.codegen.literals import exact, is_literal
from archlang.codegen.printer import WIDTH
from archlang.report.diagnostic import Span

__all__ = ["docstring", "escape", "first_paragraph", "headline", "place"]

_LONGEST = 60  # characters of a parameter's value


def escape(text: str) -> str:
    """Text for inside triple quotes: one line, nothing that ends the string or cannot be seen."""
    text = " ".join(text.split())
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(c if c.isprintable() else _code(c) for c in text)


def _code(char: str) -> str:
    """The code of a character that cannot be seen, as text: the docstring shows it and does not hold it."""
    code = ord(char)
    return f"\\\\x{code:02x}" if code < 256 else f"\\\\u{code:04x}" if code < 65536 else f"\\\\U{code:08x}"


def docstring(paragraphs: list[str], indent: int) -> list[str]:
    """Lines of a docstring of escaped paragraphs; one line where it fits."""
    pad = " " * indent
    texts = [p for p in paragraphs if p]
    if not texts:
        return []
    if len(texts) == 1 and indent + len(texts[0]) + 6 <= WIDTH and not texts[0].endswith(('"', "\\")):
        return [f'{pad}"""{texts[0]}"""']
    lines: list[str] = []
    for i, text in enumerate(texts):
        width = WIDTH - indent
        first = textwrap.wrap("   " + text, width, break_long_words=False, break_on_hyphens=False) if i == 0 else []
        wrapped = first or textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        if i == 0:
            wrapped[0] = wrapped[0].lstrip()
        lines += ([""] if i else []) + wrapped
    if len(lines) == 1 and not lines[0].endswith(('"', "\\")):
        return [f'{pad}"""{lines[0]}"""']
    lines[0] = f'"""{lines[0]}'
    return [f"{pad}{line}".rstrip() for line in lines] + [f'{pad}"""']


def first_paragraph(doc: str) -> str:
    return escape(re.split(r"\n\s*\n", doc.strip())[0])


def place(span: Span | None) -> str:
    """`net.arch:12`: without the directory, which is the machine's affair."""
    if span is None:
        return ""
    name = span.source.path.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{span.line}"


def headline(unit: Unit) -> str:
    """`bottleneck(width, stride=1), net.arch:12`."""
    assert unit.arguments is not None
    members = unit.members
    first = members[0]
    parts: list[str] = []
    for name, value in first.params.items():
        same = len({exact(m.params.get(name)) for m in members}) == 1
        parts.append(f"{name}={_value(value)}" if same and is_literal(value) else name)
    title = f"{first.block}({', '.join(parts)})" if first.block else ""
    return escape(", ".join(t for t in (title, place(first.span)) if t))


def _value(value: Any) -> str:
    text = f"[{', '.join(_value(v) for v in value)}]" if isinstance(value, tuple) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
