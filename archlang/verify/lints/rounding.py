"""ARC0622: a reversible region whose float32 inverse is spoilt by rounding."""

from __future__ import annotations

from collections.abc import Iterator

from archlang.elaborate.errors import warning
from archlang.report.diagnostic import Diagnostic
from archlang.reversible.conditioning import ROUNDING, Growth, growth
from archlang.verify.lints.links import Links
from archlang.verify.lints.sites import Site

__all__ = ["check"]

_LEFT = 1e-2  # a relative error above this is no inverse


def check(links: Links) -> Iterator[Site]:
    found = growth(links.program)
    batches = any(node.op == "batchnorm" for graph in links.program.graphs for node in graph.nodes)
    fresh = growth(links.program, calibrated=False) if found and batches else found
    for one, uncalibrated in zip(found, fresh, strict=True):
        if one.span is None:
            continue
        finding = None
        if _spoilt(one):
            finding = _finding(one, "")
        elif _spoilt(uncalibrated):
            finding = _finding(uncalibrated, " with fresh batch statistics")
        yield one.span, finding


def _spoilt(one: Growth) -> bool:
    return one.total * ROUNDING["float32"] > _LEFT


def _finding(one: Growth, when: str) -> Diagnostic:
    assert one.span is not None
    error = min(one.total * ROUNDING["float32"], 1e30)
    calibrate = (
        "calibrate the batch statistics before undoing anything in evaluation (in training they are the batch's)"
    )
    return warning(
        "ARC0622",
        f"undoing {one.what}{when} has a relative error of about {error:.0e} in float32",
        one.span,
        f"each block multiplies rounding errors by about {one.per_block:.2g}",
        help=calibrate if when else "factors nearer to 1, fewer blocks, or stored streams every few blocks",
    )
