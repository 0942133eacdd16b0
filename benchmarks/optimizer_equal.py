"""Every design of every spec, and random specs, through the bars of the optimiser; a line for each that misses one.

    python benchmarks/optimizer_equal.py [--random 1000] [--specs 'res*'] [--macs 2e7] [--orders 3] [--first 0]

The bars: exact passes alone change no bit, all of them agree to 1e-12 in float64, with statistics at random (where the
network itself amplifies roundings, to four times what one rounding of each weight moves its results); optimising twice
changes nothing; other orders of the passes, at random, give the same figures, for training, too; a step of training at
-O1 is the same to the bit; the module written at -O2 is the interpreter of the optimised graph, bit for bit (to 1e-12
where the one at -O0 differs in bits: the two compute inverses in other ways). Designs of more MACs than `--macs` at
their smallest usual size, or of more `--parameters`, are checked without being run.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hypothesis import HealthCheck, given, seed, settings

import archlang
from archlang.analyze import cost
from archlang.certify.sample import usual
from archlang.ir.check import check
from archlang.ir.graph import Program
from archlang.ir.walk import executed
from archlang.ops.base import Context, registry
from archlang.optimize import Optimized, known_passes, optimize
from tests.analyze.networks import compiled, entries
from tests.optimize.equal import Given, deviation, exact
from tests.optimize.redundant import EXTENT, redundant
from tests.optimize.training import same_step
from tests.random_specs.strategy import SIZE, Spec, specs

ROUNDING = 1e-12
# Of a network that amplifies: what roundings of each weight a rewrite makes, and how far one may move the results.
ROUNDINGS, MOVES = 4, 1e-10


def bars(program: Program, sizes: Mapping[str, int], runs: bool, table: Table) -> Iterator[str]:
    """What the program misses."""
    made = optimize(program)
    table.fired.update(fired.name for fired in made.fired)
    check(made.program, registry(), Context)
    if optimize(made.program).fired:
        yield "optimising twice changes something"
    yield from disagreements(program, "inference", 2, table.orders)
    for level in (1, 2):
        yield from disagreements(program, "train", level, table.orders)
    if runs:
        yield from run(program, sizes, made, table)


def run(program: Program, sizes: Mapping[str, int], made: Optimized, table: Table) -> Iterator[str]:
    """What it misses on the interpreter, and in the module that is written for it."""
    given = Given(program, sizes)
    if not all(bool(x.isfinite().all()) for x in given.expected):
        yield "the results are no finite numbers: nothing is compared"
    after = given.after(made)
    if (error := deviation(given.expected, after)) > ROUNDING:
        moved = given.moved()
        found = f"all passes: {error:.1e}, beside {moved:.1e} by a rounding of each weight"
        if MOVES >= moved >= error / ROUNDINGS:
            table.amplified.append(f"{table.name}, {found}")
        else:
            yield found
    if error := deviation(after, given.written(made)):
        apart = deviation(given.expected, given.written(optimize(program, level=0)))  # an op by another algorithm?
        if not apart or error > ROUNDING:
            yield f"the module written is not the interpreter's: {error:.1e} (at -O0 {apart:.1e})"
    del after
    if (error := deviation(given.expected, given.after(optimize(program, names=exact())))) > 0:
        yield f"exact passes: {error:.1e}"
    try:
        same_step(program, sizes, state=given.state)
    except AssertionError as miss:
        yield f"training: {str(miss).splitlines()[0] if str(miss) else 'another result'}"


def disagreements(program: Program, purpose: str, level: int, orders: int) -> Iterator[str]:
    """Orders of the passes, at random, that end in other figures than the usual one."""
    known = (p for p in known_passes().values() if purpose in p.purposes and p.level <= level)
    names = [p.name for p in known if p.equivalence != "approximate"]
    figures = None
    for number in range(-1, orders) if orders else ():
        order = names if number < 0 else random.Random(number).sample(names, len(names))
        made = optimize(program, purpose=purpose, names=order).program
        found = (executed(made), cost(made).parameters.parameters)
        figures = figures or found
        if found != figures:
            yield f"{purpose} at -O{level}, order {number}: (nodes, parameters) {found}, not {figures}"


class Table:
    """What was tried, in so many orders of the passes, and what failed."""

    def __init__(self, orders: int, progress: bool) -> None:
        self.orders, self.progress, self.name = orders, progress, ""
        self.fired: Counter[str] = Counter()
        self.amplified: list[str] = []
        self.tried = self.ran = self.missed = 0
        self.start = time.perf_counter()

    def add(self, name: str, program: Program, sizes: Mapping[str, int], runs: bool) -> None:
        start = time.perf_counter()
        self.name = name
        self.tried += 1
        self.ran += runs
        found: list[str] = []
        try:
            found.extend(bars(program, sizes, runs, self))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
        self.missed += bool(found)
        for miss in found:
            print(f"{name}: {miss}", flush=True)
        if self.progress:
            print(
                f"{self.tried:5} {name}{'' if runs else ', not run'} ({time.perf_counter() - start:.1f} s)", flush=True
            )

    def close(self, what: str) -> None:
        seconds = time.perf_counter() - self.start
        print(f"{self.tried} {what}, {self.ran} of them run: {self.missed} miss a bar ({seconds:.0f} s)")
        if self.amplified:
            print("  amplify roundings:\n    " + "\n    ".join(self.amplified))
        print("  rewrites: " + ", ".join(f"{name} {n}" for name, n in sorted(self.fired.items())), flush=True)


def published(pattern: str, above: float, macs: float, parameters: float, table: Table) -> Table:
    for file, entry in entries():
        if not fnmatch(file, pattern) and not fnmatch(file, f"{pattern}.arch"):
            continue
        program = compiled(file, entry).program
        sizes = next(iter(usual(program)), {})
        figures = cost(program, sizes)
        work = figures.macs
        if isinstance(work, int) and work > above:
            runs = work <= macs and figures.parameters.parameters <= parameters
            table.add(f"{file} {entry}", program, sizes, runs)
    table.close("designs")
    return table


def at_random(count: int, first: int, table: Table) -> Table:
    """Half of them specs as the generator is tried on, half networks that do more than they have to."""
    if count:
        each(count // 2, first, lambda spec: add_random(table, spec))
    for number in range(first, first + count - count // 2):
        program = archlang.compile(redundant(number), "net").program
        table.add(f"redundant({number})", program, {"B": 2, "H": EXTENT, "W": EXTENT}, True)
    table.close("random specs")
    return table


def each(count: int, first: int, does: Callable[[Spec], None]) -> None:
    @seed(first)
    @given(specs())
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    def draw(spec: Spec) -> None:
        does(spec)

    draw()


def add_random(table: Table, spec: Spec) -> None:
    program = archlang.compile(spec.text, "net").program
    before = table.missed
    table.add(
        f"random {table.tried}", program, {name: SIZE if name != "B" else 2 for name in program.root.symbols}, True
    )
    if table.missed > before:
        print(spec.text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=1000, help="how many random specs")
    parser.add_argument("--first", type=int, default=0, help="the first one's number")
    parser.add_argument("--orders", type=int, default=3, help="how many orders of the passes beside the usual one")
    parser.add_argument("--specs", default="*", help="files of specs/ to try")
    parser.add_argument("--macs", type=float, default=2e7, help="MACs up to which a design is run")
    parser.add_argument("--parameters", type=float, default=1.5e8, help="and parameters, of some 50 bytes each")
    parser.add_argument("--above", type=float, default=-1, help="leave designs out that have no more MACs than these")
    parser.add_argument("--progress", action="store_true", help="a line for each that was tried")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables = (Table(args.orders, args.progress) for _ in range(2))
    found = (
        published(args.specs, args.above, args.macs, args.parameters, next(tables)),
        at_random(args.random, args.first, next(tables)),
    )
    return int(any(table.missed for table in found))


if __name__ == "__main__":
    sys.exit(main())
