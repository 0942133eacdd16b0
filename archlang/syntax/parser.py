"""From a source to its tree."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from archlang.report.diagnostic import ArchError, Diagnostic, Source
from archlang.syntax import tree
from archlang.syntax.build import Builder
from archlang.syntax.docs import Docs
from archlang.syntax.engine import run
from archlang.syntax.explain import explainer
from archlang.syntax.grammar import load_table
from archlang.syntax.layout import layout
from archlang.syntax.tokens import LINE_END, MAX_ERRORS, Token, scan, too_long

__all__ = ["MAX_TOKENS", "parse", "parse_expression"]

MAX_TOKENS = 400_000  # for each MiB of text
_LARGE = 50_000  # characters
_LONGEST_STRING = 20  # lines that a string with a forgotten quote is thought to have
_PER_EXPRESSION = 10  # what starting on an interpolated expression costs, in tokens


def parse(source: Source) -> tree.Module:
    """The tree of a file; raises ArchError with every mistake that was found. A file without items is a Module too."""
    parser = _Parser(source)
    with _no_collection(len(source.text) > _LARGE):
        module = parser.module()
    parser.check()
    assert isinstance(module, tree.Module)
    return module


def parse_expression(source: Source) -> tree.Expr:
    """The tree of one expression, as after `--set name=`; raises ArchError."""
    parser = _Parser(source)
    value = parser.expression(0, len(source.text), inside_string=False)
    parser.check()
    assert value is not None
    return value


@contextlib.contextmanager
def _no_collection(wanted: bool) -> Iterator[None]:
    """A tree has no cycles: looking for them while it grows takes two fifths of the time of a large file."""
    if not wanted or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Parser:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.table = load_table()
        self.found: list[Diagnostic] = []
        self.builder = Builder(source, self.found, self._interpolated)
        self.builder.docs = Docs(source, [])
        # Work is bounded for every text of a given size, dense or not.
        self.budget = MAX_TOKENS * max(1, len(source.text) >> 20)
        self.spent = False
        self.actions = self.builder.actions()

    def module(self) -> tree.Module | None:
        tokens, comments = scan(self.source, 0, len(self.source.text), self.found, self.budget)
        self.budget -= len(tokens)
        self.builder.docs = Docs(self.source, comments)
        return self._run(layout(self.source, tokens, self.found), "module", "")  # type: ignore[return-value]

    def expression(self, start: int, end: int, inside_string: bool) -> tree.Expr | None:
        tokens, _ = scan(self.source, start, end, self.found, MAX_TOKENS)
        self.budget -= len(tokens) + _PER_EXPRESSION
        tokens = [token for token in tokens if token.type != LINE_END]
        laid = layout(self.source, tokens, self.found, expression=True)
        laid[-1] = Token(laid[-1].type, "", end, end)
        where = "the braces of a string" if inside_string else "an expression"
        return self._run(laid, "expression", where)  # type: ignore[return-value]

    def _interpolated(self, start: int, end: int) -> tree.Expr | None:
        before = len(self.found)
        if before >= MAX_ERRORS:
            return None
        if self.budget <= 0:
            if not self.spent:
                self.found.append(too_long(self.source, start))
            self.spent = True
            return None
        value = self.expression(start, end, inside_string=True)
        return value if len(self.found) == before else None

    def _run(self, tokens: list[Token], start: str, where: str) -> object:
        explain = explainer(self.source, where)
        return run(self.table, self.source, tokens, start, self.actions, self.found, explain)

    def check(self) -> None:
        if self.found:
            unique = {(d.code, d.span.start if d.span else 0): d for d in reversed(self.found)}
            ordered = sorted(unique.values(), key=lambda d: d.span.start if d.span else 0)
            raise ArchError(_without_echoes(ordered)[:MAX_ERRORS])


def _without_echoes(found: list[Diagnostic]) -> list[Diagnostic]:
    """Leaves out what only follows: after a misplaced quote the rest of its line, and the lines up to a closing one;
    after brackets that do not match, closing ones that are left over on the line."""
    strings = {d.span.line: d.span for d in found if d.code == "ARC0025" and d.span is not None}
    kept: list[Diagnostic] = []
    quiet = last = 0  # the lines up to which nothing is said; the line of the finding before
    for diagnostic in found:
        line = diagnostic.span.line if diagnostic.span is not None else 0
        echo = line == last and (line in strings or diagnostic.code == "ARC0022")
        if line and (line <= quiet or echo):
            continue
        kept.append(diagnostic)
        last = line
        if diagnostic.code == "ARC0025":
            closing = next((n for n in sorted(strings) if n > line and not strings[n].text.strip('" ),]}')), line)
            quiet = closing if closing - line <= _LONGEST_STRING else line
    return kept
