"""`~m`: the inverse of a module."""

from __future__ import annotations

from typing import Any

from archlang.elaborate.errors import fail
from archlang.elaborate.session import Activation
from archlang.elaborate.values import describe
from archlang.report.diagnostic import Span

__all__ = ["inverse"]


def inverse(cx: Activation, value: Any, span: Span) -> Any:
    fail("ARC0602", f"the inverse of {describe(value)} is not available", span, help="`~` takes a reversible module")
