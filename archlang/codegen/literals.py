"""When two literals are the same."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

__all__ = ["exact"]


def exact(value: Any) -> Hashable:
    """A key that tells 1 from True from 1.0."""
    if isinstance(value, tuple):
        return ("tuple", *(exact(v) for v in value))
    return (type(value).__name__, repr(value) if isinstance(value, float) else value)
