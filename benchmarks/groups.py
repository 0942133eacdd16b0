"""Reorders every free group of the designs in specs/ at random, and compares what the networks compute, in float64.

Usage: python benchmarks/groups.py [SPEC ...] [--largest PARAMETERS]

A line a design: groups, free ones, those that can be pruned, and the largest relative difference of an output. Where a
network itself amplifies roundings, the bar is four times what the next float64 for each weight moves its outputs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from archlang.elaborate import elaborate
from archlang.groups import Groups, find
from archlang.groups.apply import arrange
from archlang.inputs import NoSizes, choose_sizes, random_inputs
from archlang.interpret import Interpreter
from archlang.interpret.initial import initial_state
from archlang.ir.graph import Program
from archlang.ir.walk import counts

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from scripts.specs_table import chosen, entries  # noqa: E402

EXTENTS = (32, 48, 64, 96, 128, 224, 256, 299, 16, 8, 4)


def small_sizes(program: Program) -> dict[str, int]:
    """Sizes of the inputs, the smallest usual ones that fit."""
    root = program.root
    for extent in EXTENTS:
        given = {name: 2 if name == "B" else extent for name in root.symbols}
        try:
            return choose_sizes(root, given)
        except NoSizes:
            continue
    first = next((name for name in root.symbols if name != "B"), None)  # the others follow from it: a pyramid's levels
    for extent in EXTENTS if first is not None else ():
        try:
            return choose_sizes(root, {first: extent})
        except NoSizes:
            continue
    return choose_sizes(root, {})


def random_state(program: Program) -> dict[str, Any]:
    """Initial weights, those of one dimension and running statistics drawn anew, in float64."""
    state = initial_state(program, torch.float64)
    for key, value in state.items():
        if value.is_floating_point() and value.dim() < 2:
            state[key] = torch.rand_like(value) + 0.5
    return state


def reordered(groups: Groups, state: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """The state with a random order in every free group."""
    rng = random.Random(seed)
    orders = [rng.sample(range(g.size), g.size) if g.free else None for g in groups]
    return arrange(state, groups.arranged(lambda i: orders[i]))


def doubled(x: Any) -> Any:
    if isinstance(x, list):
        return [doubled(item) for item in x]
    return x.double() if x.is_floating_point() else x


def flat(outs: Any) -> list[torch.Tensor]:
    return [t for item in outs for t in flat(item)] if isinstance(outs, (tuple, list)) else [outs]


def rounded(state: dict[str, Any]) -> dict[str, Any]:
    """The state with the next larger float for each weight of more than one dimension."""
    up = float("inf")
    return {
        k: v.nextafter(torch.full_like(v, up)) if v.is_floating_point() and v.dim() > 1 else v for k, v in state.items()
    }


def difference(
    program: Program, groups: Groups, change: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> float:
    """The largest difference of an output, relative to the largest value of that output.

    change: what is done to the state, in place of a random order in every free group.
    """
    torch.manual_seed(0)
    inputs = doubled(random_inputs(program, small_sizes(program)))
    interpreter = Interpreter(program)

    def run(tensors: dict[str, Any]) -> list[torch.Tensor]:
        torch.manual_seed(1)
        return flat(interpreter.run(inputs, tensors))

    with torch.no_grad():
        state = random_state(program)
        plain = run(state)
        if not all(bool(y.isfinite().all()) for y in plain):
            state = initial_state(program, torch.float64)
            plain = run(state)
        changed = run(change(state) if change is not None else reordered(groups, state))
    worst = 0.0
    for a, b in zip(plain, changed, strict=True):
        if a.numel():
            assert bool(a.isfinite().all()), "an output is not finite"
            worst = max(worst, float((a.double() - b.double()).abs().max() / a.double().abs().max().clamp(min=1e-30)))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--largest", type=int, default=40_000_000)
    parser.add_argument("--smallest", type=int, default=0)
    parser.add_argument("--only", help="a design")
    args = parser.parse_args()
    bad = 0
    for path, spec in chosen(args.specs):
        for entry in entries(spec.module):
            if args.only and entry != args.only:
                continue
            program = elaborate(spec.module, entry).program
            if not args.smallest <= counts(program).parameters <= args.largest:
                continue
            start = time.perf_counter()
            groups = find(program)
            taken = time.perf_counter() - start
            try:
                found = difference(program, groups)
                worst = f"{found:.1e}"
                if found > 1e-9:
                    moved = difference(program, groups, rounded)
                    worst += f", one rounding of each weight {moved:.1e}"
                    bad += found > 4 * moved
            except Exception as error:  # reported, and the next design is tried
                worst, bad = f"{type(error).__name__}: {error}"[:150], bad + 1
            free = groups.free
            prunable = [g for g in free if g.prunable and g.size > 1]
            wide = [g for g in free if g.size > 1]
            print(
                f"{path.stem}.{entry}: {len(wide)} free, {len(prunable)} prunable, {len(groups.groups)} in all, "
                f"{taken:.2f} s; difference {worst}",
                flush=True,
            )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
