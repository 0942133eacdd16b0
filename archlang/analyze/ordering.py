"""Orders in which steps can be taken, by the memory that they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

__all__ = ["least_live"]


def least_live(
    before: Sequence[Set[int]], fresh: Sequence[int], touched: Sequence[Mapping[int, int]], held: Set[int] = frozenset()
) -> list[int]:
    """Places of steps: of those that can be next, always the one after which the least is live, else the first.

    before: of each step, those that must come before it; fresh: the bytes that it makes; touched: of the memory that it
    makes or reads, the bytes; held: the memory that is live to the end.
    """
    uses = Counter(key for memory in touched for key in memory)
    waiting = [len(earlier) for earlier in before]
    after: list[list[int]] = [[] for _ in before]
    for i, earlier in enumerate(before):
        for k in earlier:
            after[k].append(i)
    ready = {i for i, count in enumerate(waiting) if not count}
    found: list[int] = []

    def growth(i: int) -> tuple[int, int]:
        ends = sum(n for key, n in touched[i].items() if uses[key] == 1 and key not in held)
        return fresh[i] - ends, i

    while ready:
        i = min(ready, key=growth)
        ready.remove(i)
        found.append(i)
        uses.subtract(list(touched[i]))
        for k in after[i]:
            waiting[k] -= 1
            if not waiting[k]:
                ready.add(k)
    return found
