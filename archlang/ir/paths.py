"""Relative paths of a graph's children: joining, counting, and look-up through runs, aliases and borrowed slots."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from archlang.ir.graph import Child, Graph

__all__ = ["Paths", "free_path", "join", "shift", "split_index"]


def join(prefix: str, path: str) -> str:
    """`layer1` and `0.conv` -> `layer1.0.conv`; either may be empty."""
    return f"{prefix}.{path}" if prefix and path else prefix or path


def split_index(path: str) -> tuple[str, int] | None:
    """`layer1.3` -> ("layer1", 3); None where the last segment is no index."""
    stem, _, last = path.rpartition(".")
    return (stem, int(last)) if last.isdecimal() and last == str(int(last)) else None


def shift(path: str, by: int) -> str:
    """The path of the child that stands `by` places after `path`: `layer1.3`, 2 -> `layer1.5`."""
    if by == 0:
        return path
    found = split_index(path)
    if found is None:
        raise ValueError(f"`{path}` does not end in an index")
    return join(found[0], str(found[1] + by))


def free_path(graph: Graph, base: str) -> str:
    """`base`, or `base_2`, `base_3`, ...: a path of the graph under which nothing stands, nor below it."""
    taken = {*graph.children, *graph.weights, *graph.aliases, *graph.borrowed}
    path, number = base, 1
    while any(p == path or p.startswith(f"{path}.") for p in taken):
        number += 1
        path = f"{base}_{number}"
    return path


class Paths:
    """Look-up of the paths of one graph: members of counted children and borrowed slots, and aliases.

    Built once per graph; a look-up costs the logarithm of the number of runs.
    """

    def __init__(self, graph: Graph) -> None:
        self._aliases = graph.aliases
        self._owned = _Table(graph.children)
        self._borrowed = _Table(graph.borrowed)

    def canonical(self, path: str) -> str:
        """The first path of what stands under `path`."""
        for _ in range(len(self._aliases)):
            if path not in self._aliases:
                break
            path = self._aliases[path]
        return path

    def owned(self, path: str) -> Child | None:
        """The owned child under a path, or the counted one of which the path names a member."""
        return self._owned.find(self.canonical(path))

    def borrowed(self, path: str) -> Child | None:
        """The borrowed slot under a path, or the counted one of which the path names a member."""
        return self._borrowed.find(path)

    def counted(self, path: str) -> bool:
        """Whether a path, taken literally, is a member of an owned counted child."""
        return self._owned.run(path) is not None

    def child(self, path: str) -> Child | None:
        """Owned or borrowed."""
        return self.owned(path) or self.borrowed(path)

    def lend(self, path: str, modules: Mapping[str, str]) -> str | None:
        """Where the caller keeps the module of slot `path`, by the caller's `Node.modules`."""
        if path in modules:
            return modules[path]
        slot = self.borrowed(path)
        here = split_index(path)
        first = split_index(slot.path) if slot is not None else None
        if slot is None or here is None or first is None or slot.path not in modules:
            return None
        return shift(modules[slot.path], here[1] - first[1])


class _Table:
    """Children by path, counted ones by range."""

    def __init__(self, children: Mapping[str, Child]) -> None:
        self._single = {c.path: c for c in children.values() if c.count == 1}
        self._runs: dict[str, list[tuple[int, Child]]] = {}
        for child in children.values():
            found = split_index(child.path) if child.count > 1 else None
            if found is not None:
                self._runs.setdefault(found[0], []).append((found[1], child))
        for runs in self._runs.values():
            runs.sort(key=lambda run: run[0])

    def find(self, path: str) -> Child | None:
        return self._single.get(path) or self.run(path)

    def run(self, path: str) -> Child | None:
        found = split_index(path)
        runs = self._runs.get(found[0]) if found is not None else None
        if found is None or not runs:
            return None
        at = bisect_right(runs, found[1], key=lambda run: run[0]) - 1
        if at < 0:
            return None
        first, child = runs[at]
        return child if found[1] < first + child.count else None
