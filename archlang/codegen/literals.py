"""Literals: what counts as one, and when two are the same."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

__all__ = ["exact", "is_literal"]


def exact(value: Any) -> Hashable:
    """A key that tells 1 from True from 1.0."""
    if isinstance(value, tuple):
        return ("tuple", *(exact(v) for v in value))
    return (type(value).__name__, repr(value) if isinstance(value, float) else value)


def is_literal(value: Any) -> bool:
    """Whether a value is written as it is: no size, no initialiser."""
    if isinstance(value, tuple):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float, str))
