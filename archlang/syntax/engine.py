"""The LALR(1) driver: runs the table over tokens, calls the builder, and goes on after an error.

Lark's own driver is not used because it has no recovery, costs an import at start-up, and walks the dozen levels of
precedence one reduction at a time; here such chains are followed once per (state, token) and remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archlang.report.diagnostic import Diagnostic, Source, Span
from archlang.syntax.grammar import Table
from archlang.syntax.tokens import END, ERROR, MAX_ERRORS, NEWLINE, Token

__all__ = ["MAX_HEIGHT", "Failure", "Splice", "run"]

MAX_HEIGHT = 500  # of the tree: the later stages walk it recursively

_LOOK_BACK = 60
_ITEMS = frozenset(("block", "reversible", "extern", "verify", "use"))

Actions = dict[str, Callable[..., Any]]


class Splice(list[Any]):
    """Children that go to the parent rule."""


class Failure:
    """Where the parser got stuck: what had been read of the open constructs, and what could have come."""

    __slots__ = ("expected", "index", "open", "tokens")

    def __init__(self, tokens: list[Token], index: int, opened: list[Any], expected: set[str]) -> None:
        self.tokens = tokens
        self.index = index
        self.open = opened
        self.expected = expected

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def previous(self) -> Token | None:
        return self.tokens[self.index - 1] if self.index else None


def run(
    table: Table,
    source: Source,
    tokens: list[Token],
    start: str,
    actions: Actions,
    found: list[Diagnostic],
    explain: Callable[[Failure], Diagnostic],
) -> Any:
    """Parse the tokens (the last one is END); the value of the start rule, or None where an error was found."""
    rows, rules, chains = table.rows, table.rules, table.chains
    goal = table.ends[start]
    states = [table.starts[start]]
    values: list[Any] = []
    starts: list[int] = []
    ends: list[int] = []
    heights: list[int] = []
    index = 0
    before: list[int] = []  # the top of the stack as it was when the token came, for what could have come instead
    arrived = -1
    while True:
        token = tokens[index]
        kind = token.type
        step = rows[states[-1]].get(kind)
        if step is None:
            if kind != ERROR:
                expected = _expected(table, before if arrived == index else states[-_LOOK_BACK:])
                found.append(explain(Failure(tokens, index, values, expected)))
            if len(found) >= MAX_ERRORS:
                return None
            depth = _innermost_body(values)
            index = _skip(source, tokens, index, depth > 0)
            del states[depth + 1 :], values[depth:], starts[depth:], ends[depth:], heights[depth:]
            if tokens[index].type == END:
                return None
            continue
        if step >= 0:
            states.append(step)
            values.append(token)
            starts.append(token.start)
            ends.append(token.end)
            heights.append(0)
            index += 1
            continue
        if arrived != index:
            arrived = index
            before = states[-_LOOK_BACK:]
        rule = rules[~step]
        if rule.unit:
            key = (states[-2], states[-1], kind)
            state = chains.get(key)
            if state is None:
                below, state = states[-2], states[-1]
                follow: int | None = step
                while follow is not None and follow < 0 and rules[~follow].unit:
                    state = rows[below][rules[~follow].origin]
                    follow = rows[state].get(kind)
                chains[key] = state
            states[-1] = state
            continue
        count = rule.length
        if count:
            children = values[-count:]
            first, last = starts[-count], ends[-1]
            height = max(heights[-count:])
            del values[-count:], states[-count:], starts[-count:], ends[-count:], heights[-count:]
        else:
            children = []
            first = last = ends[-1] if ends else 0
            height = 0
        value = _value(rule.keep, rule.trailing, children)
        if rule.action:
            height += 1
            if height > MAX_HEIGHT:
                found.append(_too_deep(source, first, last))
                return None
            value = actions[rule.action](Span(source, first, last), *value)
        values.append(value)
        starts.append(first)
        ends.append(last)
        heights.append(height)
        states.append(rows[states[-1]][rule.origin])
        if kind == END and states[-1] == goal:
            return value if not found else None


def _value(keep: tuple[tuple[int, int], ...], trailing: int, children: list[Any]) -> Splice:
    """The children that are kept, hidden rules spliced in, `None` for what was optional and absent."""
    if keep and keep[0] == (0, 0) and type(children[0]) is Splice:
        value = children[0]  # a list grows in place: time stays linear
        keep = keep[1:]
    else:
        value = Splice()
    for position, nones in keep:
        if nones:
            value.extend([None] * nones)
        child = children[position]
        if type(child) is Splice:
            value.extend(child)
        else:
            value.append(child)
    if trailing:
        value.extend([None] * trailing)
    return value


def _expected(table: Table, states: list[int]) -> set[str]:
    """The tokens that can really come now: reductions are tried on a copy of the stack."""
    expected = set()
    for kind in table.rows[states[-1]]:
        if kind.startswith("<") and kind.endswith(">") and len(kind) > 2 and kind != "<->":
            continue
        stack = list(states)
        while True:
            step = table.rows[stack[-1]].get(kind)
            if step is None:
                break
            if step >= 0:
                expected.add(kind)
                break
            rule = table.rules[~step]
            if rule.length >= len(stack):
                expected.add(kind)  # deeper than what was copied: believe the table
                break
            if rule.length:
                del stack[-rule.length :]
            following = table.rows[stack[-1]].get(rule.origin)
            if following is None:
                break
            stack.append(following)
            if kind == END and following in table.ends.values():
                expected.add(kind)
                break
    return expected


def _innermost_body(values: list[Any]) -> int:
    """The number of stack entries up to and with the innermost open `{`; 0 at the top level."""
    for depth in range(len(values), 0, -1):
        value = values[depth - 1]
        if type(value) is Token and value.type == "{":
            return depth
    return 0


def _skip(source: Source, tokens: list[Token], index: int, inside: bool) -> int:
    """The index of the token at which the next statement starts, or of the `}` that ends the body.

    Outside of bodies what is indented is passed over: it is the rest of a body that a stray `}` has ended.
    """
    depth = 0
    while True:
        kind = tokens[index].type
        if kind == END:
            return index
        if kind == "{":
            depth += 1
        elif kind == "}":
            if depth == 0:
                return index if inside else index + 1
            depth -= 1
        elif kind == NEWLINE and depth == 0:
            following = tokens[index + 1]
            if inside or following.type in _ITEMS or source.text[following.start - 1] in "\r\n;":
                return index + 1
        index += 1


def _too_deep(source: Source, start: int, end: int) -> Diagnostic:
    return Diagnostic(
        "ARC0024",
        f"this is nested more than {MAX_HEIGHT} levels deep",
        Span(source, start, min(end, start + 1)),
        help="give parts of it names (`let part = ...`), or write the repetition as a list or a loop",
    )
