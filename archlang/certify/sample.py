"""Sizes to try: beside every boundary of a set, on both sides of each congruence, and random ones. Needs no torch."""

from __future__ import annotations

import random
from collections.abc import Mapping

from archlang.inputs import NoSizes, choose_sizes, violated
from archlang.ir.graph import Constraint, Graph, Program
from archlang.ir.sizes import declared
from archlang.shapes.dim import evaluate, symbols
from archlang.verify.sets import PHASES, Domain

__all__ = ["lenient", "sample", "usual"]

LARGEST = 420  # boundaries are looked for up to this size
EXTENTS = (8, 16, 32, 64, 128, 224, 256, 299, 384)


def sample(of: Domain, count: int, seed: int = 0) -> list[dict[str, int]]:
    """At most `count` choices of sizes, as near to half of them valid as there are such; always the same ones."""
    draw = random.Random(seed)
    names = of.space.names
    if not names:
        return [{}]
    base = of.space.lowest(of.set) or dict.fromkeys(names, 1)
    valid, edges = {}, {}
    for name in names:
        answers = [_valid(of, {**base, name: n}) for n in range(1, LARGEST)]
        changes = [n for n in range(2, LARGEST) if answers[n - 1] != answers[n - 2]]
        edges[name] = list(dict.fromkeys([1, 2, 3, *(m for n in changes for m in (n - 1, n))]))
        valid[name] = [n for n in range(1, LARGEST) if answers[n - 1]] or [1]
    found: dict[tuple[int, ...], dict[str, int]] = {}

    def add(sizes: Mapping[str, int]) -> None:
        found.setdefault(tuple(sizes[n] for n in names), dict(sizes))

    add(base)
    for name in names:  # one symbol at a time beside the smallest valid size
        for n in edges[name][:8]:
            add({**base, name: n})
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
    inside = [s for s in found if _valid(of, s)]
    outside = [s for s in found if not _valid(of, s)]
    half = max(count // 2, count - len(outside))
    return inside[:half] + outside[: count - min(half, len(inside))]


def _valid(of: Domain, sizes: Mapping[str, int]) -> bool:
    """By the constraints' numbers, which is faster than asking the set, and enough to choose sizes."""
    return all(c.holds(sizes) for c in _constraints(of))


def _constraints(of: Domain) -> list[Constraint]:
    return [*(part.constraint for part in of.parts), *of.undecided]


def lenient(of: Domain, sizes: Mapping[str, int], root: Graph) -> bool:
    """Whether torch refuses not all of the constraints that the sizes break, so that running them proves nothing: after
    what it lets pass, tensors have other sizes than predicted, at which the other constraints may hold.

    What it lets pass are sizes that inner blocks declare, slices and chunks that it would shorten, and extents of 1
    that it would broadcast.
    """

    looked_at = {c.key for c in declared(root)}  # as promises are, by the module itself

    def refused(c: Constraint) -> bool:
        if c.rule == "broadcast":
            return 1 not in (evaluate(c.left, sizes), evaluate(c.right, sizes))
        return c.rule in ("torch", "promise") or c.key in looked_at

    return not all(refused(c) for c in _constraints(of) if not c.holds(sizes))


def usual(program: Program) -> list[dict[str, int]]:
    """A small choice of sizes and one as in practice (images of 224), valid in both phases; [] where none is found."""
    root = program.root
    first = next((v.type.shape[0] for v in root.entries if v.type.rank > 1), 1)
    fixed = dict.fromkeys(symbols(first), 2)
    found: list[dict[str, int]] = []
    for extent in (*EXTENTS, None):
        given = {} if extent is None else {name: fixed.get(name, extent) for name in root.symbols}
        try:
            sizes = choose_sizes(root, given)
        except NoSizes:
            continue
        if all(violated(root, sizes, phase) is None for phase in PHASES) and sizes not in found:
            found.append(sizes)
    return [found[0], found[-1]] if len(found) > 1 else found
