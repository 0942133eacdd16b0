"""Peak memory of inference: tensors live from the step that makes them to the last step that reads them.

Steps run in the order of the graph. Memory that several tensors share is counted once and lives as long as any of
them; the module's own tensors, and what a kernel needs inside, are not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from archlang.analyze.largest import Largest
from archlang.analyze.trace import Step, Trace, _distinct
from archlang.ops.eager import Storage
from archlang.records import dataclass
from archlang.shapes.dim import Size

__all__ = ["live_at_peak", "peak"]


@dataclass(frozen=True, slots=True)
class _Course:
    """Memory in the course of a graph, beside its inputs: the most, and at the end (less the inputs it let go)."""

    peak: Largest
    end: Size


def peak(trace: Trace) -> Largest:
    """The most memory at one time; whoever calls the root holds its inputs until the end."""
    inputs = sum((s.bytes for s in trace.inputs if not s.own), start=0)
    return _course(trace, frozenset(), {}).peak + inputs


def _course(trace: Trace, dying: frozenset[int], memo: dict[Any, _Course]) -> _Course:
    """dying: the inputs that the caller does not need any more."""
    key = (id(trace), dying)
    if key not in memo:
        memo[key] = _run(trace, dying, memo)
    return memo[key]


def _run(trace: Trace, dying: frozenset[int], memo: dict[Any, _Course]) -> _Course:
    most = Largest.of((0,))
    live: Size = 0
    for moment in _moments(trace, dying, memo):
        most = most | moment.peak
        live = moment.after
    return _Course(most, live)


@dataclass(frozen=True, slots=True)
class _Moment:
    """A step, beside the inputs: the most memory in it, and what is live after it. No step: the beginning."""

    step: Step | None
    peak: Largest
    before: Size  # around a call
    after: Size
    dying: frozenset[int]  # inputs of a call that it lets go
    ends: tuple[Storage, ...]  # what nobody reads any more after it


def _moments(trace: Trace, dying: frozenset[int], memo: dict[Any, _Course]) -> Iterator[_Moment]:
    free = {id(s) for i, s in enumerate(trace.inputs) if i in dying}
    held = {id(s) for i, s in enumerate(trace.inputs) if i not in dying}
    held |= {id(g.storage) for g in trace.outputs} - free  # what comes out again and is dying is read by nobody
    last = _last_uses(trace)
    unread = tuple(s for s in trace.inputs if id(s) in free and id(s) not in last and id(s) not in held)
    live: Size = -sum((s.bytes for s in unread), start=0)
    yield _Moment(None, Largest.of((live,)), 0, live, frozenset(), unread)
    known = {id(s) for s in trace.inputs}
    for i, step in enumerate(trace.steps):
        ends = [s for s in _distinct((*step.ins, *step.outs)) if not s.own and id(s) not in held]
        ends = [s for s in ends if last.get(id(s), i) == i]
        before = live
        gone: set[int] = set()
        let_go: frozenset[int] = frozenset()
        if step.trace is None:
            fresh = [s for s in _distinct(step.outs) if id(s) not in known and not s.own]
            live = live + sum((s.bytes for s in fresh), start=0)
            most = Largest.of((live,))
        else:
            mine = _distinct(step.ins)
            through = {id(s) for s in step.outs if last.get(id(s), i) > i or id(s) in held}
            gone = {id(s) for s in ends if any(s is m for m in mine) and id(s) not in through}
            gone -= {id(s) for j, s in enumerate(mine) if j not in step.trace.used}
            let_go = frozenset(j for j, s in enumerate(mine) if id(s) in gone)
            course = _course(step.trace, let_go, memo)
            most = course.peak + live
            live = live + course.end
        known.update(id(s) for s in step.outs)
        live = live - sum((s.bytes for s in ends if id(s) not in gone), start=0)
        yield _Moment(step, most, before, live, let_go, tuple(ends))


def live_at_peak(trace: Trace, names: Sequence[str]) -> list[tuple[str, Size]]:
    """The tensors that are live when most memory is needed: who made them, and their bytes. `names`: of the inputs.

    Meant for a peak of one option, of which they are the sum.
    """
    memo: dict[Any, _Course] = {}
    prefix, dying, target = "", frozenset[int](), _course(trace, frozenset(), memo).peak.options[0]
    around: list[tuple[str, Size]] = []
    while True:
        live = {id(s): (name, s.bytes) for s, name in zip(trace.inputs, names, strict=True) if not s.own}
        for moment in _moments(trace, dying, memo) if target != 0 else ():
            step, here = moment.step, target in moment.peak.options
            if step is not None and (step.trace is None or not here):
                fresh = [s for s in _distinct(step.outs) if id(s) not in live and not s.own]
                live.update((id(s), (prefix + step.name, s.bytes)) for s in fresh)
            if here:
                break
            for s in moment.ends:
                live.pop(id(s), None)
        else:
            return around + list(live.values())  # when it begins
        if step is None or step.trace is None:
            return around + list(live.values())
        mine = _distinct(step.ins)
        names = [live[id(s)][0] if id(s) in live else "" for s in mine]
        inner = {id(s) for s in mine}
        around += [row for key, row in live.items() if key not in inner]
        prefix, target = f"{prefix}{step.name}.", target - moment.before
        trace, dying = step.trace, moment.dying


def _last_uses(trace: Trace) -> dict[int, int]:
    """The last step that reads, or makes, each storage."""
    last: dict[int, int] = {}
    for i, step in enumerate(trace.steps):
        for s in _read(step):
            last[id(s)] = i
        for s in step.outs:
            last.setdefault(id(s), i)
    return last


def _read(step: Step) -> list[Storage]:
    if step.trace is None:
        return list(step.ins)
    mine = _distinct(step.ins)
    return [mine[i] for i in step.trace.used]
