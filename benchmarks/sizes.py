"""Runs every spec at stratified sizes on the meta device: it must run exactly at the sizes of the computed set.

    python benchmarks/sizes.py [--sizes 200] [PATH ...]

Prints a row for each design and phase; exits with 1 where a size disagrees. Where a size is outside of the set only by
what torch itself does not refuse (a declared size, a slice or chunk that torch would shorten, an extent of 1 that it
would broadcast), the run proves nothing: such sizes are counted apart, in the column `lenient`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archlang.api import Compiled, compile_module
from archlang.elaborate import Limits, designs, load
from archlang.inputs import random_inputs
from archlang.ir.graph import Constraint, Program
from archlang.loading import module_of, root_class
from archlang.shapes.dim import evaluate
from archlang.syntax.source import read_file
from archlang.verify.sets import PHASES, Domain, domain
from archlang.verify.text import set_text

LARGEST = 420  # sizes are looked for up to this one


@dataclass
class Outcome:
    """What became of one design in one phase."""

    name: str
    phase: str
    text: str = ""
    inside: int = 0
    outside: int = 0
    lenient: int = 0
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def sample(of: Domain, count: int, seed: int = 0) -> list[dict[str, int]]:
    """Sizes beside every boundary, on both sides of every congruence, and random ones; half of them valid."""
    draw = random.Random(seed)
    names = of.space.names
    if not names:
        return [{}]
    base = of.space.lowest(of.set) or dict.fromkeys(names, 1)
    edges: dict[str, list[int]] = {}
    for name in names:
        edges[name] = [1, 2, 3]
        before = _valid(of, {**base, name: 1})
        for n in range(2, LARGEST):
            now = _valid(of, {**base, name: n})
            if now != before:
                edges[name] += [n - 1, n]
            before = now
    found: dict[tuple[int, ...], dict[str, int]] = {}

    def add(sizes: Mapping[str, int]) -> None:
        found.setdefault(tuple(sizes[n] for n in names), dict(sizes))

    add(base)
    for name in names:  # one symbol at a time beside the smallest valid size
        for n in edges[name][:8]:
            add({**base, name: n})
    valid = {name: [n for n in range(1, LARGEST) if _valid(of, {**base, name: n})] or [1] for name in names}
    for attempt in range(count * 20):
        if len(found) >= 4 * count:
            break
        kind = attempt % 4
        sizes = {n: draw.choice(valid[n][:64] if kind < 2 else edges[n]) for n in names}
        if kind == 1:  # one step off a valid size
            name = draw.choice(names)
            sizes[name] = max(1, sizes[name] + draw.choice((-1, 1)))
        elif kind == 3:
            sizes = {n: draw.randint(1, 64) for n in names}
        add(sizes)
    return _halved(of, list(found.values()), count)


def _halved(of: Domain, found: list[dict[str, int]], count: int) -> list[dict[str, int]]:
    """At most `count` of them, as near to half of them valid as there are such."""
    inside = [s for s in found if of.contains(s)]
    outside = [s for s in found if not of.contains(s)]
    half = max(count // 2, count - len(outside))
    return inside[:half] + outside[: count - min(half, len(inside))]


def _valid(of: Domain, sizes: Mapping[str, int]) -> bool:
    """By the constraints' numbers, which is faster than asking the set, and enough to choose sizes."""
    return not any(_broken(p.constraint, sizes) for p in of.parts)


def _broken(c: Constraint, sizes: Mapping[str, int]) -> bool:
    left, right = evaluate(c.left, sizes), evaluate(c.right, sizes)
    return left != right if c.relation == "==" else left < right


def lenient(of: Domain, sizes: Mapping[str, int]) -> bool:
    """Whether torch refuses none of the constraints that the sizes break."""
    broken = [c for c in [p.constraint for p in of.parts] + list(of.undecided) if _broken(c, sizes)]

    def refused(c: Constraint) -> bool:
        if c.rule == "broadcast":
            return 1 not in (evaluate(c.left, sizes), evaluate(c.right, sizes))
        return c.rule == "torch"

    return not any(refused(c) for c in broken)


def try_sizes(compiled: Compiled, count: int, name: str) -> Iterator[Outcome]:
    """Samples and runs both phases of a compiled design."""
    import torch

    with torch.device("meta"):
        module = root_class(module_of(compiled))()
    for phase in PHASES:
        start = time.perf_counter()
        of = domain(compiled.program, phase)
        outcome = Outcome(name, phase, set_text(of.space, of.set) if of.space.names else "fixed")
        module.train(phase == "train")
        for sizes in sample(of, count):
            expected = of.contains(sizes)
            error = _run(module, compiled.program, sizes, phase)
            if expected:
                outcome.inside += 1
                if error is not None:
                    outcome.wrong.append(f"{sizes}: in the set, but {error}")
            elif lenient(of, sizes):
                outcome.lenient += 1
            else:
                outcome.outside += 1
                if error is None:
                    outcome.wrong.append(f"{sizes}: outside of the set, and it runs")
        outcome.seconds = time.perf_counter() - start
        yield outcome


def _run(module: Any, program: Program, sizes: Mapping[str, int], phase: str) -> str | None:
    """None where it runs with the predicted shapes, else what happened."""
    import torch

    try:
        with torch.no_grad():
            actual = list(_shapes(module(*random_inputs(program, sizes, "meta"))))
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"
    outputs = [o for o in program.root.outputs if phase == "train" or not o.training]
    predicted = [tuple(evaluate(s, sizes) for s in v.type.shape) for o in outputs for v in o.values]
    return None if actual == predicted else f"its shapes are {actual}, not {predicted}"


def _shapes(result: Any) -> Iterator[tuple[int, ...]]:
    if hasattr(result, "shape"):
        yield tuple(result.shape)
    else:
        for item in result.values() if isinstance(result, dict) else result:
            yield from _shapes(item)


def of_file(path: str) -> Iterator[tuple[str, Compiled]]:
    """Every design of a spec, compiled."""
    limits = Limits()
    module = load(read_file(path, limits.source_bytes), limits)
    for design in designs(module, limits):
        if design.verify is None and design.done is not None:
            yield f"{Path(path).stem}:{design.block}", compile_module(module, design.block, {}, limits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=sorted(map(str, Path("specs").glob("*.arch"))))
    parser.add_argument("--sizes", type=int, default=200)
    args = parser.parse_args()
    wrong = 0
    print(f"{'design':<36}{'phase':<7}{'valid':>6}{'refused':>8}{'lenient':>8}{'wrong':>6}{'s':>7}  sizes")
    for path in args.paths:
        for name, compiled in of_file(path):
            for o in try_sizes(compiled, args.sizes, name):
                counts = f"{o.inside:>6}{o.outside:>8}{o.lenient:>8}{len(o.wrong):>6}{o.seconds:>7.1f}"
                print(f"{o.name:<36}{o.phase:<7}{counts}  {o.text}", flush=True)
                for line in o.wrong[:3]:
                    print(f"    {line}")
                wrong += len(o.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
