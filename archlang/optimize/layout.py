"""Where the elements of tensors lie in memory, as far as that is known within a graph."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from archlang.ir.graph import Node, Value
from archlang.ops.base import registry
from archlang.ops.eager import Ghost, Tape, is_contiguous
from archlang.ops.strides import iterated, sample

__all__ = ["Layouts", "traced"]


class Layouts:
    """Values of a graph as tensors without elements. maker: who makes a value; compact: ids of inputs and of results of
    calls that are given in row-major order; of others that is not known."""

    def __init__(self, maker: Callable[[Value], Node | None], compact: Container[int]) -> None:
        self._maker = maker
        self._given = compact
        self._known: dict[int, tuple[Value, Ghost | None]] = {}

    def compact(self, value: Value) -> bool:
        """Whether a tensor fills its memory in row-major order; False: not known."""
        ghost = self._ghost(value)
        return ghost is not None and is_contiguous(ghost)

    def same_over(self, node: Node, place: int) -> bool:
        """Whether a function of single elements that writes over this input leaves its result where it would lie as
        a tensor of its own. torch orders that as the first of its inputs that has an order."""
        ghosts = [self._ghost(v) for v in node.inputs]
        known = [ghost for ghost in ghosts if ghost is not None]
        if len(known) == len(ghosts):
            return iterated(known[place].shape, [(x.shape, x.strides) for x in known]) == known[place].strides
        before = (v.type.shape for v in node.inputs[:place])
        return all(sum(size != 1 for size in shape) < 2 for shape in before)

    def _ghost(self, value: Value) -> Ghost | None:
        """Iterative: depth is unbounded."""
        stack = [value]
        while stack:
            top = stack[-1]
            node = None if id(top) in self._given else self._maker(top)
            missing = [v for v in (() if node is None else node.inputs) if id(v) not in self._known]
            if missing and id(top) not in self._known:
                stack.extend(missing)
                continue
            if id(top) not in self._known:
                self._find(top, node)
            stack.pop()
        return self._known[id(value)][1]

    def _find(self, value: Value, node: Node | None) -> None:
        fresh = Tape(training=False, grad=False).new(value.type.shape, value.type.dtype)
        if node is None:
            self._known[id(value)] = value, fresh if id(value) in self._given else None
        elif node.op == "weight":
            self._known[id(value)] = value, fresh
        else:
            for v, ghost in zip(node.outputs, self._results(node), strict=True):
                self._known[id(v)] = v, ghost

    def _results(self, node: Node) -> Sequence[Ghost | None]:
        """Of ops that copy what lies in another order, torch's results may lie in that order, too."""
        unknown = [None] * len(node.outputs)
        ins = [self._known[id(v)][1] for v in node.inputs]
        known = [ghost for ghost in ins if ghost is not None]
        special = node.op not in registry() or node.phase is not None or node.count != 1 or node.inverted
        if special or node.log_det or len(known) < len(ins):
            return unknown
        outs = traced(node, known)
        if all(any(out.storage is g.storage for g in known) for out in outs) or all(map(_in_order, known)):
            return outs
        return unknown


def _in_order(ghost: Ghost) -> bool:
    """Whether later dimensions lie closer together: parts of row-major tensors do."""
    steps = [sample(step) for step, size in zip(ghost.strides, ghost.shape, strict=True) if size != 1]
    return steps == sorted(steps, reverse=True) and 0 not in steps


def traced(node: Node, ins: Sequence[Ghost]) -> tuple[Ghost, ...]:
    """What an op makes of tensors without elements."""
    tape, op = Tape(training=False, grad=False), registry()[node.op]
    weights = {w.name: tape.weight(w.shape, w.dtype, w.trainable) for w in op.weights(node.attrs)}
    return op.trace(tape, ins, weights, [v.type for v in node.outputs], node.attrs)
