"""Findings at places of the text that many graphs share: a place is reported where all of its graphs agree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Union

from archlang.report.diagnostic import Diagnostic, Span

__all__ = ["Site", "everywhere"]

# A place, and what is wrong there in one graph; None where all is well.
Site = tuple[Span, Union[Diagnostic, None]]


def everywhere(sites: Iterable[Site]) -> list[Diagnostic]:
    """The first finding of every place that has one in each graph: a parameter may make it right in another one."""
    found: dict[tuple[int, int, int], Diagnostic | None] = {}
    for span, finding in sites:
        key = (id(span.source), span.start, span.end)
        if key not in found or finding is None:
            found[key] = finding
    return [finding for finding in found.values() if finding is not None]
