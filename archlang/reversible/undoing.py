"""How rounding errors grow when reversible calls are undone, from the results of a region to its streams.

An inverse computes old streams from new ones, which have rounding errors, and adds errors of its own: by subtracting,
by the branch that it computes from streams that are slightly off, by dividing by a factor. Errors are absolute, in
units of the element type's rounding error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from archlang.ir.graph import Graph, Node, Step, Value
from archlang.reversible.runs import runs
from archlang.reversible.signals import Activation, Signals

__all__ = ["Undoing", "blocks_in"]

_MOST = 1e38
_MARGIN = 1.01  # of a child that stands for several: they need not be at their steady state


def blocks_in(graph: Graph) -> int:
    """Reversible blocks that a proved graph runs: itself, or those in its steps."""
    if graph.proof is None:
        return 1
    nodes = (step.node for step in graph.proof.steps if step.node is not None)
    return sum(node.count * blocks_in(node.callee) for node in nodes if node.callee is not None) or 1


class Undoing:
    """One way back. every: streams are known exactly after so many of all the blocks, counted from the first one; 0:
    never. `worst` is the largest relative error so far."""

    def __init__(self, signals: Signals, every: int = 0, blocks: int = 0) -> None:
        self.signals = signals
        self.every = every
        self.left = (blocks - 1) % every + 1 if every else 0  # blocks until streams are known
        self.worst = 0.0

    def whole(self, here: Activation) -> float:
        """The largest relative error that the streams of a proved graph have."""
        assert here.graph.proof is not None
        results = [v for output in here.graph.outputs[: here.graph.proof.outputs] for v in output.values]
        errors = self.graph(here, {id(v): here.rms[id(v)] for v in results})
        return max(self.worst, _relative(errors, [here.rms[id(v)] for v in here.graph.streams]))

    def region(self, here: Activation, region: Sequence[Node]) -> float:
        """The largest relative error that the streams of consecutive calls have."""
        errors: dict[int, float] = {}
        for node in region:
            errors.update((id(v), here.rms[id(v)]) for v in node.outputs)
        for node in reversed(region):
            for v, error in zip(_streams(node), self.call(here, node, errors), strict=True):
                errors[id(v)] = error
        streams = _streams(region[0]) or region[0].outputs
        if region[0].log_det:  # nothing reads a sum of determinants before its end
            streams = streams[:-1]
        return max(self.worst, _relative([errors[id(v)] for v in streams], [here.rms[id(v)] for v in streams]))

    def call(self, here: Activation, node: Node, errors: dict[int, float]) -> list[float]:
        """Errors of a call's streams from those of its results; where a child stands for several, at its rate."""
        callee = runs(node)
        assert callee is not None and callee.proof is not None
        made = [v for output in callee.outputs[: callee.proof.outputs] for v in output.values]
        now = [errors[id(v)] for v in node.outputs[: len(made)]]
        sizes = [here.rms[id(v)] for v in node.outputs[: len(made)]]
        calls = here.calls.get(id(node), [])
        for place, (inner, weight) in reversed(list(enumerate(calls))):
            before = [inner.rms[id(v)] for v in inner.graph.streams]
            if weight == 1:
                now = self.graph(inner, dict(zip(map(id, made), now, strict=True)))
                now = self.passed(inner, now) if _leaf(callee) else now
            else:
                relative = [e / max(size, 1e-12) for e, size in zip(now, sizes, strict=True)]
                relative = self.several(inner, made, relative, weight)
                before = [calls[place - 1][0].rms[id(v)] for v in made]  # where the first of them starts
                now = [min(_MARGIN * e * size, _MOST) for e, size in zip(relative, before, strict=True)]
            sizes = before
        return now

    # -- anchors -------------------------------------------------------------------------------------------------------
    def passed(self, inner: Activation, errors: list[float]) -> list[float]:
        """The errors after a block is undone: where streams are known, those of rounding."""
        if not self.every:
            return errors
        sizes = [inner.rms[id(v)] for v in inner.graph.streams]
        self.worst = max(self.worst, _relative(errors, sizes))
        self.left -= 1
        if self.left:
            return errors
        self.left = self.every
        return sizes

    def several(self, inner: Activation, made: Sequence[Value], errors: list[float], count: int) -> list[float]:
        """Relative errors after `count` children like this one; streams are known at the ends of children."""
        once = partial(Undoing(self.signals).relative, inner, made)
        if not self.every:
            return _repeated(once, errors, count)
        each, sizes = blocks_in(inner.graph), [inner.rms[id(v)] for v in inner.graph.streams]
        exact = [1.0 for _ in errors]
        period, first = -(-self.every // each), -(-self.left // each)
        self.left = (self.left - count * each - 1) % self.every + 1
        stretches = [first, period, (count - first) % period] if count >= first else [count]
        for number, stretch in enumerate(stretches):
            if number != 1 or count - first >= period:
                errors = _repeated(once, errors if number == 0 else exact, stretch)
                self.worst = max(self.worst, _relative([e * s for e, s in zip(errors, sizes, strict=True)], sizes))
        return errors

    def relative(self, here: Activation, made: Sequence[Value], errors: Sequence[float]) -> list[float]:
        """As `graph`, of relative errors."""
        results = {id(v): e * here.rms[id(v)] for e, v in zip(errors, made, strict=True)}
        back = self.graph(here, results)
        return [e / max(here.rms[id(v)], 1e-12) for e, v in zip(back, here.graph.streams, strict=True)]

    # -- steps ---------------------------------------------------------------------------------------------------------
    def graph(self, here: Activation, errors: dict[int, float]) -> list[float]:
        """Errors of a proved graph's streams from those of its results, by value."""
        proof = here.graph.proof
        assert proof is not None
        for step in reversed(proof.steps):
            if step.node is None:
                continue
            if step.kind == "update":
                self.update(here, step, step.node, errors)
            elif step.node.callee is not None and not step.node.inverted:
                for v, error in zip(step.consumed, self.call(here, step.node, errors), strict=True):
                    errors[id(v)] = error
            else:
                worst = max(errors[id(v)] / max(here.rms[id(v)], 1e-12) for v in step.made)
                errors.update((id(v), worst * here.rms[id(v)]) for v in step.consumed)
        return [min(errors[id(v)], _MOST) for v in here.graph.streams]

    def update(self, here: Activation, step: Step, node: Node, errors: dict[int, float]) -> None:
        (old,), (new,) = step.consumed, step.made
        rest = [v for v in node.inputs if v is not old]
        error = errors[id(new)]
        size, sizes = here.rms[id(new)], [here.rms[id(v)] for v in rest]
        own = self.signals.errors(here, errors, rest)
        if node.op in ("add", "sub"):
            rounding = max(size, *sizes) if sizes else size
            errors[id(old)] = math.hypot(error, *own, rounding)
            return
        _, gains = self.signals.rule(here.graph, node, [here.rms[id(v)] for v in node.inputs])
        scale = max(gains[next(i for i, v in enumerate(node.inputs) if v is old)], 1e-12)
        of_factor = [e / max(m, 1e-12) * here.rms[id(old)] for e, m in zip(own, sizes, strict=True)]
        errors[id(old)] = math.hypot(error / scale, *of_factor, here.rms[id(old)])


def _leaf(graph: Graph) -> bool:
    """Whether a proved graph calls no other that is undone as a block of its own."""
    assert graph.proof is not None
    return all(step.node is None or step.node.callee is None for step in graph.proof.steps)


def _relative(errors: Sequence[float], sizes: Sequence[float]) -> float:
    """The largest error beside the largest stream: one that starts at zero has no relative error of its own."""
    return max(errors, default=1.0) / max(*sizes, 1e-12) if sizes else 1.0


def _streams(node: Node) -> tuple[Value, ...]:
    assert node.callee is not None
    context = sum(len(port.values) for port in node.callee.inputs if port.context)
    return node.inputs[: len(node.inputs) - context]


def _repeated(once: Callable[[Sequence[float]], list[float]], errors: Sequence[float], count: int) -> list[float]:
    """`once` applied `count` times: squares of errors follow e' = M e + c, and so do two steps, four, eight, ..."""
    large, rank = 1e8, range(len(errors))
    offset = [e**2 for e in once([0.0 for _ in rank])]
    columns = [once([large * (i == j) for i in rank]) for j in rank]
    matrix = [[max(columns[j][i] ** 2 - offset[i], 0.0) / large**2 for j in rank] for i in rank]
    now = [e**2 for e in errors]
    while count:
        if count % 2:
            now = _affine(matrix, now, offset)
        matrix, offset = (
            [[_sum(matrix[i][k] * matrix[k][j] for k in rank) for j in rank] for i in rank],
            _affine(matrix, offset, offset),
        )
        count //= 2
    return [math.sqrt(e) for e in now]


def _affine(matrix: Sequence[Sequence[float]], x: Sequence[float], offset: Sequence[float]) -> list[float]:
    return [_sum((*(m * e for m, e in zip(row, x, strict=True)), c)) for row, c in zip(matrix, offset, strict=True)]


def _sum(terms: Iterable[float]) -> float:
    return min(sum(terms), _MOST**2)
