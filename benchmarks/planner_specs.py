"""Plans of published networks beside what autograd holds: bytes kept, and the most of them at one time.

    python benchmarks/planner_specs.py [--fractions 0 0.4] [--macs 2000] [--step] [--all] [SPEC ...]

The first design of each file of specs/ (`--all`: each) at its smallest usual sizes, planned for budgets between the
least that it needs (0) and all stored (1). The module that is written takes a step of training under hooks that follow
every saved tensor, as the tests do: on a CPU, or on tensors without data where it has more than `--macs` millions of
multiply-accumulates. A line for each plan that is off by more than 2 %, and the exit status says whether there is one.
What undoing a single block holds is a bound: such plans may need less, and the line says so. `--step` also compares
results, gradients and buffers of the step with those of plain autograd. Seconds are of CPU: for a plan and what comes
before it, and for what is measured.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch._subclasses.fake_tensor import DataDependentOutputException  # noqa: E402

from archlang.api import Compiled  # noqa: E402
from archlang.budget import Budget, Fit  # noqa: E402
from archlang.certify.sample import usual  # noqa: E402
from archlang.inputs import random_inputs  # noqa: E402
from archlang.loading import instantiate  # noqa: E402
from tests.analyze.networks import compiled, entries  # noqa: E402
from tests.budget.trained import memory, pair, step, unreal, written  # noqa: E402

ALLOWED = 0.02


class Found(NamedTuple):
    """A plan, and what was measured, in bytes. undone: something is undone, and the peak a bound."""

    fit: Fit
    kept: int
    peak: int
    undone: bool
    uncounted: tuple[str, ...]

    @property
    def fine(self) -> bool:
        if self.uncounted:  # the plan says what its figures lack
            return True
        peak = self.fit.peak if self.undone and self.peak < self.fit.peak else self.peak
        return max(apart(self.kept, self.fit.kept), apart(peak, self.fit.peak)) <= ALLOWED

    def __str__(self) -> str:
        kept, peak = (f"{have} for {want} ({have / max(1, want) - 1:+.2%})"
                      for have, want in ((self.kept, self.fit.kept), (self.peak, self.fit.peak)))  # fmt: skip
        more = f", not counted: {', '.join(self.uncounted)}" if self.uncounted else ""
        return f"kept {kept}, peak {peak}{', undone' if self.undone else ''}{more}"


def apart(measured: int, planned: int) -> float:
    return abs(measured - planned) / max(1, planned)


def plans(budget: Budget, fractions: list[float]) -> Iterator[tuple[float, Fit]]:
    for fraction in fractions:
        fit = budget.within(int(budget.least.peak + fraction * (budget.stored.peak - budget.least.peak)))
        assert fit is not None
        yield fraction, fit


def look(spec: Compiled, budget: Budget, fit: Fit, limit: float) -> Found:
    design = written(spec, budget, fit)
    try:
        kept, peak = unreal(design, budget) if budget.macs > limit else real(design, budget)
    except DataDependentOutputException:  # it looks at values, which fake tensors lack
        kept, peak = real(design, budget)
    return Found(fit, kept, peak, "rebuild(" in design.source, budget.uncounted)


def real(design: Compiled, budget: Budget) -> tuple[int, int]:
    return memory(instantiate(design), random_inputs(budget.program, budget.sizes))


def compare(spec: Compiled, budget: Budget, fit: Fit) -> str:
    """What is wrong with a step, if anything is."""
    plain, planned = pair(spec, budget, fit)
    inputs = [
        [t.double() if t.is_floating_point() else t for t in x] if isinstance(x, list)
        else x.double() if x.is_floating_point() else x
        for x in random_inputs(budget.program, budget.sizes)
    ]  # fmt: skip
    both = zip(step(plain, inputs), step(planned, inputs), strict=True)
    worst = max(apart_at_most(mine, other) for mine, other in both)
    return f"  THE STEP DIFFERS by {worst:.1e}" if worst > 1e-6 else ""


def apart_at_most(mine: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> float:
    """How far a tensor is from another one, in its own size: some gradients are 1e10. Of those that are tiny beside
    the rest only rounding is left."""
    sizes = [0.0 if a is None else float(a.double().norm()) for a in mine]
    worst = 0.0
    for a, b, size in zip(mine, other, sizes, strict=True):
        if a is None or b is None:
            worst = worst if a is b else math.inf
            continue
        found = float((a.double() - b.double()).norm()) / max(size, 1e-6 * max(sizes), 1e-12)
        worst = max(worst, found if math.isfinite(found) else math.inf)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", help="names of files of specs/, all by default")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.0, 0.4])
    parser.add_argument("--macs", type=float, default=2000)
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    tried = bad = 0
    seen: set[str] = set()
    for file, entry in entries():
        if (args.specs and Path(file).stem not in args.specs) or (file in seen and not args.all):
            continue
        seen.add(file)
        spec, began = compiled(file, entry), time.process_time()
        sizes = next(iter(usual(spec.program)), {})
        budget = Budget(spec.program, sizes)
        for fraction, fit in plans(budget, args.fractions):
            tried += 1
            planning, began = time.process_time() - began, time.process_time()
            try:
                found = look(spec, budget, fit, args.macs * 1e6)
                wrong = compare(spec, budget, fit) if args.step and budget.macs <= args.macs * 1e6 else ""
                fine, text = found.fine and not wrong, f"{found}{wrong}"
            except Exception as error:
                traceback.print_exc()
                fine, text = False, f"{type(error).__name__}: {error}"
            bad += not fine
            mark = "  " if fine else "! "
            took, began = time.process_time() - began, time.process_time()
            print(
                f"{mark}{file}:{entry} {fraction:g}: {text}  planned in {planning:.1f} s, step {took:.1f} s", flush=True
            )
    print(f"{tried - bad} of {tried} plans hold what is planned, within {ALLOWED:.0%}")
    return int(bool(bad))


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
