"""What torch.einsum does with memory: operands from left to right, each pair as a batch of matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from archlang.ops.eager import Ghost, Tape
from archlang.shapes.dim import Size

__all__ = ["contracted"]


def contracted(
    tape: Tape, ins: Sequence[Ghost], names: Sequence[Sequence[str]], result: Sequence[str], sizes: Mapping[str, Size]
) -> Ghost:
    """The result; `names` has one per dimension of each operand, `sizes` the size of each."""
    later = [set(result).union(*names[i + 1 :]) for i in range(len(names))]
    have, left = _alone(tape, ins[0], list(names[0]), later[0])
    for i, (other, its) in enumerate(zip(ins[1:], names[1:], strict=True), 1):
        its, right = _alone(tape, other, list(its), {*later[i], *have})
        if _first(result, its, have) < _first(result, have, its):  # the product has the earlier dimensions first
            have, left, its, right = its, right, have, left
        have, left = _pair(tape, left, have, right, its, sorted(later[i], key=lambda n: _place(result, n)), sizes)
    return tape.permute(left, *(have.index(name) for name in result))


def _place(result: Sequence[str], name: str) -> int:
    return result.index(name) if name in result else len(result)


def _first(result: Sequence[str], mine: Sequence[str], other: Sequence[str]) -> int:
    """Where in the result the first dimension stands that only `mine` has."""
    return min((_place(result, n) for n in mine if n not in other), default=len(result))


def _alone(tape: Tape, x: Ghost, names: list[str], needed: set[str]) -> tuple[list[str], Ghost]:
    """Without the diagonal of a repeated name, and without the dimensions that nobody else needs."""
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        first, second = (i for i, n in enumerate(names) if n == name)
        strides = [s + x.strides[second] if i == first else s for i, s in enumerate(x.strides) if i != second]
        x = tape.view(x, [n for i, n in enumerate(x.shape) if i != second], strides)
        del names[second]
    gone = tuple(i for i, name in enumerate(names) if name not in needed)
    if gone:
        x = tape.reduce(x, gone, x.dtype, "")
    return [n for n in names if n in needed], x


def _pair(
    tape: Tape, a: Ghost, left: list[str], b: Ghost, right: list[str], needed: list[str], sizes: Mapping[str, Size]
) -> tuple[list[str], Ghost]:
    """Two operands in one: a product of batches of matrices where a name is summed, else element by element."""
    both = [n for n in left if n in right]
    shared, summed = [n for n in both if n in needed], [n for n in both if n not in needed]
    mine, other = [n for n in left if n not in right], [n for n in right if n not in left]
    names = [*shared, *mine, *other]
    if not summed:
        names = sorted(names, key=needed.index)
    shape = tuple(sizes[n] for n in names)
    if not summed:
        one, two = (_placed(tape, x, its, names) for x, its in ((a, left), (b, right)))
        return names, tape.mul(one, two, shape, a.dtype)

    def folded(x: Ghost, its: list[str], *groups: list[str]) -> Ghost:
        order = [its.index(n) for group in groups for n in group]
        return tape.reshape(tape.permute(x, *order), [prod((sizes[n] for n in g), start=1) for g in groups])

    first, second = folded(a, left, shared, mine, summed), folded(b, right, shared, summed, other)
    product = tape.matmul(first, second, (*first.shape[:2], second.shape[2]), a.dtype)
    return names, tape.reshape(product, shape)


def _placed(tape: Tape, x: Ghost, its: list[str], names: list[str]) -> Ghost:
    """With a dimension for each of `names`, of size 1 where the operand lacks it."""
    x = tape.permute(x, *(its.index(n) for n in names if n in its))
    for place, name in enumerate(names):
        if name not in its:
            x = tape.unsqueeze(x, place)
    return x
