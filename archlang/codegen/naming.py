"""Names of Python variables in a forward: the author's, reused once the old value is dead, never in anyone's way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from archlang.codegen.body import Body, Loop, Step
from archlang.codegen.flow import Groups, Line, all_steps, last_uses, reads, steady, targets
from archlang.codegen.names import identifier

__all__ = ["Names", "allocate", "preferred"]

Names = dict[int, str]


def preferred(body: Body, lines: list[Line], groups: Groups, counts: Mapping[int, int]) -> Names:
    """What each value would be called if nothing stood in the way; "" where nothing suggests itself.

    An intermediate without a name takes the name of what it flows into: `y = conv(x)`, then `y = norm(y)`.
    """
    names: Names = {}
    for v, name in enumerate(body.names):
        if name and not names.get(groups.find(v)):
            names[groups.find(v)] = identifier(name)
    for line in reversed(list(all_steps(lines))):
        made = [v for v in targets(line) if isinstance(line, Step)]
        if len(made) != 1 or not isinstance(line, Step) or not isinstance(line.target, int):
            continue
        name = names.get(groups.find(made[0]), "")
        for v in reads(line):
            if name and counts.get(v) == 1 and not names.get(groups.find(v)):
                names[groups.find(v)] = name
    return names


def allocate(
    body: Body,
    lines: list[Line],
    groups: Groups,
    prefer: Names,
    fixed: Names,
    taken: Callable[[str], bool],
) -> Names:
    """A name for every variable. fixed: names of scalar ports; taken: what is never free."""
    last = last_uses(lines, body, groups)
    names: Names = {}
    holds: dict[str, int] = {}
    for v, name in fixed.items():
        names[groups.find(v)] = name
        holds[name] = groups.find(v)

    def free(name: str, at: int, same: set[str]) -> bool:
        holder = holds.get(name)
        return not taken(name) and name not in same and (holder is None or last.get(holder, -1.0) <= at)

    for i, line in enumerate(lines):
        same: set[str] = set()
        dying = [
            names[g]
            for g in dict.fromkeys(groups.find(v) for v in reads(line))
            if last.get(g, -1.0) <= i and g in names
        ]
        made = targets(line)
        for v in made:
            group = groups.find(v)
            if group in names or (group not in last and isinstance(line, Step) and line.target == v):
                continue
            wish = prefer.get(group, "")
            ends = last.get(group) == len(lines)
            reuse = dying if len(made) == 1 and not body.names[v] else []
            own = identifier(line.label or "x") if not isinstance(line, Loop) else "x"
            first = [wish, *reuse] if not ends else [wish, *reuse, *fixed.values()]
            options = [n for n in (*first, own) if n]
            name = next(n for n in _numbered(options) if free(n, i, same))
            names[group] = name
            same.add(name)
        for v in made:
            if groups.find(v) in names:
                holds[names[groups.find(v)]] = groups.find(v)
        if isinstance(line, Loop) and line.inner:
            _inside(line, groups, names, prefer, lambda name, i=i: free(name, i, set()))  # type: ignore[misc]
    return names


def _inside(loop: Loop, groups: Groups, names: Names, prefer: Names, free: Callable[[str], bool]) -> None:
    """Names what is made inside a loop: variables that are free around it, or its streams' own while those are idle."""
    made = {v: i for i, step in enumerate(loop.inner) for v in targets(step)}
    last = {v: i for i, step in enumerate(loop.inner) for v in reads(step.value) if v in made}
    busy: dict[str, list[tuple[int, int]]] = {}
    for v in loop.streams:  # the old value up to its last read, the new one from where it is made
        old = [i for i, step in enumerate(loop.inner) if v in reads(step.value) and i <= made[v]]
        busy.setdefault(names[groups.find(v)], []).extend([(-1, max(old, default=-1)), (made[v], len(loop.inner) + 1)])
    steadies = {names[groups.find(v)] for v in steady(loop) if groups.find(v) in names}
    for i, step in enumerate(loop.inner):
        for v in targets(step):
            if v in loop.streams or v not in last:
                continue
            own = identifier(step.label or "x")
            options = [n for n in (prefer.get(groups.find(v), ""), own) if n]
            span = (i, last[v])
            name = next(
                n
                for n in _numbered(options)
                if n not in steadies
                and (n in busy or free(n))
                and all(span[0] >= b or a >= span[1] for a, b in busy.get(n, ()))
            )
            names[groups.find(v)] = name
            busy.setdefault(name, []).append(span)


def _numbered(options: list[str]) -> Iterator[str]:
    """The wishes, then the first of them with numbers."""
    yield from options
    yield from (f"{options[0]}_{number}" for number in count(2))
