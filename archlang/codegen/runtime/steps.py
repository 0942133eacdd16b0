"""The statements of reversible blocks as data, and how one changes its streams."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Plain:
    """Blocks one after the other, as they are."""

    def run(self, block: Any, *inputs: Any) -> Any:
        return block(*inputs) if isinstance(block, nn.Module) else block(self, *inputs)

    def measure(self, block: Any, *inputs: Any) -> Any:
        return block.with_log_det(*inputs)


class Step(NamedTuple):
    """The streams `x` become the streams `y` = do(*x, *fn(*reads)).

    undo(*y, *fn(*reads)) gives them back.
    """

    x: tuple[int, ...]
    y: tuple[int, ...]
    do: Any
    undo: Any
    fn: Any  # without it, do and undo take the reads themselves
    reads: tuple[int, ...]
    owner: nn.Module  # has the weights
    block: int
    jumps: bool  # what is computed can jump: what it is computed from is kept

    def run(self, values: dict[int, Any], own: set[int]) -> None:
        reads = [values[i] for i in self.reads]
        extra = reads if self.fn is None else flat(self.fn(*reads))
        change(values, own, self.x, self.y, self.do, extra)


class Steps:
    """The statements of reversible blocks, in their order. Streams are numbers."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.blocks: list[nn.Module] = []
        self.inside: list[nn.Module] = []  # whose statements these are
        self.number = 0  # of the last block that has statements of its own
        self.streams = 0
        self.jumps = False

    def numbers(self, item: Any) -> Any:
        """New numbers in the place of tensors."""
        if isinstance(item, (tuple, list)):
            return [self.numbers(i) for i in item]
        self.streams += isinstance(item, Tensor)
        return self.streams - 1 if isinstance(item, Tensor) else item

    def run(self, block: Any, *inputs: Any) -> Any:
        """The block's statements; gives the numbers of what it returns."""
        if not isinstance(block, nn.Module):
            return block(self, *inputs)
        return self.enter(block, "statements", inputs)

    def measure(self, block: Any, *inputs: Any) -> Any:
        """The block's statements, and those that add its log|det J| to a stream."""
        return self.enter(block, "log_det_statements", inputs)

    def enter(self, block: nn.Module, name: str, inputs: tuple[Any, ...]) -> Any:
        if self.all and self.all[-1].block == self.number:
            self.number += 1
        self.blocks.append(block)
        self.inside.append(block)
        results = getattr(block, name)(self, *inputs)
        self.inside.pop()
        return results

    def jumping(self) -> Steps:
        """The next step can jump where its reads are a little off."""
        self.jumps = True
        return self

    def add(self, x: int, fn: Any, *reads: int) -> int:
        """x += fn(*reads)"""
        self.append((x,), (x,), torch.add, torch.sub, fn, reads)
        return x

    def update(self, x: int, do: Any, undo: Any, fn: Any, *reads: int) -> int:
        """x = do(x, fn(*reads))"""
        self.append((x,), (x,), do, undo, fn, reads)
        return x

    def update_all(
        self, x: tuple[int, ...], do: Any, undo: Any, fn: Any, *reads: int
    ) -> tuple[int, ...]:
        """x = do(*x, *fn(*reads)), as many streams as before."""
        self.append(x, x, do, undo, fn, reads)
        return x

    def apply(
        self, x: tuple[int, ...], do: Any, undo: Any, *reads: int, results: int = 0
    ) -> tuple[int, ...]:
        """New streams do(*x, *reads)"""
        y = self.more(results or len(x))
        self.append(x, y, do, undo, None, reads)
        return y

    def new(self, fn: Any, *reads: int, results: int = 1) -> tuple[int, ...]:
        """New streams fn(*reads), from nothing that is a stream."""
        y = self.more(results)
        self.append((), y, lambda *made: made, lambda *made: (), fn, reads)
        return y

    def more(self, count: int) -> tuple[int, ...]:
        self.streams += count
        return tuple(range(self.streams - count, self.streams))

    def append(self, x: Any, y: Any, do: Any, undo: Any, fn: Any, reads: Any) -> None:
        modules = [f for f in (do, fn) if isinstance(f, nn.Module)]
        methods = any(
            isinstance(getattr(f, "__self__", 0), nn.Module) for f in (do, fn)
        )
        owner = modules[0] if modules and not methods else self.inside[-1]
        step = Step(x, y, do, undo, fn, reads, owner, self.number, self.jumps)
        self.all.append(step)
        self.jumps = False


def flat(item: Any) -> list[Any]:
    """What is in lists of lists."""
    if not isinstance(item, (tuple, list)):
        return [item]
    return [i for part in item for i in flat(part)]


def hooked(blocks: list[nn.Module]) -> bool:
    """Whether someone wants to see each evaluation."""
    modules = {m for block in blocks for m in block.modules()}
    kinds = ("forward", "forward_pre", "backward", "backward_pre")
    return any(getattr(m, f"_{kind}_hooks") for m in modules for kind in kinds)


def change(
    values: dict[int, Any], own: set[int], old: Any, new: Any, do: Any, extra: list[Any]
) -> None:
    """The streams `old` become the streams `new` = do(*old, *extra).

    own: the streams whose tensors no one else sees, and which may change in place.
    """
    x = [values.pop(i) for i in old]
    fresh = do in (torch.add, torch.sub)
    if fresh and old[0] in own and alike(x[0], extra[0]):
        made = [x[0].add_(extra[0], alpha=1 if do is torch.add else -1)]
    else:
        made = flat(do(*x, *extra))
    values.update(zip(new, made, strict=True))
    own.difference_update(old)
    own.update(new if fresh else ())


def alike(x: Tensor, extra: Tensor) -> bool:
    return (x.shape, x.dtype) == (extra.shape, extra.dtype)
