"""All that is checked of a file without running a network: what elaboration finds, input sizes, claims, warnings."""

from __future__ import annotations

from collections.abc import Callable

from archlang.elaborate import Elaborated, Limits, LoadedModule, designs, distinct
from archlang.report.diagnostic import Diagnostic
from archlang.verify import allow
from archlang.verify.claims import Claims
from archlang.verify.findings import findings
from archlang.verify.lints import lint

__all__ = ["check_file"]


def check_file(
    module: LoadedModule, limits: Limits | None = None, show: Callable[[Elaborated], None] | None = None
) -> list[Diagnostic]:
    """All findings of a file, each once. `show` is called with every design that elaborates."""
    found: list[Diagnostic] = []
    shown: set[str] = set()
    made = designs(module, limits)
    claims = Claims(module, limits, made)
    for design in made:
        found += design.findings
        if design.done is not None:
            found += findings(design.done.program)
            if design.verify is not None:
                found += claims.check(design.verify, design.done.program)
            root = design.done.program.root
            key = repr((root.block, root.params, [v.type for v in root.entries]))
            if show is not None and key not in shown:
                shown.add(key)
                show(design.done)
    programs = [design.done.program for design in made if design.done is not None]
    built = len(programs) == len(made)  # of what is half written, warnings would say nothing
    if built:
        found += lint(module, programs)
    return distinct(allow.apply(distinct(found), module.source, idle=built))
