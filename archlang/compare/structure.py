"""Differences of structure: which layers and blocks stand under which labels, and what their bodies do.

Pairs of graphs that stand under equal paths, or that moved, are compared, each pair once, however many places it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from archlang.compare.changes import BlockChange, Change
from archlang.compare.moves import moved_pairs
from archlang.compare.wiring import body_changes
from archlang.ir.graph import Child, Graph, Program
from archlang.ir.paths import join, split_index
from archlang.ir.text import attr_str
from archlang.ops.base import registry

__all__ = ["structure"]

Pair = tuple[int, int]


def structure(old: Program, new: Program, moves: Mapping[str, str]) -> tuple[BlockChange, ...]:
    """The blocks that differ, those nearest to the root first. What moved has neither come nor gone."""
    walk = _Walk(moves)
    moved = list(moved_pairs(old, new, moves))
    walk.run([(old.root, new.root, "", ""), *moved])
    order = walk.order
    places: dict[Pair, int] = {order[0]: 1}
    for a, b, *_ in moved:
        places[id(a), id(b)] = places.get((id(a), id(b)), 0) + 1
    for pair in order:
        for inner in walk.inner[pair]:
            places[inner] = places.get(inner, 0) + places[pair]
    merged: dict[tuple[str, tuple[Change, ...]], BlockChange] = {}
    for pair in order:
        if walk.changes[pair]:
            graph, path = walk.graphs[pair]
            key = graph.block, tuple(walk.changes[pair])
            same = merged.get(key)  # one edit of a block that is used at several widths
            merged[key] = BlockChange(
                key[0], same.path if same else path, places[pair] + (same.places if same else 0), key[1]
            )
    return tuple(merged.values())


class _Walk:
    """Visits every distinct pair of graphs; `order` has callers before callees."""

    def __init__(self, moves: Mapping[str, str]) -> None:
        self.moves, self.arrived = moves, frozenset(moves.values())
        self.changes: dict[Pair, list[Change]] = {}
        self.inner: dict[Pair, list[Pair]] = {}
        self.graphs: dict[Pair, tuple[Graph, str]] = {}
        self.order: list[Pair] = []

    def run(self, pairs: Sequence[tuple[Graph, Graph, str, str]]) -> None:
        """Depth first, without recursion: nesting is unbounded. Each pair with its paths; the roots come first."""
        finished: list[Pair] = []
        stack: list[tuple[Graph, Graph, str, str, bool]] = [(*pair, False) for pair in pairs]
        while stack:
            a, b, before, path, done = stack.pop()
            pair = id(a), id(b)
            if done:
                finished.append(pair)
                continue
            if pair in self.inner:
                continue
            self.graphs[pair] = b, path
            self.inner[pair] = []
            stack.append((a, b, before, path, True))
            self.changes[pair] = [*_parameters(a, b), *_weights(a, b)]
            for inner_a, inner_b, at in reversed(list(self._children(a, b, before, path))):
                stack.append((inner_a, inner_b, join(before, at), join(path, at), False))
            self.changes[pair] += body_changes(a, b)
        self.order = finished[::-1]

    def _children(self, a: Graph, b: Graph, before: str, after: str) -> Iterator[tuple[Graph, Graph, str]]:
        """Notes what differs between the layers of two graphs; gives the pairs of graphs to look into."""
        old, new = _members(a), _members(b)
        pair = id(a), id(b)
        found = self.changes[pair]
        gone = [path for path in old if path not in new and join(before, path) not in self.moves]
        fresh = [path for path in new if path not in old and join(after, path) not in self.arrived]
        for path, count in _runs(gone, old):
            found.append(Change("removed", _range(path, count), old=_describe(old[path])))
        for path, count in _runs(fresh, new):
            found.append(Change("added", _range(path, count), new=_describe(new[path])))
        seen: dict[tuple[int, int], int] = {}
        for path in old:
            if path not in new:
                continue
            x, y = old[path], new[path]
            if x.graph is not None and y.graph is not None and x.graph.block == y.graph.block:
                inner = id(x.graph), id(y.graph)
                self.inner[pair].append(inner)
                if inner not in seen:
                    seen[inner] = 1
                    yield x.graph, y.graph, path
            elif x.op != y.op or x.op is None:
                found.append(Change("changed", f"`{path}`", _describe(x), _describe(y)))
            elif x.attrs != y.attrs:
                found.append(Change("changed", f"`{path}`", *attr_changes(x.op, x.attrs, y.attrs)))


def _parameters(old: Graph, new: Graph) -> Iterator[Change]:
    if old.params != new.params:
        yield Change("changed", "parameters", *attr_changes("", old.params, new.params))


def _weights(old: Graph, new: Graph) -> Iterator[Change]:
    """Weights of the block itself on both sides; keys that only one side has are among the state-dict keys."""
    for path, a in old.weights.items():
        b = new.weights.get(path)
        if b is None:
            continue
        pairs = (("init", a.init, b.init), ("trainable", a.trainable, b.trainable), ("", a.constraint, b.constraint))
        for name, x, y in pairs:
            if x != y:
                yield Change("changed", f"weight `{path}`", f"{name} {x}".strip(), f"{name} {y}".strip())


def attr_changes(name: str, old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, str]:
    """Two calls that show only the arguments in which they differ."""
    names = [k for k in {**old, **new} if k not in old or k not in new or old[k] != new[k]]

    def show(attrs: Mapping[str, object]) -> str:
        inner = ", ".join(f"{k}={attr_str(attrs[k])}" for k in names if k in attrs)  # type: ignore[arg-type]
        return f"{name}({inner})" if name else inner

    return show(old), show(new)


def _members(graph: Graph) -> dict[str, Child]:
    """Children by path, the members of a counted one each by itself."""
    return {path: child for child in graph.children.values() for path in child.paths}


def _runs(paths: list[str], children: Mapping[str, Child]) -> Iterator[tuple[str, int]]:
    """Neighbours by number that are the same: first path and count."""
    start, count = "", 0
    for path in paths:
        if count and _follows(start, count, path) and _describe(children[path]) == _describe(children[start]):
            count += 1
            continue
        if count:
            yield start, count
        start, count = path, 1
    if count:
        yield start, count


def _follows(start: str, count: int, path: str) -> bool:
    a, b = split_index(start), split_index(path)
    return a is not None and b is not None and a[0] == b[0] and a[1] + count == b[1]


def _range(path: str, count: int) -> str:
    if count == 1:
        return f"`{path}`"
    stem, first = split_index(path) or ("", 0)
    return f"`{path}` .. `{join(stem, str(first + count - 1))}`"


def _describe(child: Child) -> str:
    if child.graph is not None:
        params = ", ".join(f"{k}={attr_str(v)}" for k, v in child.graph.params.items())
        return f"{child.graph.block}({params})"
    op = registry().get(child.op or "")
    defaults = {p.name: p.default for p in op.params} if op is not None else {}
    shown = [f"{k}={attr_str(v)}" for k, v in child.attrs.items() if not _is_default(v, defaults.get(k))]
    return f"{child.op}({', '.join(shown)})"


def _is_default(value: object, default: object) -> bool:
    """Whether an attribute need not be shown: `(1, 1)` is a stride of 1."""
    return value is None or value == default or (isinstance(value, tuple) and all(v == default for v in value))
