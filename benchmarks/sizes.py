"""Runs every spec at stratified sizes on the meta device: it must run exactly at the sizes of the computed set.

    python benchmarks/sizes.py [--sizes 200] [--random 100] [--jobs 2] [PATH ...]

Prints a row for each question, which is a set of sizes in one phase, and exits with 1 where a size disagrees. Designs
of a file that ask the same question share its sample: each size is run by one of them, in turn. Where a size is outside
of the set only by what torch itself does not refuse (a declared size, a slice or chunk that torch would shorten, an
extent of 1 that it would broadcast), the run proves nothing: such sizes are counted apart, in the column `lenient`.
Random specs, of which `--random` says how many, have a tenth of the sizes each, and a row in all. Specs are shared out
among `--jobs` processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from archlang.api import Compiled, compile, emit
from archlang.certify.certificate import Ran, Runner
from archlang.certify.remember import Remembered
from archlang.certify.sample import sample
from archlang.elaborate import Limits, designs, load
from archlang.syntax.source import read_file
from archlang.verify.sets import PHASES, Domain, domain

COUNTS = ("inside", "outside", "lenient", "wrong")
HEAD = f"{'designs':<45}{'phase':<7}{'valid':>6}{'refused':>8}{'lenient':>8}{'wrong':>6}{'s':>7}  sizes"


class Row(NamedTuple):
    """A line of the table, with what it says in numbers."""

    text: str
    ran: Ran


def runners(path: str) -> list[Runner]:
    """Every design of a spec that its inputs' declarations give."""
    limits = Limits()
    module = load(read_file(path, limits.source_bytes), limits)
    found = [d.done for d in designs(module, limits) if d.verify is None]
    remembered = Remembered()
    return [Runner(emit(done, path), remembered) for done in found if done is not None]


def questions(run: list[Runner], phase: str) -> list[tuple[Domain, list[Runner]]]:
    """Designs with the same constraints on sizes of the same names, together."""
    groups: dict[tuple[object, ...], tuple[Domain, list[Runner]]] = {}
    for one in run:
        of = domain(one.program, phase)
        parts = sorted({(str(p.constraint), p.constraint.rule) for p in of.parts})
        key = (of.space.names, *parts, *map(str, of.undecided))
        groups.setdefault(key, (of, []))[1].append(one)
    return list(groups.values())


def ask(of: Domain, group: list[Runner], count: int) -> Ran:
    """Deals a sample out among the designs; the sum of what they found."""
    total = Ran(of.phase, "")
    chosen = sample(of, count)
    for i, one in enumerate(group):
        mine = chosen[i :: len(group)] or chosen[:1]
        ran = one.sizes(domain(one.program, of.phase), mine)
        total.text = ran.text
        total.add(ran)
    return total


def random_specs(count: int) -> Iterator[Compiled]:
    """Specs of the tests' strategy, always the same ones."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from hypothesis import HealthCheck, Phase, given, settings

    from tests.random_specs.strategy import Spec, specs

    found: dict[str, Compiled] = {}

    @settings(
        max_examples=count, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(specs())
    def collect(spec: Spec) -> None:
        found[spec.text] = compile(spec.text, entry="net")

    collect()
    yield from found.values()


def row(name: str, ran: Ran, start: float, run: list[Runner]) -> Row:
    counts = f"{ran.inside:>6}{ran.outside:>8}{ran.lenient:>8}{ran.wrong:>6}{time.perf_counter() - start:>7.1f}"
    found = [d for one in run for d in one.certificate.found][:3] if ran.wrong else ()
    more = "".join(f"\n    {d.code} {d.message}; {d.label}" for d in found)
    return Row(f"{name:<45}{ran.phase:<7}{counts}  {ran.text}{more}", ran)


def of_spec(path: str, count: int) -> list[Row]:
    """The questions of a spec, in both phases."""
    rows = []
    run = runners(path)
    for phase in PHASES:
        for of, group in questions(run, phase):
            start = time.perf_counter()
            more = f" and {len(group) - 1} more" if len(group) > 1 else ""
            name = f"{Path(path).stem}:{group[0].certificate.name}{more}"
            rows.append(row(name, ask(of, group, count), start, group))
    return rows


def of_random(specs: int, count: int) -> list[Row]:
    """Random specs, as many as are said, with `count` sizes each; a row for each phase."""
    rows, remembered = [], Remembered()
    run = [Runner(compiled, remembered) for compiled in random_specs(specs)]
    for phase in PHASES:
        start, total = time.perf_counter(), Ran(phase, f"{len(run)} sets")
        for one in run:
            total.add(ask(domain(one.program, phase), [one], count))
        rows.append(row(f"{len(run)} random specs", total, start, run))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=sorted(map(str, Path("specs").glob("**/*.arch"))))
    parser.add_argument("--sizes", type=int, default=200)
    parser.add_argument("--random", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    print(HEAD, flush=True)
    start, ran = time.perf_counter(), []
    with ProcessPoolExecutor(args.jobs) as pool:
        tasks = [pool.submit(of_spec, path, args.sizes) for path in args.paths]
        if args.random:
            tasks.append(pool.submit(of_random, args.random, max(args.sizes // 10, 4)))
        for task in as_completed(tasks):
            for line in task.result():
                print(line.text, flush=True)
                ran.append(line.ran)
    total = {name: sum(getattr(one, name) for one in ran) for name in COUNTS}
    print(f"{len(ran)} rows in {time.perf_counter() - start:.0f} s:", ", ".join(f"{n} {k}" for k, n in total.items()))
    return 1 if total["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
