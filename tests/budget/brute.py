"""All plans that there are for a chain, by numpy: written from what a plan is, not from the search or its `Course`."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from archlang.budget.course import chain
from archlang.budget.search import Search

__all__ = ["Chain", "Plans", "differs", "random_chain"]


class Chain(NamedTuple):
    """The numbers of a chain, as `course.chain` takes them."""

    inner: list[int]
    between: list[int]
    again: list[int]
    undone: list[int | None]


def random_chain(rng: random.Random, n: int, undone: bool) -> Chain:
    top = rng.choice([3, 20, 1000])
    inner, again = ([rng.randrange(top) for _ in range(n)] for _ in range(2))
    between = [rng.randrange(1, top) for _ in range(n + 1)]
    often = rng.choice([0.5, 0.9, 1.0]) if undone else 0.0
    return Chain(inner, between, again, [rng.randrange(top) if rng.random() < often else None for _ in range(n)])


class Part(NamedTuple):
    """A way to train some parts together. kept: the bits of the tensors that it keeps; inner: bytes that it keeps
    besides; extra: bytes that it holds while its backward pass runs."""

    kept: int
    inner: int
    extra: int
    cost: int


def parts(of: Chain, start: int, stop: int) -> Iterator[Part]:
    """The ways to train the parts from `start` to before `stop` as one."""
    work = sum(of.again[start:stop])
    if stop == start + 1:
        yield Part(1 << start, of.inner[start], 0, 0)
    yield Part(1 << start, 0, sum(of.inner[start:stop]) + sum(of.between[start + 1 : stop]), work)
    taken = [n for n in of.undone[start:stop] if n is not None]
    if len(taken) == stop - start:
        yield Part(1 << stop, 0, max(taken), work)


class Plans:
    """The figures of all plans of a chain: an array entry for each. key: cost and what is kept, in one number."""

    def __init__(self, of: Chain) -> None:
        n = len(of.inner)
        self.most = sum(of.inner) + sum(of.between) + 1
        self.weigh = np.zeros(1 << (n + 1), np.int64)  # bytes of each set of tensors
        for tensor, size in enumerate(of.between):
            self.weigh[1 << tensor : 2 << tensor] = self.weigh[: 1 << tensor] + size
        ways = {(i, j): np.array(list(parts(of, i, j))).T for i in range(n) for j in range(i + 1, n + 1)}
        found = [self.cut(ways, [0, *(i for i in range(1, n) if cuts >> i & 1), n]) for cuts in range(0, 1 << n, 2)]
        self.key, self.peak = (np.concatenate(column) for column in zip(*found, strict=True))

    def cut(self, ways: dict[tuple[int, int], Any], places: list[int]) -> tuple[Any, Any]:
        """Key and peak of the plans that are cut at these places: an axis for each of their segments."""
        spans = [ways[span] for span in pairwise(places)]
        kept, inner, cost, peak = (np.zeros((1,) * len(spans), np.int64) for _ in range(4))
        for axis, span in enumerate(spans):
            tensors, more, extra, again = (
                row.reshape([-1 if a == axis else 1 for a in range(len(spans))]) for row in span
            )
            kept, inner, cost = kept | tensors, inner + more, cost + again
            peak = np.maximum(peak, self.weigh[kept] + inner + extra)  # the backward pass is here, later ones are done
        key = cost * self.most + self.weigh[kept] + inner
        return key.ravel(), np.broadcast_to(peak, key.shape).ravel()

    def best(self, memory: int) -> tuple[int, int]:
        """The least cost within a budget, and the fewest bytes kept at that."""
        cost, kept = divmod(int(self.key[self.peak <= memory].min()), self.most)
        return cost, kept


def differs(of: Chain, rng: random.Random, budgets: int) -> Sequence[str]:
    """What the search finds worse than, or other than, the best of all plans: at the least memory and at others."""
    plans, search = Plans(of), Search(chain(*of))
    lowest = int(plans.peak.min())
    found = [] if search.least() == lowest else [f"least {search.least()}, not {lowest}"]
    found += ["a plan below the least peak"] if search.within(lowest - 1) is not None else []
    for memory in (lowest, int(plans.peak.max()), *(int(rng.choice(plans.peak)) for _ in range(budgets))):
        plan = search.within(memory)
        if plan is None or (plan.cost, plan.kept) != plans.best(memory) or plan.peak > memory or plan.bound > plan.cost:
            found.append(f"at {memory}: {plan}, not {plans.best(memory)}")
    return found
