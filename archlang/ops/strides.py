"""Where a tensor's elements lie: torch's rules for strides of views, copies and results, on sizes that may be symbols.

Sizes of 1 count: a kernel that takes its input's memory format finds it from all strides, theirs too. The rules are
those of torch 2.x (c10/core/MemoryFormat.h, TensorIterator, infer_dense_strides), observed and compared by tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from archlang.shapes.dim import Size, with_all

__all__ = [
    "channels_last", "contiguous", "copied", "dense", "iterated", "ordered", "packed", "reshaped", "sample",
    "suggests_channels_last",
]  # fmt: skip

Shape = tuple[Size, ...]
Layout = tuple[Shape, Shape]  # sizes and strides


@cache
def sample(size: Size) -> int:
    """A number that stands for a symbolic size where two must be ordered: sizes of tensors are mostly not small."""
    return with_all(size, 2**14 * 3**4)


def packed(shape: Sequence[Size], order: Sequence[int]) -> Shape:
    """The strides of memory without gaps. order: the dimensions, outermost first."""
    strides: list[Size] = [1] * len(shape)
    step: Size = 1
    for d in reversed(order):
        strides[d] = step
        step = step * shape[d]
    return tuple(strides)


def dense(shape: Sequence[Size]) -> Shape:
    """The strides of row-major memory."""
    return packed(shape, range(len(shape)))


def channels_last(shape: Sequence[Size]) -> Shape:
    """The strides of memory with dimension 1 innermost."""
    return packed(shape, (0, *range(2, len(shape)), 1))


def ordered(shape: Shape, strides: Shape, wanted: Shape) -> bool:
    """Whether the memory has the strides `wanted`, but for sizes of 1."""
    return all(size == 1 or a == b for size, a, b in zip(shape, strides, wanted, strict=True))


def contiguous(shape: Shape, strides: Shape) -> bool:
    """Whether the memory is row-major, as torch says it: sizes of 1 may have any stride."""
    return ordered(shape, strides, dense(shape))


def suggests_channels_last(shape: Shape, strides: Shape) -> bool:
    """torch's suggest_memory_format: whether kernels take the channels to be innermost, of four or five dimensions."""
    if len(shape) not in (4, 5) or strides[1] == 0:
        return False
    least = 0
    for d in (1, *range(len(shape) - 1, 1, -1), 0):
        step = sample(strides[d])
        if shape[d] == 0 or step < least or (d == 0 and least == sample(strides[1])):
            return False
        least = step * max(sample(shape[d]), 1)
    return True


def _broadcast(shape: Shape, operand: Layout) -> Shape:
    """The strides of an operand seen in the shape of the result: 0 where it is repeated."""
    sizes, strides = operand
    new = len(shape) - len(sizes)
    steps = (0 if have == 1 != want else step for have, step, want in zip(sizes, strides, shape[new:], strict=True))
    return ((0,) * new + tuple(steps)) if new >= 0 else (0,) * len(shape)


def iterated(shape: Shape, operands: Sequence[Layout]) -> Shape:
    """The strides of what is computed element by element (TensorIterator)."""
    if all(sizes == shape for sizes, _ in operands):
        if all(contiguous(*x) for x in operands):
            return dense(shape)
        if len(shape) == 4 and all(ordered(*x, channels_last(shape)) for x in operands):
            return channels_last(shape)
        first = operands[0][1]
        if all(strides == first for _, strides in operands) and _without_gaps(shape, first):
            return first
    return _sorted(shape, operands)


def copied(shape: Shape, strides: Shape) -> Shape:
    """The strides of a copy that keeps the order of the elements (empty_like)."""
    return strides if _without_gaps(shape, strides) else _sorted(shape, [(shape, strides)])


def _sorted(shape: Shape, operands: Sequence[Layout]) -> Shape:
    given = [[sample(s) for s in _broadcast(shape, x)] for x in operands]
    order = _order([sample(s) for s in shape], given)
    return packed(shape, order[::-1])


def _without_gaps(shape: Shape, strides: Shape) -> bool:
    order = sorted((d for d in range(len(shape)) if shape[d] != 1), key=lambda d: -sample(strides[d]))
    wanted = packed([shape[d] for d in order], range(len(order)))
    return all(strides[d] == step for d, step in zip(order, wanted, strict=True))


def _order(shape: Sequence[int], operands: Sequence[Sequence[int]]) -> list[int]:
    """The dimensions, innermost first: sorted by insertion, because not every two can be compared."""
    order = list(reversed(range(len(shape))))
    for i in range(1, len(order)):
        place = i
        for j in range(i - 1, -1, -1):
            found = _compared(shape, operands, order[j], order[place])
            if found > 0:
                order[j], order[place] = order[place], order[j]
                place = j
            elif found < 0:
                break
    return order


def _compared(shape: Sequence[int], operands: Sequence[Sequence[int]], a: int, b: int) -> int:
    """-1: dimension a lies further in than b; 1: further out; 0: no operand tells."""
    for strides in operands:
        one, two = strides[a], strides[b]
        if not one or not two:
            continue
        if one != two:
            return -1 if one < two else 1
        if shape[a] > shape[b]:
            return 1
    return 0


def reshaped(old: Shape, steps: Shape, shape: Shape) -> Shape | None:
    """The strides under which memory of sizes `old` and strides `steps` shows `shape`; None where only a copy does."""
    strides: list[Size] = [1] * len(shape)
    place = len(shape) - 1
    base: Size = steps[-1] if old else 1
    here: Size = 1
    there: Size = 1
    for d in reversed(range(len(old))):
        here = here * old[d]
        if d and (old[d - 1] == 1 or steps[d - 1] == here * base):
            continue
        while place >= 0 and (shape[place] == 1 or (there != here and sample(there) < sample(here))):
            strides[place] = there * base
            there = there * shape[place]
            place -= 1
        if there != here:
            return None
        if d:
            base, here, there = steps[d - 1], 1, 1
    return tuple(strides) if place < 0 else None
