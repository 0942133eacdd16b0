"""Writes the designs in specs/ back as specs, elaborates those, and compares the typed graphs node by node.

Usage: python benchmarks/unparse.py [SPEC ...]

A line for each design that does not come back equal, and a count.
"""

from __future__ import annotations

import sys
from pathlib import Path

from archlang.elaborate import elaborate, load
from archlang.report.diagnostic import ArchError, Source
from archlang.unparse import to_arch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from scripts.specs_table import chosen, entries  # noqa: E402
from tests.unparse.same import differences  # noqa: E402


def main(names: list[str]) -> int:
    tried = equal = 0
    for path, spec in chosen(names):
        for entry in entries(spec.module):
            tried += 1
            program = elaborate(spec.module, entry).program
            try:
                again = elaborate(load(Source("again.arch", to_arch(program))), None, {}).program
            except ArchError as error:
                first = error.diagnostics[0]
                print(f"{path.stem}.{entry}: {first.code} {first.message}", flush=True)
                continue
            found = next(differences(program, again), None)
            equal += found is None
            if found is not None:
                print(f"{path.stem}.{entry}: {found[:600]}", flush=True)
    print(f"{equal} of {tried} come back equal")
    return 0 if equal == tried else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
