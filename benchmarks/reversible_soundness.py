"""Soundness and completeness of the reversible fragment: 2,000 random wrong blocks, all refused for the mistake made in
them; 2,000 random right ones, all accepted, and undone in float64 by the interpreter.

    python benchmarks/reversible_soundness.py [count]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from archlang.report.diagnostic import ArchError, Severity
from tests.elaborate.helpers import done
from tests.reversible.generate import right, wrong
from tests.reversible.helpers import roundtrip


def main(count: int = 2000, first: int = 0) -> int:
    start = time.perf_counter()
    errors = [roundtrip(right(seed), "net") for seed in range(first, first + count)]
    print(f"{count} right: accepted, largest relative error of the inverse {max(errors):.1e}", end="")
    print(f" ({time.perf_counter() - start:.0f} s)")
    start = time.perf_counter()
    missed = [seed for seed in range(first, first + count) if not refused(seed)]
    print(f"{count} wrong: {count - len(missed)} refused ({time.perf_counter() - start:.0f} s) {missed or ''}")
    return int(bool(missed) or max(errors) > 1e-10)


def refused(seed: int) -> bool:
    """Whether a wrong block is refused with a code of its mistake."""
    text, codes = wrong(seed)
    try:
        done(text, "net")
    except ArchError as error:
        first = next(d for d in error.diagnostics if d.severity is Severity.ERROR)
        return first.code in codes and first.span is not None
    return False


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
