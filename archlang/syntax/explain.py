"""What to say where the parser is stuck: what was being written, and what may come next, in the user's words."""

from __future__ import annotations

from collections.abc import Callable

from archlang.report.diagnostic import Diagnostic, Fix, Label, Source, Span
from archlang.syntax.engine import Failure
from archlang.syntax.suggest import closest_word
from archlang.syntax.tokens import END, NEWLINE, Token
from archlang.syntax.tree import Node

__all__ = ["explainer"]

_ITEMS = ("block", "reversible", "extern", "fn", "let", "use", "verify")
_STATEMENTS = ("let", "if", "for", "return", "weight", "buffer", "new", "emit", "assert", "fn", "else")
_WORDS = frozenset("fn let if then else for in return and or not true false none assert".split())  # noqa: SIM905
_OPERATORS = frozenset("-> + - * / // % ** @ == != < <= > >= and or in not .. . ( [".split())  # noqa: SIM905
# What may follow, from the most telling to the least.
_MARKS = ("then", "else", "in", "{", "=>", "=", ":", ",", ")", "]", "->", "on", "as", "for", ";", "(", "block")
_HABITS = {
    "def": "a network is declared with `block name(parameters)(inputs) { ... }`, a helper with `fn name(x) => e`",
    "class": "a network is declared with `block name(parameters)(inputs) { ... }`",
    "function": "a helper is declared with `fn name(x) => e`",
    "func": "a helper is declared with `fn name(x) => e`",
    "lambda": "a function is written `fn(x) => e`",
    "import": "another file is used with `use std.init`, or `use .sibling: name`",
    "from": "names of another file are used with `use .sibling: name`",
    "elif": "write `else if`",
    "while": "loops are bounded: `for i in 0..n { ... }`",
    "var": "write `name = value`, or `let name = value`",
    "const": "write `let name = value`",
}


def explainer(source: Source, where: str) -> Callable[[Failure], Diagnostic]:
    """How to explain a failure; `where` names what is parsed if it is not a whole file."""

    def explain(failure: Failure) -> Diagnostic:
        return _Explanation(source, where, failure).diagnostic()

    return explain


class _Explanation:
    def __init__(self, source: Source, where: str, failure: Failure) -> None:
        self.source = source
        self.where = where
        self.expected = failure.expected
        self.token = failure.token
        self.previous = failure.previous
        self.open = failure.open
        tokens, index = failure.tokens, failure.index
        self.following = tokens[index + 1] if index + 1 < len(tokens) else None
        first = index
        while first and tokens[first - 1].type not in (NEWLINE, "{", "}"):
            first -= 1
        self.first = tokens[first]  # of the statement
        self.starts = first == index
        self.body = any(isinstance(value, Token) and value.type == "{" for value in self.open)

    def span(self, token: Token) -> Span:
        return Span(self.source, token.start, token.end)

    def here(self) -> Span:
        """The token that does not fit; for the end of a line or of the file, the place after what was last read."""
        if self.token.type in (NEWLINE, END):
            last = self.previous.end if self.previous is not None else self.token.start
            return Span(self.source, last, last)
        return self.span(self.token)

    def diagnostic(self) -> Diagnostic:
        return self._reserved() or self._habit() or self._misspelt() or self._misplaced() or self._general()

    # -- particular mistakes ---------------------------------------------------------------------------------------
    def _reserved(self) -> Diagnostic | None:
        word = self.token.text
        named = self.following is not None and self.following.type == "="
        if self.token.type not in _WORDS or "NAME" not in self.expected or ("NUMBER" in self.expected and not named):
            return None
        message = f"`{word}` is a word of the language and cannot be a name"
        return Diagnostic("ARC0029", message, self.here(), help=f"call it `{word}_`, or something more telling")

    def _habit(self) -> Diagnostic | None:
        for token in (self.token, self.first):
            hint = _HABITS.get(token.text) if token.type == "NAME" else None
            if hint is not None and (token is self.first or self.previous is None or self.previous.type == "}"):
                return Diagnostic("ARC0032", f"there is no `{token.text}` in the language", self.span(token), help=hint)
        if self.token.type == "NAME" and self.previous is not None and self.previous.text in ("lambda", "elif"):
            word = self.previous
            return Diagnostic(
                "ARC0032", f"there is no `{word.text}` in the language", self.span(word), help=_HABITS[word.text]
            )
        if self.token.type in ("if", "?") and "." in self.expected and "{" not in self.expected:
            return Diagnostic(
                "ARC0020",
                f"expected {self._end_of_statement()} after {self._previous()}, found `{self.token.text}`",
                self.here(),
                help="a choice is written `if condition then a else b`",
            )
        if self.token.type in ("//", "/") and self.starts:
            return Diagnostic("ARC0020", f"a statement cannot start with `{self.token.text}`", self.here(),
                              help="comments start with `#`")  # fmt: skip
        return None

    def _misspelt(self) -> Diagnostic | None:
        if self.token.type == "NAME":
            known = {word for word in self.expected if word.isidentifier() and word.islower()}
            if not self.body and self.starts and not self.where:
                known = set(_ITEMS)
            meant = closest_word(self.token.text, known) if "NAME" not in self.expected else None
            if meant is not None:
                return self._spelling(self.token, meant)
        if self.first.type == "NAME" and self.previous is self.first:
            meant = closest_word(self.first.text, _STATEMENTS if self.body else ())
            if meant is not None and self.token.type in ("NAME", "STRING", "NUMBER", "{", "not", "true", "false"):
                return self._spelling(self.first, meant)
        return None

    def _spelling(self, token: Token, meant: str) -> Diagnostic:
        span = self.span(token)
        message = f"`{token.text}` is not a word of the language"
        return Diagnostic("ARC0032", message, span, help=f"did you mean `{meant}`?", fix=Fix(span, meant))

    def _misplaced(self) -> Diagnostic | None:
        if not self.starts or self.where:
            return None
        kind = self.token.type
        if self.body:
            if kind not in ("block", "reversible", "extern", "verify", "use"):
                return None
            what = "`use`" if kind == "use" else "`verify`" if kind == "verify" else "a block"
            message = f"{what} cannot stand inside a body"
            return Diagnostic("ARC0039", message, self.here(), help="move it out, to the left margin of the file")
        if kind == "NAME" and self.following is not None and self.following.type == "=":
            fix = Fix(Span(self.source, self.token.start, self.token.start), "let ")
            message = "outside of blocks, names are bound with `let`"
            return Diagnostic("ARC0039", message, self.here(), help=f"write `let {self.token.text} = ...`", fix=fix)
        if kind in _STATEMENTS and kind not in _ITEMS:
            message = f"`{kind}` belongs into the body of a block, and this is outside of all"
            return Diagnostic("ARC0039", message, self.here(), help="is a `}` above it one too many?")
        return None

    # -- the general case ------------------------------------------------------------------------------------------
    def _general(self) -> Diagnostic:
        after = "" if self.starts else f" after {self._previous()}"
        message = f"expected {self._wanted()}{after}, found {self._found()}"
        context, opener = self._context()
        related: tuple[Label, ...] = ()
        if opener is not None and self.source.position(opener.start)[0] != self.here().line:
            related = (Label(self.span(opener), f"{context} starts here"),)
        notes = (f"this is part of {context}",) if opener is not None else ()
        return Diagnostic("ARC0020", message, self.here(), related=related, help=self._help(), notes=notes)

    def _found(self) -> str:
        match self.token.type:
            case "_NL":
                return "the end of the line"
            case "$END":
                return f"the end of {self.where or 'the file'}"
            case _:
                text = self.token.text
                return f"`{text if len(text) <= 40 else text[:37] + '...'}`"

    def _previous(self) -> str:
        text = self.previous.text if self.previous is not None else ""
        return f"`{text if len(text) <= 40 else text[:37] + '...'}`"

    def _end_of_statement(self) -> str:
        return f"the end of {self.where}" if self.where else "the end of the statement"

    def _within(self, word: str) -> bool:
        values = [value.type for value in self.open if isinstance(value, Token)]
        start = max((i for i, kind in enumerate(values) if kind in ("{", NEWLINE)), default=-1)
        return word in values[start + 1 :]

    def _unbound(self) -> bool:
        """Whether this is a `let` that has no `=` yet."""
        return self._within("let") and not self._within("=")

    def _wanted(self) -> str:
        """What may come, shortest true form: operators are left out where a mark is expected as well."""
        expected = self.expected
        if self.starts and not self.where:
            return "a statement" if self.body else "`block`, `fn`, `let`, `use` or `verify`"
        if "NUMBER" in expected and "NAME" in expected:
            closing = [f"`{mark}`" for mark in (")", "]") if mark in expected and self._just_opened()]
            return _listed(["an expression", *closing])
        if "NAME" in expected:
            a_type = {"[", "("} <= expected
            closing = [f"`{mark}`" for mark in (")", "]", "{") if mark in expected]
            return _listed(["a type" if a_type else "a name", *closing])
        if expected == {"STRING"}:
            return "a text in double quotes"
        ends = bool(expected & {NEWLINE, END})
        operand = {".", "["} <= expected
        marks = [m for m in _MARKS if m in expected]
        if operand:
            marks = [
                m
                for m in marks
                if m not in _OPERATORS or (m == "in" and self._within("for") and not self._within("in"))
            ]
            marks = [m for m in marks if m not in (":", ";", "->") and (m != "=" or self._unbound())]
        if ends or "=" in marks:
            marks = [m for m in marks if m not in (",", ";")]
        shown = [f"`{m}`" for m in marks]
        if ends and not shown:
            shown = ["an operator"] * operand + [self._end_of_statement()]
        if not shown:
            shown = ["an operator"] if operand else [f"`{m}`" for m in sorted(expected) if m.islower()][:5]
        return _listed(shown or ["something else"])

    def _just_opened(self) -> bool:
        return self.previous is not None and self.previous.type in ("(", "[", ",")

    def _help(self) -> str | None:
        token, previous = self.token, self.previous
        if token.type == "=" and any(isinstance(v, Token) and v.type == "verify" for v in self.open):
            return "`==` compares two values"
        if token.type == "=" and self._within("="):
            return "`==` compares; a statement assigns once"
        if token.type == "for" and self._within("("):
            return "a comprehension stands in brackets: `[e for x in xs]`"
        if token.type == ":" and previous is not None and previous.type in (")", "]"):
            return "bodies stand in braces: `{ ... }`"
        return None

    def _context(self) -> tuple[str, Token | None]:
        """The innermost construct that is still being written, and its first token."""
        values = self.open
        for index in range(len(values) - 1, -1, -1):
            value = values[index]
            if not isinstance(value, Token):
                continue
            match value.type:
                case "{":
                    break
                case "(" | "[":
                    return self._bracket(index, value)
                case "block" | "extern" | "fn" | "weight" | "buffer" | "new" | "emit":
                    after = values[index + 1] if index + 1 < len(values) else None
                    kind = "function" if value.type == "fn" else value.type
                    if isinstance(after, Token) and after.type == "NAME":
                        return f"the declaration of {kind} `{after.text}`", value
                    return f"the declaration of a {kind}", value
                case "use" | "verify" | "let" | "if" | "for" | "return" | "assert":
                    return f"this `{value.type}`", value
        return (self.where, None)

    def _bracket(self, index: int, bracket: Token) -> tuple[str, Token]:
        before = self.open[index - 1] if index else None
        for place in range(max(0, index - 4), index):
            value = self.open[place]
            if isinstance(value, Token) and value.type in ("block", "fn"):
                after = self.open[place + 1]
                name = after.text if isinstance(after, Token) and after.type == "NAME" else "fn"
                return f"the parentheses after `{name}`", bracket
        if bracket.type == "(" and isinstance(before, Node):
            text = before.span.text
            if len(text) <= 30 and "\n" not in text:
                return f"the arguments of `{text}`", bracket
            return "the arguments of a call", bracket
        if bracket.type == "[" and isinstance(before, Node):
            return "an index", bracket
        return ("parentheses" if bracket.type == "(" else "a list or a shape"), bracket


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
