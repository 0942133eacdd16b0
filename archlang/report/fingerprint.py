"""A name for a finding that stays when lines move, comments change and files are renamed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.report.text import sorted_diagnostics

__all__ = ["VERSION", "fingerprints"]

VERSION = "archlang/v1"
_NAMED = re.compile(r"^(?:reversible +|extern +|pure +)*(?:block|fn) +(\w+)", re.MULTILINE)
_DEFINITION = re.compile(r"^(?:reversible +|extern +|pure +)*(?:block|fn|let|verify)\b *(\"[^\"\n]*\"|\w*)")


def fingerprints(diagnostics: Iterable[Diagnostic]) -> dict[Diagnostic, str]:
    """A fingerprint for each finding: `1f0c...:1`, and `:2` for the next that is the same in the same file.

    It is made of the code, of the definition that holds the finding, and of the words of the marked text and of its
    first line, without comments and spaces; blocks and functions of the file may be renamed there. It does not depend
    on the path, the line number or the message. A finding that points nowhere is known by its message.
    """
    met: Counter[tuple[str, str]] = Counter()
    found: dict[Diagnostic, str] = {}
    for diagnostic in sorted_diagnostics(diagnostics):
        digest = sha256("\0".join(_parts(diagnostic)).encode()).hexdigest()[:16]
        key = (diagnostic.span.source.path if diagnostic.span else "", digest)
        met[key] += 1
        found[diagnostic] = f"{digest}:{met[key]}"
    return found


def _parts(diagnostic: Diagnostic) -> tuple[str, ...]:
    span = diagnostic.span
    if span is None:
        return (diagnostic.code, diagnostic.message)
    texts = span.text, span.source.line(span.line)
    return diagnostic.code, _definition(span), *(_words(_unnamed(text, span.source)) for text in texts)


def _unnamed(text: str, source: Source) -> str:
    """The text with `@` for the names of the file's own blocks and functions."""
    names = _names(source.text)
    return re.sub(r"[A-Za-z_]\w*", lambda word: "@" if word[0] in names else word[0], text[:10_000])


@lru_cache(maxsize=8)
def _names(text: str) -> frozenset[str]:
    return frozenset(_NAMED.findall(text))


def _definition(span: Span) -> str:
    """The name of the top-level definition that a span begins in, "" outside of all."""
    for number in range(min(span.line, span.source.line_count), 0, -1):
        line = _start(span.source, number)
        match = _DEFINITION.match(line)
        if match:
            return match[0] if number < span.line or span.column > match.end() else ""
        if line.startswith("}") and number < span.line:
            return ""
    return ""


def _start(source: Source, number: int) -> str:
    return source.line(number)[:200]


def _words(text: str) -> str:
    """The text without comments and spaces. (A `#` inside of a string cuts more; that makes it no less stable.)"""
    return re.sub(r"#.*|\s+", "", text[:10_000])
