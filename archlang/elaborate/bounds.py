"""Bounds on values: with these, every spec is elaborated in bounded time and memory, whatever it doubles in a loop."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation, Session
from archlang.elaborate.values import Record
from archlang.report.diagnostic import Span
from archlang.shapes.dim import Dim, Size

__all__ = ["DEEPEST", "MOST_BITS", "bounded", "charge", "deep_stack", "simple_size"]

DEEPEST = 64  # lists inside lists
_LONGEST = 100_000  # characters of a string
_TERMS, _DEGREE = 64, 16  # of a symbolic size
MOST_BITS = 4096  # of a whole number
_PER_STEP = 4  # elements
_FRAMES = 15_000
_NESTS = {list, tuple, Record}


def bounded(cx: Activation, value: Any, span: Span) -> Any:
    """The value, where it is of reasonable size: lists by all that is in them, strings, symbolic sizes."""
    if isinstance(value, (list, tuple)):
        charge(cx, value, span)
        size, depth = _measure(cx.session, value)
        limit = cx.session.limits.loop
        if size > limit:
            fail(
                "ARC0501",
                f"this makes {size:,} elements; the limit is {limit:,}",
                span,
                "too many",
                help="use fewer: a loop may double a list here",
            )
        if depth > DEEPEST:
            fail("ARC0501", f"this makes {depth} lists inside each other; the limit is {DEEPEST}", span, "too deep")
    elif isinstance(value, str) and len(value) > _LONGEST:
        fail(
            "ARC0501", f"this makes a string of {len(value):,} characters; the limit is {_LONGEST:,}", span, "too long"
        )
    elif isinstance(value, Dim) and not simple_size(value):
        fail("ARC0501", "this makes a symbolic size of too many terms", span, "too large")
    return value


def charge(cx: Activation, value: Any, span: Span) -> None:
    """Walking over a long list costs steps."""
    if isinstance(value, (list, tuple, range)) and len(value) >= _PER_STEP:
        cx.session.tick(span, len(value) // _PER_STEP)


def simple_size(size: Size) -> bool:
    """Whether a size is a polynomial that can be worked with and printed."""
    if isinstance(size, int):
        return size.bit_length() <= MOST_BITS
    terms = size.terms
    if len(terms) > _TERMS:
        return False
    return all(c.bit_length() <= MOST_BITS and sum(power for _, power in mono) <= _DEGREE for mono, c in terms)


def _measure(session: Session, value: list[Any] | tuple[Any, ...]) -> tuple[int, int]:
    """How many elements there are on all levels, and how many levels. Nested lists are measured once: they are never
    changed, and what is made of them is looked up here."""
    known = session.measured.get(id(value))
    if known is not None:
        return known[1], known[2]
    size, depth = len(value), 1
    for item in value if not _NESTS.isdisjoint(map(type, value)) else ():
        if isinstance(item, (list, tuple)):
            inner, levels = _measure(session, item)
            size, depth = size + inner, max(depth, levels + 1)
    if depth > 1:
        session.measured[id(value)] = (value, size, depth)  # kept alive, so that its id stays its own
    return size, depth


@contextlib.contextmanager
def deep_stack() -> Iterator[None]:
    """Room for the nesting that `Limits.depth` allows (calls from Python to Python take none of the C stack)."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _FRAMES))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
