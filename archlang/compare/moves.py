"""Modules that stand under another path than before, at whatever depth on either side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archlang.compare.changes import Move
from archlang.ir.graph import Child, Graph, Program
from archlang.ir.paths import join, shift, split_index

__all__ = ["find_moves", "listed", "moved_pairs", "renamed"]

CLOSEST = 50  # of equal modules, how many are looked at for the one whose path is most alike


def find_moves(old: Program, new: Program) -> dict[str, str]:
    """Old paths of the outermost modules that moved, with their new ones.

    A module moved if its path is gone and one of the same content stands under a new path; or else, if the block and
    the label are the same and no other module could be meant. What equals several goes to the path most alike.
    """
    a, b = _modules(old), _modules(new)
    search = _Search({p: c for p, c in a.items() if p not in b}, {p: c for p, c in b.items() if p not in a})
    search.equal(graphs=True)
    search.changed()
    search.equal(graphs=False)
    return {x: search.found[x] for x in a if x in search.found}


class _Search:
    """Pairs of paths. Nothing inside of a pair is looked at again."""

    def __init__(self, gone: Mapping[str, Child], fresh: Mapping[str, Child]) -> None:
        self.gone, self.fresh = gone, fresh
        self.found: dict[str, str] = {}
        self.taken: set[str] = set()
        self.contents = _Contents()

    def equal(self, graphs: bool) -> None:
        """Modules of one content, from the outside inwards."""
        places: dict[int, dict[str, None]] = {}
        for path in sorted(self.fresh, key=_depth):
            child = self.fresh[path]
            if (child.graph is not None) == graphs and self.contents.holds_some(child):
                places.setdefault(self.contents.of(child), {})[path] = None
        for path in sorted(self.gone, key=_depth):
            child = self.gone[path]
            if (child.graph is not None) == graphs and not _inside(path, self.found):
                free = places.get(self.contents.of(child), {})
                near = []
                for place in list(free):
                    if _inside(place, self.taken):
                        del free[place]
                    else:
                        near.append(place)
                    if len(near) == CLOSEST:
                        break
                if near:
                    self.pair(path, max(near, key=lambda place: _alike(path, place)))

    def changed(self) -> None:
        """Instances of one block under one label, where each side has one of these that is left."""
        sides = []
        for modules, done in ((self.gone, self.found), (self.fresh, self.taken)):
            names: dict[tuple[str, str], list[str]] = {}
            for path, child in modules.items():
                if child.graph is not None and not _inside(path, done):
                    names.setdefault((child.graph.block, path.rpartition(".")[2]), []).append(path)
            sides.append(names)
        for name, paths in sides[0].items():
            if len(paths) == len(sides[1].get(name, ())) == 1:
                (path,), (place,) = paths, sides[1][name]
                if not _inside(path, self.found) and not _inside(place, self.taken):
                    self.pair(path, place)

    def pair(self, path: str, place: str) -> None:
        self.found[path] = place
        self.taken.add(place)


class _Contents:
    """A number for each content: the layers with their arguments, and the weights. Graphs are described once."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._graphs: dict[int, int] = {}

    def of(self, child: Child) -> int:
        if child.graph is None:
            weights = tuple((w.name, w.shape, w.dtype) for w in child.weights)
            return self._number((child.op, str(sorted(child.attrs.items(), key=lambda item: item[0])), weights))
        waiting = [child.graph]
        while waiting:  # without recursion: nesting is unbounded
            graph = waiting[-1]
            missing = [
                c.graph for c in graph.children.values() if c.graph is not None and id(c.graph) not in self._graphs
            ]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if id(graph) not in self._graphs:
                weights = tuple((path, w.shape, w.dtype) for path, w in graph.weights.items())
                layers = tuple((c.path, c.count, self.of(c)) for c in graph.children.values())
                self._graphs[id(graph)] = self._number((layers, weights))
        return self._graphs[id(child.graph)]

    def holds_some(self, child: Child) -> bool:
        return child.graph is None or bool(child.graph.children or child.graph.weights)

    def _number(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))


def _modules(program: Program) -> dict[str, Child]:
    """Every module under its path, those around it first."""
    found: dict[str, Child] = {}
    waiting: list[tuple[str, Graph]] = [("", program.root)]
    while waiting:
        prefix, graph = waiting.pop()
        for child in graph.children.values():
            for path in child.paths:
                found[join(prefix, path)] = child
                if child.graph is not None:
                    waiting.append((join(prefix, path), child.graph))
    return found


def moved_pairs(old: Program, new: Program, moves: Mapping[str, str]) -> Iterator[tuple[Graph, Graph, str, str]]:
    """The graphs of moved instances on both sides, and their paths."""
    if moves:
        a, b = _modules(old), _modules(new)
        for x, y in moves.items():
            before, after = a[x].graph, b[y].graph
            if before is not None and after is not None:
                yield before, after, x, y


def renamed(key: str, moves: Mapping[str, str]) -> str:
    """What a path is called now."""
    end = len(key)
    while end > 0:
        place = moves.get(key[:end])
        if place is not None:
            return place + key[end:]
        end = key.rfind(".", 0, end)
    return key


def listed(moves: Mapping[str, str]) -> tuple[Move, ...]:
    """Neighbours by number that went to neighbours by number are one entry."""
    found: list[Move] = []
    for old, new in moves.items():
        last = found[-1] if found else None
        if last is not None and _next(last.old, last.count, old) and _next(last.new, last.count, new):
            found[-1] = Move(last.old, last.new, last.count + 1)
        else:
            found.append(Move(old, new))
    return tuple(found)


def _next(first: str, count: int, path: str) -> bool:
    return split_index(first) is not None and shift(first, count) == path


def _depth(path: str) -> int:
    return path.count(".")


def _inside(path: str, paths: Mapping[str, str] | set[str]) -> bool:
    """Whether a path, or one around it, is among these."""
    end = len(path)
    while end > 0:
        if path[:end] in paths:
            return True
        end = path.rfind(".", 0, end)
    return False


def _alike(a: str, b: str) -> int:
    """How many segments two paths have in common at their ends."""
    x, y = a.split(".")[::-1], b.split(".")[::-1]
    return next((i for i, (s, t) in enumerate(zip(x, y, strict=False)) if s != t), min(len(x), len(y)))
