"""Prunes the designs in specs/ by half, and compares what the smaller specs compute with the masked networks (float64).

Usage: python benchmarks/prune.py [SPEC ...] [--largest PARAMETERS] [--ratio SHARE]

A line a design: parameters before and after, and the largest relative difference of an output. The masked network has
zeros in all weights of the channels that are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

import archlang
from archlang.elaborate import elaborate
from archlang.groups import Groups, find
from archlang.groups.apply import arrange
from archlang.inputs import random_inputs
from archlang.interpret import Interpreter
from archlang.interpret.initial import initial_state
from archlang.ir.graph import Program
from archlang.ir.walk import counts
from archlang.prune import by_ratio, shrink
from archlang.report.diagnostic import ArchError
from archlang.unparse import to_arch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.groups import doubled, flat, random_state, small_sizes  # noqa: E402
from scripts.specs_table import entries, read  # noqa: E402


def masked(state: dict[str, Any], groups: Groups, kept: dict[int, list[int]], consumers: bool) -> dict[str, Any]:
    """The state with zeros at indices that are left out: in what reads them, else in all that has them."""
    made = dict(state)
    for number, indices in kept.items():
        group, stay = groups.groups[number], set(indices)
        for member in group.members:
            if (consumers and member.dim == 0) or member.key.endswith("running_var"):
                continue
            gone = [p for i in range(group.size) if i not in stay for p in member.places(i)]
            made[member.key] = made[member.key].index_fill(member.dim, torch.tensor(gone), 0.0)
    return made


def difference(program: Program, ratio: float) -> tuple[Program, float]:
    """The pruned program, from its spec, and how far its outputs are from the masked network's."""
    groups = find(program)
    torch.manual_seed(0)
    inputs = doubled(random_inputs(program, small_sizes(program)))
    worst = float("inf")
    for state in (random_state(program), initial_state(program, torch.float64)):
        kept = by_ratio(groups, ratio, state)
        small = archlang.compile(
            to_arch(shrink(program, groups, kept))
        ).program  # checked, and made into PyTorch source
        with torch.no_grad():
            torch.manual_seed(1)
            full = flat(Interpreter(program).run(inputs, masked(state, groups, kept, consumers=False)))
            torch.manual_seed(1)
            less = flat(Interpreter(small).run(inputs, arrange(state, groups.arranged(kept.get))))
        if all(bool(y.isfinite().all()) for y in full):
            gaps = [
                float((a - b).abs().max() / a.abs().max().clamp(min=1e-30)) for a, b in zip(full, less, strict=True)
            ]
            return small, max(gaps)
    return small, worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--largest", type=int, default=10_000_000)
    parser.add_argument("--ratio", type=float, default=0.5)
    args = parser.parse_args()
    bad = tried = 0
    for path in sorted((ROOT / "specs").glob("*.arch")):
        if args.specs and path.stem not in args.specs:
            continue
        spec = read(path)
        for entry in entries(spec.module):
            program = elaborate(spec.module, entry).program
            before = counts(program).parameters
            if before > args.largest:
                continue
            tried += 1
            try:
                small, worst = difference(program, args.ratio)
                bad += worst > 1e-9
                said = f"{before:,} -> {counts(small).parameters:,} parameters; difference {worst:.1e}"
            except ArchError as error:
                bad += 1
                said = f"{error.diagnostics[0].code} {error.diagnostics[0].message}"
            except Exception as error:  # reported, and the next design is tried
                bad += 1
                said = f"{type(error).__name__}: {error}"[:300]
            print(f"{path.stem}.{entry}: {said}", flush=True)
    print(f"{tried - bad} of {tried}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
