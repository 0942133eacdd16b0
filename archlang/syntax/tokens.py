"""The scanner: text to tokens and comments, with the terminals of the grammar file."""

from __future__ import annotations

import functools
import itertools
import re

from archlang.report.diagnostic import Diagnostic, Fix, Source, Span
from archlang.syntax.grammar import Table, load_table

__all__ = ["END", "ERROR", "LINE_END", "MAX_ERRORS", "NEWLINE", "SOFT_WORDS", "Token", "scan", "too_long"]

MAX_ERRORS = 20  # that are reported in one run

NEWLINE = "_NL"  # between two statements, made by the layout filter
LINE_END = "LINE_END"  # a line end in the text
ERROR = "$ERROR"  # stands where something was already reported: the parser skips its statement silently
END = "$END"

# Keywords only in their place (see layout.py); names everywhere else.
_SOFT = "block weight buffer use verify extern reversible pure new emit training on as valid where _"
SOFT_WORDS = frozenset(_SOFT.split())


class Token:
    """`type` is the text itself for words and signs of the language, else NAME, NUMBER, STRING, or one of the above."""

    __slots__ = ("end", "start", "text", "type")

    def __init__(self, type: str, text: str, start: int, end: int) -> None:
        self.type = type
        self.text = text
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"Token({self.type!r}, {self.text!r}, {self.start})"


@functools.cache
def _scanner() -> tuple[re.Pattern[str], frozenset[str]]:
    table: Table = load_table()
    patterns = table.patterns
    order = ["SPACE", "NAME", "NUMBER", "STRING", "COMMENT", "LINE_END"]
    groups = [f"(?P<{name}>{patterns[name]})" for name in order if name in patterns]
    groups.append(f"(?P<SIGN>{'|'.join(re.escape(sign) for sign in table.signs)})")
    groups.append(r"(?P<BADNUMBER>[0-9][0-9A-Za-z_]*)")
    groups.append(r'(?P<BADSTRING>"[^\n]*)')
    groups.append(r"(?P<BADQUOTE>'[^'\n]*')")
    groups.append(r"(?P<BAD>[^\x00-\x7f]+|.)")
    return re.compile("|".join(groups)), table.words - SOFT_WORDS


def scan(
    source: Source, start: int, end: int, found: list[Diagnostic], limit: int
) -> tuple[list[Token], list[tuple[Span, str]]]:
    """Tokens (line ends included) and comments of a range; what is no token is reported and becomes an ERROR.

    Stops with a diagnostic after `limit` tokens, and after the first twenty mistakes.
    """
    pattern, hard_words = _scanner()
    tokens: list[Token] = []
    comments: list[tuple[Span, str]] = []
    add = tokens.append
    matches = pattern.finditer(source.text, start, end)
    for match in itertools.islice(matches, limit):
        kind = match.lastgroup
        if kind == "SPACE":
            continue
        text = match.group()
        first, last = match.span()
        if kind == "NAME":
            add(Token(text if text in hard_words else "NAME", text, first, last))
        elif kind == "SIGN":
            add(Token(text, text, first, last))
        elif kind == "COMMENT":
            comments.append((Span(source, first, last), text.rstrip("\r")))
        elif kind in ("LINE_END", "NUMBER", "STRING"):
            add(Token(kind, text, first, last))
        else:
            found.append(_refused(source, kind or "", text, first, last))
            if len(found) >= MAX_ERRORS:
                return [], comments
            add(Token(ERROR, text, first, last))
    if (more := next(matches, None)) is not None:
        found.append(too_long(source, more.start()))
        return [], comments
    return tokens, comments


def too_long(source: Source, offset: int) -> Diagnostic:
    span = Span(source, offset, min(offset + 1, len(source.text)))
    message = "the text goes on for too long: more words and signs than a file of its size may have"
    return Diagnostic("ARC0006", message, span, help="split the file, or write the repetition as a loop")


_HABITS = {
    "'": "strings are written with double quotes",
    "!": "write `not`",
    "&": "write `and`",
    "|": "write `or`",
    "\\": "a line that ends with an operator or an open parenthesis goes on by itself",
    "`": "strings are written with double quotes",
    "→": "write `->`",
    "×": "write `*`",
    "≤": "write `<=`",
    "≥": "write `>=`",
    "±": "write `+-`",
    "“": "strings are written with straight double quotes",
    "”": "strings are written with straight double quotes",
}


def _refused(source: Source, kind: str, text: str, start: int, end: int) -> Diagnostic:
    span = Span(source, start, end)
    if kind == "BADNUMBER":
        shown = text if len(text) <= 40 else text[:40] + "..."
        return Diagnostic(
            "ARC0028",
            f"`{shown}` is neither a number nor a name",
            span,
            help="numbers may end in k, M, G, T (thousands), KiB, MiB, GiB or %; names start with a letter",
        )
    if kind == "BADSTRING":
        return Diagnostic(
            "ARC0025",
            "this string is never closed",
            Span(source, start, start + len(text.rstrip())),
            help='a string ends with `"` on the line where it starts; a line break inside it is written `\\n`',
        )
    if kind == "BADQUOTE":
        fix = Fix(span, f'"{text[1:-1]}"') if '"' not in text else None
        return Diagnostic("ARC0005", "strings are written with double quotes", span, fix=fix)
    hint = _HABITS.get(text[0])
    if hint is None and text[0].isalnum():
        hint = "names are made of the letters a-z, A-Z, digits and `_`; a label in quotes may hold any text"
    shown = text if text.isprintable() else f"U+{ord(text[0]):04X}"
    return Diagnostic("ARC0005", f"`{shown}` is not part of the language", span, help=hint)
