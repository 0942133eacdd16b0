"""Numbers and strings: from the text of a token to its value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.syntax import tree
from archlang.syntax.tokens import MAX_ERRORS, Token

__all__ = ["number_value", "string_parts"]

_SCALES = {
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_SUFFIX = re.compile(
    r"(?P<digits>[0-9_]+)(?P<rest>(?:\.[0-9_]+)?(?:[eE][+-]?[0-9]+)?)(?P<scale>[A-Za-z]*)(?P<percent>%?)"
)
_MAX_DIGITS = 400
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_PIECE = re.compile(r'[^\\{}"]+|\\u[0-9a-fA-F]{4}|\\.|\{\{|\}\}|[{}]')


def number_value(text: str) -> int | float | None:
    """The value with its suffix multiplied in (exactly: whole results are ints); None where it is out of range."""
    match = _SUFFIX.fullmatch(text)
    if match is None or len(text) > _MAX_DIGITS:
        return None
    digits, rest, scale, percent = match.group("digits", "rest", "scale", "percent")
    plain = (digits + rest).replace("_", "")
    if not rest and not percent:
        return int(plain) * _SCALES.get(scale, 1)
    value = float(plain)
    if not math.isfinite(value):
        return None
    if scale or percent:
        if "e" in plain.lower() and abs(int(re.split("[eE]", plain)[1])) > _MAX_DIGITS:
            return value
        exact = Fraction(plain) * _SCALES.get(scale, 1) / (100 if percent else 1)
        value = float(exact) if exact.denominator != 1 or percent else int(exact)
    return value


def string_parts(
    source: Source, token: Token, found: list[Diagnostic], interpolation: Callable[[int, int], tree.Expr | None]
) -> tuple[str | tree.Expr, ...]:
    """Literal text and interpolated expressions; `interpolation(start, end)` parses the text between braces."""
    text = source.text
    end = token.end - 1
    parts: list[str | tree.Expr] = []
    literal: list[str] = []
    position = token.start + 1
    while position < end and len(found) < MAX_ERRORS:
        match = _PIECE.match(text, position, end)
        assert match is not None
        piece = match.group()
        if piece == "{":
            close = text.find("}", position, end)
            inner = text[position + 1 : close] if close >= 0 else ""
            if not inner.strip():
                found.append(_bad_braces(source, position, close, end))
                return ("",)
            value = interpolation(position + 1, close)
            if literal:
                parts.append("".join(literal))
                literal = []
            if value is not None:
                parts.append(value)
            position = close + 1
            continue
        if piece == "}":
            span = Span(source, position, position + 1)
            found.append(Diagnostic("ARC0027", "this `}` closes nothing", span, help="a brace as text is written `}}`"))
        elif piece in ("{{", "}}"):
            literal.append(piece[0])
        elif piece[0] == "\\":
            literal.append(_escape(source, piece, position, found))
        else:
            literal.append(piece)
        position = match.end()
    if literal or not parts:
        parts.append("".join(literal))
    return tuple(parts)


def _escape(source: Source, piece: str, position: int, found: list[Diagnostic]) -> str:
    if len(piece) == 6:
        code = int(piece[2:], 16)
        if not 0xD800 <= code < 0xE000:
            return chr(code)
    elif piece[1] in _ESCAPES:
        return _ESCAPES[piece[1]]
    span = Span(source, position, position + len(piece))
    message = f"`{piece}` is not an escape"
    found.append(
        Diagnostic(
            "ARC0026", message, span, help='the escapes are \\n, \\t, \\r, \\", \\\\ and \\u0000; `\\\\` is a backslash'
        )
    )
    return ""


def _bad_braces(source: Source, start: int, close: int, end: int) -> Diagnostic:
    if close < 0:
        span = Span(source, start, start + 1)
        return Diagnostic(
            "ARC0027", "this `{` is never closed in its string", span, help="a brace as text is written `{{`"
        )
    span = Span(source, start, close + 1)
    return Diagnostic(
        "ARC0027", "there is no expression between these braces", span, help="braces as text are `{{` and `}}`"
    )
