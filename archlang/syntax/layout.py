"""Between scanner and parser: which line ends count, which soft words are keywords, which brackets belong together."""

from __future__ import annotations

from archlang.report.diagnostic import Diagnostic, Fix, Label, Source, Span
from archlang.syntax.tokens import END, ERROR, LINE_END, MAX_ERRORS, NEWLINE, SOFT_WORDS, Token

__all__ = ["MAX_BRACKETS", "layout"]

MAX_BRACKETS = 200


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPERATORS = _words("-> <-> >-> + - * / // % ** @ == != < <= > >= and or in .. = => += -= *= /= , : . +-")
# A line goes on after these,
_OPEN_ENDED = _OPERATORS | _words("( [ { ~ not then else if for let fn as where") | {NEWLINE}
# and before these.
_CONTINUING = _OPERATORS | _words(") ] } { then else ? on")
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPENER = {closer: opener for opener, closer in _CLOSER.items()}
_AT_TOP = _words("block reversible extern verify use")


class _Layout:
    def __init__(self, source: Source, tokens: list[Token], found: list[Diagnostic], expression: bool) -> None:
        self.source = source
        self.raw = tokens
        self.found = found
        self.expression = expression
        self.out: list[Token] = []
        self.open: list[tuple[Token, int]] = []  # open brackets, and where they stand in `out`
        self.suspect: Token | None = None  # a `{` whose `}` seems, by its indentation, to close another one
        self.verify_header = False
        self.block_header = False
        self.claims = False  # inside the braces of `verify`

    def run(self) -> list[Token]:
        raw = self.raw
        line_start = True
        for index, token in enumerate(raw):
            kind = token.type
            if kind == LINE_END:
                line_start = True
                continue
            following = raw[index + 1] if index + 1 < len(raw) else None
            if line_start:
                line_start = False
                if self.open and self._starts_item(token, following):
                    self._close_all(token)
                self._end_line(token)
            if kind == ";" and (not self.open or self.open[-1][0].type == "{"):
                self._separate(token.start)
                continue
            if kind in _CLOSER:
                self.open.append((token, len(self.out)))
                if kind == "{":
                    self.block_header = False
                if kind == "{" and self.verify_header:
                    self.verify_header, self.claims = False, True
                if len(self.open) > MAX_BRACKETS:
                    self._too_deep(token)
                    break
            elif kind in _OPENER:
                token = self._close(token)
            elif kind == "NAME":
                token = self._word(token, following)
            elif kind == "+-" and not self.claims:
                self.out.append(Token("+", "+", token.start, token.start + 1))
                token = Token("-", "-", token.start + 1, token.end)
            elif kind == ERROR:
                self._after_error(token)
            self.out.append(token)
            if len(self.found) >= MAX_ERRORS:
                del self.out[:]
                break
        else:
            if self.open:
                self._close_all(None)
        if self.out and self.out[-1].type == NEWLINE:
            self.out.pop()
        end = len(self.source.text) if not raw else raw[-1].end
        self.out.append(Token(END, "", end, end))
        return self.out

    # -- lines -----------------------------------------------------------------------------------------------------
    def _end_line(self, token: Token) -> None:
        """The line end before `token` ends a statement, unless a bracket is open or the statement goes on."""
        if self.open and self.open[-1][0].type != "{":
            return
        if not self.out or self.out[-1].type in _OPEN_ENDED:
            return
        if token.type in _CONTINUING or self.verify_header or (self.block_header and token.text == "where"):
            return
        self._separate(self.out[-1].end)

    def _separate(self, offset: int) -> None:
        if self.out and self.out[-1].type not in (NEWLINE, "{"):
            self.out.append(Token(NEWLINE, "", offset, offset))

    # -- words -----------------------------------------------------------------------------------------------------
    def _word(self, token: Token, following: Token | None) -> Token:
        """A soft word becomes a keyword where its statement can stand."""
        if self._is_keyword(token.text, following):
            if token.text == "verify":
                self.verify_header = True
            elif token.text == "block":
                self.block_header = True
            return Token(token.text, token.text, token.start, token.end)
        return token

    def _is_keyword(self, word: str, following: Token | None) -> bool:
        if word not in SOFT_WORDS:
            return False
        before = self.out[-1].type if self.out else NEWLINE
        after = following.type if following is not None else LINE_END
        text = following.text if following is not None else ""
        first = before in (NEWLINE, "{") and not self.expression
        top = first and not self.open
        if before == ".":
            return False
        match word:
            case "block":
                return after == "NAME" or top or before in ("reversible", "extern", "pure")
            case "reversible":
                return text == "block"
            case "pure":
                return text in ("block", "reversible")
            case "extern" | "verify":
                return top or (first and after in ("NAME", "STRING"))
            case "use":
                return top or (first and after == "NAME")
            case "weight" | "buffer" | "new" | "emit":
                return first and (after == "NAME" or text.isidentifier())
            case "training":
                return before in ("return", ",") and after == "NAME"
            case "valid":
                return first and text == "for"
            case "on":
                return self.verify_header
            case "where":
                return self.block_header and not self.open and before != "block"
            case "as":
                return before == "NAME"
            case _:  # "_"
                return before in ("(", ",", ";") and after == "NAME"

    # -- brackets --------------------------------------------------------------------------------------------------
    def _starts_item(self, token: Token, following: Token | None) -> bool:
        """Whether an item starts at the left margin although a bracket is open."""
        if token.start and self.source.text[token.start - 1] not in "\r\n":
            return False
        after = following.type if following is not None else LINE_END
        if token.text in _AT_TOP:
            return after in ("NAME", "STRING", ".")
        return token.type in ("let", "fn") and after == "NAME" and any(t.type != "{" for t, _ in self.open)

    def _close(self, token: Token) -> Token:
        """A closing bracket: the token itself, or what has to stand for it."""
        opener = _OPENER[token.type]
        if not any(t.type == opener for t, _ in self.open):
            return self._wrong_closer(token) if self._crossed(token) else self._closes_nothing(token)
        if self._crossed(token):
            return self._wrong_closer(token)
        while self.open[-1][0].type != opener:
            brace = self.open[-1][0]
            if brace.type == "{" and token.type != "}" and "\n" in self.source.text[brace.start : token.start]:
                return self._closes_nothing(token)
            self._never_closed(token)
        bracket, _ = self.open.pop()
        if opener == "{":
            if self.out and self.out[-1].type == NEWLINE:
                self.out.pop()
            if self._indent(token) is not None and self._line_indent(bracket) > (self._indent(token) or 0):
                self.suspect = self.suspect or bracket
            if not self.open:
                self.suspect, self.claims = None, False
        return token

    def _crossed(self, token: Token) -> bool:
        """Whether a `)` stands where the innermost bracket needs a `]`, or the other way round."""
        if not self.open or token.type == "}" or self.open[-1][0].type == "{":
            return False
        if self.open[-1][0].type == _OPENER[token.type]:
            return False
        return len(self.open) < 2 or self.open[-2][0].type != _OPENER[token.type]

    def _wrong_closer(self, token: Token) -> Token:
        bracket, _ = self.open.pop()
        right = _CLOSER[bracket.type]
        span = Span(self.source, token.start, token.end)
        related = (Label(Span(self.source, bracket.start, bracket.end), f"`{bracket.text}` opened here"),)
        message = f"`{bracket.text}` is closed by `{token.text}`"
        self._report(
            Diagnostic("ARC0023", message, span, related=related, help=f"write `{right}`", fix=Fix(span, right))
        )
        return Token(right, right, token.start, token.end)

    def _closes_nothing(self, token: Token) -> Token:
        span = Span(self.source, token.start, token.end)
        message = f"this `{token.text}` closes nothing: there is no open `{_OPENER[token.type]}` before it"
        self._report(Diagnostic("ARC0022", message, span, help="delete it", fix=Fix(span, "")))
        return Token(ERROR, token.text, token.start, token.end)

    def _never_closed(self, closer: Token | None) -> None:
        """Report the innermost open bracket; a `(` or `[` takes what follows it along."""
        bracket, place = self.open.pop()
        shown = bracket
        if bracket.type == "{" and self.suspect is not None and self.suspect.start > bracket.start:
            shown = self.suspect
        span = Span(self.source, shown.start, shown.end)
        related: tuple[Label, ...] = ()
        if closer is not None:
            where = Span(self.source, closer.start, closer.end)
            text = f"this `{closer.text}` comes before" if closer.type in _OPENER else "the next item starts here"
            related = (Label(where, text),)
        missing = _CLOSER[bracket.type]
        self._report(
            Diagnostic(
                "ARC0021",
                f"this `{bracket.text}` is never closed",
                span,
                label=f"no `{missing}` belongs to it",
                related=related,
                help=f"add the missing `{missing}`",
            )
        )
        if bracket.type == "{" and (closer is None or closer.type not in (")", "]")):
            self._virtual("}")
        else:
            del self.out[place:]
            self.out.append(Token(ERROR, "", bracket.start, bracket.end))

    def _close_all(self, item: Token | None) -> None:
        """End of the file, or an item at the margin: report one bracket, close the others silently."""
        reported = False
        while self.open:
            if not reported or self.open[-1][0].type != "{":
                before = len(self.found)
                self._never_closed(item)
                if reported:
                    del self.found[before:]
                reported = True
            else:
                self.open.pop()
                self._virtual("}")
        self.suspect, self.claims = None, False
        if item is not None:
            self._separate(item.start)

    def _virtual(self, text: str) -> None:
        if self.out and self.out[-1].type == NEWLINE:
            self.out.pop()
        end = self.out[-1].end if self.out else 0
        self.out.append(Token(text, text, end, end))

    def _after_error(self, token: Token) -> None:
        """A string without an end has swallowed the rest of its line, brackets included."""
        if not token.text.startswith('"'):
            return
        line = self.source.position(token.start)[0]
        while self.open and self.open[-1][0].type != "{" and self.source.position(self.open[-1][0].start)[0] == line:
            _, place = self.open.pop()
            del self.out[place:]
        if token.text.rstrip().endswith("{"):
            self.out.append(Token(ERROR, "", token.start, token.start))
            brace = Token("{", "{", token.end - 1, token.end)
            self.open.append((brace, len(self.out)))
            self.out.append(brace)

    def _too_deep(self, token: Token) -> None:
        span = Span(self.source, token.start, token.end)
        message = f"brackets are nested more than {MAX_BRACKETS} deep here"
        self._report(Diagnostic("ARC0024", message, span, help="give the inner parts names with `let`"))
        del self.out[:]

    def _report(self, diagnostic: Diagnostic) -> None:
        if len(self.found) < MAX_ERRORS:
            self.found.append(diagnostic)

    def _line_indent(self, token: Token) -> int:
        line = self.source.line(self.source.position(token.start)[0])
        return len(line) - len(line.lstrip())

    def _indent(self, token: Token) -> int | None:
        """The column of a token that is the first of its line."""
        line, column = self.source.position(token.start)
        return column - 1 if not self.source.line(line)[: column - 1].strip() else None


def layout(source: Source, tokens: list[Token], found: list[Diagnostic], expression: bool = False) -> list[Token]:
    """Tokens for the parser: soft words decided, `_NL` between statements, brackets balanced, END last.

    In an `expression` no statement starts, so that every soft word is a name.
    """
    return _Layout(source, tokens, found, expression).run()
