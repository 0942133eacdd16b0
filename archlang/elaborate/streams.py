"""What flows through `->`."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.values import Streams, Wire

__all__ = ["streams_of"]


def streams_of(value: Any) -> Streams:
    """What a value on the left of `->` feeds: a tuple is several streams, a list is one."""
    if value.__class__ is Wire:
        return Streams((value,))
    if isinstance(value, Streams):
        return value
    if isinstance(value, tuple):
        return Streams(tuple(value))
    return Streams((value,))
