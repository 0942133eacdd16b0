"""Runs every check of a file and leaves out what the file allows."""

from __future__ import annotations

from collections.abc import Sequence

from archlang.elaborate import LoadedModule
from archlang.ir.graph import Program
from archlang.report.diagnostic import Diagnostic, Span
from archlang.verify.lints import (
    dead_branch,
    double_norm,
    lost_bias,
    mixed_scales,
    no_op,
    off_grid,
    rounding,
    shadowing,
    unused_blocks,
    unused_names,
    unused_wires,
)
from archlang.verify.lints.links import Links
from archlang.verify.lints.sites import Site, everywhere

__all__ = ["lint"]

_TREE = (unused_blocks.check, unused_names.check, dead_branch.check, shadowing.check)
_GRAPH = (
    no_op.check,
    double_norm.check,
    lost_bias.check,
    mixed_scales.check,
    unused_wires.check,
    rounding.check,
    off_grid.check,
)


def lint(module: LoadedModule, programs: Sequence[Program]) -> list[Diagnostic]:
    """The warnings of a file, suppressed ones included (see `allow`). `programs`: its designs, as far as they build."""
    found = [finding for check in _TREE for finding in check(module)]
    views = [Links(program) for program in {id(program.root): program for program in programs}.values()]
    for check in _GRAPH:
        sites: list[Site] = [site for view in views for site in check(view)]
        found += everywhere(sites)
    wires = [d.span for d in found if d.code == "ARC0429" and d.span is not None]
    return [d for d in found if d.code != "ARC0422" or not _says_it(d, wires)]


def _says_it(finding: Diagnostic, wires: list[Span]) -> bool:
    """Whether a wire on the same line is reported as never used: the name that it has says no more."""
    span = finding.span
    return span is not None and any(
        w.source is span.source and w.line == span.line and w.start >= span.start for w in wires
    )
