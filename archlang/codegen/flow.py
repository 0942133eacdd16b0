"""The forward steps as lines: which intermediates are nested into the line that uses them, which share a variable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from archlang.codegen.body import Body, Loop, Select, Step, StepItem, Target, TwoWay
from archlang.codegen.exprs import Call, Choice, Get, Py, Raw, Var

__all__ = [
    "Groups", "Line", "all_steps", "flat_target", "inline", "last_uses", "lower_selects", "reads", "steady", "targets",
    "use_counts",
]  # fmt: skip

DEPTH = 3  # calls nested in one line
Line = Step | Loop | TwoWay


def flat_target(target: Target) -> Iterator[int]:
    if isinstance(target, int):
        yield target
    else:
        for part in target:
            yield from flat_target(part)


def targets(item: StepItem) -> tuple[int, ...]:
    if isinstance(item, Step):
        return tuple(flat_target(item.target))
    if isinstance(item, Loop):
        return item.streams
    if isinstance(item, Select):
        return (item.target,)
    return tuple(dict.fromkeys((*flat_target(item.train), *flat_target(item.evaluation))))


def reads(item: Any) -> Iterator[int]:
    """Values that an expression or a step reads, in the order of evaluation."""
    if isinstance(item, Var):
        yield item.index
    elif isinstance(item, (Step, TwoWay)):
        yield from reads(item.value)
    elif isinstance(item, Loop):
        yield from item.initial
        yield from steady(item)
    elif isinstance(item, Select):
        yield from (item.train, item.evaluation)
    elif isinstance(item, tuple):
        for part in item:
            yield from reads(part)
    elif hasattr(item, "__dataclass_fields__"):
        for name in item.__dataclass_fields__:
            yield from reads(getattr(item, name))


def steady(loop: Loop) -> Iterator[int]:
    """What every pass of a loop reads besides its streams."""
    made = {*loop.streams, *(v for step in loop.inner for v in targets(step))}
    return (v for v in reads(loop.inner or loop.value) if v >= 0 and v not in made)


def use_counts(body: Body) -> dict[int, int]:
    counts: dict[int, int] = {}
    for item in body.steps:
        made = {v for step in item.inner for v in targets(step)} if isinstance(item, Loop) else set()
        inside = [v for v in reads(item.inner) if v in made - set(item.streams)] if isinstance(item, Loop) else []
        for v in (*reads(item), *inside):
            counts[v] = counts.get(v, 0) + 1
    for output in body.outputs:
        for v in output.values:
            counts[v] = counts.get(v, 0) + 1
    return counts


def all_steps(lines: Sequence[StepItem]) -> Iterator[StepItem]:
    """The lines, and after each rolled loop the statements inside it."""
    for line in lines:
        yield line
        if isinstance(line, Loop):
            yield from line.inner


def without_dead(lines: list[Line], counts: dict[int, int]) -> list[Line]:
    """Leaves out operators whose results nobody reads, and takes their reads off the counts. Calls stay: a module may
    draw random numbers or update its statistics."""
    kept: list[Line] = []
    for line in reversed(lines):
        dead = isinstance(line, Step) and not isinstance(line.value, Call)
        if dead and not any(counts.get(v) for v in targets(line)):
            for v in reads(line):
                counts[v] -= 1
        else:
            kept.append(line)
    return kept[::-1]


class Groups:
    """Values that live in one variable."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}

    def find(self, v: int) -> int:
        while v in self._of:
            v = self._of[v]
        return v

    def union(self, *values: int) -> None:
        first = self.find(values[0])
        for v in values[1:]:
            other = self.find(v)
            if other != first:
                self._of[other] = first

    def joined(self, v: int) -> bool:
        return v in self._of or v in self._of.values()


def lower_selects(body: Body, groups: Groups, counts: dict[int, int], scalar_ports: set[int]) -> list[Line]:
    """Phase selections and loop streams as shared variables where that is sound, else as explicit assignments."""
    where = {v: i for i, item in enumerate(body.steps) for v in targets(item)}
    uses: dict[int, list[int]] = {}
    for i, item in enumerate(body.steps):
        for v in reads(item):
            uses.setdefault(v, []).append(i)
    returned = {v for o in body.outputs for v in o.values}
    lines: list[Line] = []

    def made_in(v: int, phase: str) -> bool:
        item = body.steps[where[v]] if v in where else None
        return isinstance(item, Step) and item.phase == phase and counts[v] == 1 and isinstance(item.target, int)

    def replaceable(kept: int, made: int, at: int) -> bool:
        """Whether `made` may overwrite `kept`, which is read again by the selection `at` only."""
        scalar = kept in scalar_ports or (kept in where and not groups.joined(kept))
        return scalar and kept not in returned and all(u <= where[made] or u == at for u in uses[kept])

    for i, item in enumerate(body.steps):
        if isinstance(item, Loop):
            for target, initial in zip(item.streams, item.initial, strict=True):
                scalar = initial in scalar_ports or (initial in where and not groups.joined(initial))
                if counts[initial] == 1 and scalar:
                    groups.union(initial, target)
            lines.append(item)
        elif isinstance(item, Select):
            t, e = item.train, item.evaluation
            one, other = made_in(t, "train"), made_in(e, "eval")
            if (one and other) or (one and replaceable(e, t, i)) or (other and replaceable(t, e, i)):
                groups.union(e if one else t, t if one else e, item.target)
            else:
                lines.append(Step(item.target, Choice(Var(t), Raw("self.training"), Var(e)), item.phase, "x"))
        else:
            lines.append(item)
    return lines


def inline(
    lines: list[Line],
    candidate: Callable[[int], bool],
    fits: Callable[[Line], bool],
) -> list[Line]:
    """Nests single-use intermediates into the line right after them, as long as lines stay short and shallow.

    Only the line directly before moves, and operands keep their order: the order of evaluation does not change.
    """
    out: list[Line] = []
    for line in lines:
        if isinstance(line, Loop):
            out.append(line)
            continue
        order = list(reads(line.value))
        limit = len(order)
        current: Step | TwoWay = line
        while out:
            before = out[-1]
            if not isinstance(before, Step) or not isinstance(before.target, int) or before.phase != line.phase:
                break
            v = before.target
            if not candidate(v) or v not in order[:limit]:
                break
            merged = replace(current, value=substitute(current.value, v, before.value))
            if depth(merged.value) > DEPTH or not fits(merged):
                break
            limit = order.index(v)
            current = merged
            out.pop()
        out.append(current)
    return out


def substitute(e: Any, v: int, value: Py) -> Any:
    """The expression with a value's definition in its place."""
    if isinstance(e, Var):
        return value if e.index == v else e
    if isinstance(e, tuple):
        return tuple(substitute(part, v, value) for part in e)
    if hasattr(e, "__dataclass_fields__"):
        names = [n for n in e.__dataclass_fields__ if n not in ("graph", "size", "hint", "default")]
        return replace(e, **{n: substitute(getattr(e, n), v, value) for n in names})
    return e


def depth(e: Any) -> int:
    """Calls inside calls."""
    if isinstance(e, Call):
        receiver = depth(e.func.value) if isinstance(e.func, Get) else 0
        return 1 + max((depth(a) for a in (e.args, e.kwargs)), default=0) if not receiver else 1 + receiver
    if isinstance(e, tuple):
        return max((depth(part) for part in e), default=0)
    if hasattr(e, "__dataclass_fields__"):
        names = [n for n in e.__dataclass_fields__ if n not in ("graph", "size", "hint", "default")]
        return max((depth(getattr(e, n)) for n in names), default=0)
    return 0


def last_uses(lines: list[Line], body: Body, groups: Groups) -> dict[int, float]:
    """The line after which a variable is free; what a loop reads in every pass stays until it is over."""
    last: dict[int, float] = {}
    for i, line in enumerate(lines):
        for v in reads(line):
            last[groups.find(v)] = max(last.get(groups.find(v), -1.0), i)
        if isinstance(line, Loop):
            for v in steady(line):
                last[groups.find(v)] = i + 0.5
    for output in body.outputs:
        for v in output.values:
            last[groups.find(v)] = float(len(lines))
    return last
