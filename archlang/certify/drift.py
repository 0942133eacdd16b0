"""Rounding errors of training with rebuilt streams, measured: how far off they are by depth, and the gradients.

One step of training of the generated network, with its initial weights and normal inputs. What a step of a
reversible block found in the forward pass is compared with what the backward pass rebuilds. Networks that draw random
numbers are looked at in evaluation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from archlang.api import Compiled
from archlang.certify.measure import begin, flat
from archlang.inputs import random_inputs
from archlang.ir.graph import Program
from archlang.loading import module_of, root_class
from archlang.ops.base import registry

__all__ = ["Drift", "Watch", "drift", "replaced"]


@dataclass(frozen=True, slots=True)
class Drift:
    """Relative errors (of norms) at these sizes.

    rebuilt: after so many steps back, a power of two of them or all, the largest error of a stream so far. gradients:
    of all weights and inputs, against plain autograd in float64; plain: those of plain autograd in the same type.
    """

    dtype: str
    at: Mapping[str, int]
    rebuilt: Mapping[int, float]
    gradients: float
    plain: float


def drift(compiled: Compiled, sizes: Mapping[str, int], dtype: str = "float32") -> Drift | None:
    """Weights and inputs are of this type. None where the generated network rebuilds nothing."""
    kind: torch.dtype = getattr(torch, dtype)
    file = module_of(compiled)
    if not hasattr(file, "rebuild"):
        return None
    watch = Watch(file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = root_class(file)().train(not _random(compiled.program))
        begin(net)
        inputs = random_inputs(compiled.program, sizes)
        ours = _gradients(copy.deepcopy(net).to(kind), inputs, kind, watch)
        with replaced(file, "rebuild", lambda block, *given, **_: tuple(flat(file.Plain().run(block, *given)))):
            plain = _gradients(copy.deepcopy(net).to(kind), inputs, kind)
            exact = _gradients(net.double(), inputs, torch.float64)
    return Drift(dtype, sizes, watch.by_depth(), _distance(ours, exact), _distance(plain, exact))


def _random(program: Program) -> bool:
    """Whether something draws random numbers, and in float64 others."""
    ops = {n.op for graph in program.graphs for n in graph.nodes}
    return any(op in registry() and registry()[op].random for op in ops)


class Watch:
    """Stands in for the file's `change`, through which every step goes, there and back."""

    def __init__(self, file: ModuleType) -> None:
        self.file = file
        self.real: Callable[..., None] = file.change
        self.before: list[list[Tensor]] = []
        self.errors: list[float] = []
        self.back = False

    def __call__(self, values: dict[int, Any], own: Any, old: Any, new: Any, do: Any, extra: Any) -> None:
        if not self.back:
            self.before.append([values[i].detach().clone() for i in old])
        self.real(values, own, old, new, do, extra)
        if self.back:
            pairs = zip([values[i] for i in new], self.before.pop(), strict=True)
            self.errors.append(max((_distance([ours], [true]) for ours, true in pairs), default=0.0))

    def by_depth(self) -> dict[int, float]:
        count = len(self.errors)
        depths = [n for n in (2**k for k in range(count.bit_length())) if n < count]
        return {n: max(self.errors[:n]) for n in (*depths, count) if n}


class replaced:
    """Within it, a module has something else under a name."""

    def __init__(self, file: ModuleType, name: str, value: Any) -> None:
        self.file, self.name, self.value = file, name, value

    def __enter__(self) -> None:
        self.before = getattr(self.file, self.name)
        setattr(self.file, self.name, self.value)

    def __exit__(self, *_: object) -> None:
        setattr(self.file, self.name, self.before)


def _gradients(net: nn.Module, inputs: list[Any], dtype: torch.dtype, watch: Watch | None = None) -> list[Any]:
    given = [_leaf(t, dtype) for t in inputs]
    sources = [t for t in (*flat(given), *net.parameters()) if t.requires_grad]
    with replaced(watch.file, "change", watch) if watch is not None else torch.enable_grad():
        results = [t for t in flat(net(*given)) if t.requires_grad]
        if watch is not None:
            watch.back = True
        cotangents = [t.detach().cos() for t in results]
        return list(torch.autograd.grad(results, sources, cotangents, allow_unused=True))


def _leaf(item: Any, dtype: torch.dtype) -> Any:
    if isinstance(item, list):
        return [_leaf(t, dtype) for t in item]
    return item.detach().to(dtype).requires_grad_() if item.is_floating_point() else item


def _distance(found: list[Any], true: list[Any]) -> float:
    """The norm of the difference, relative to that of what is true."""
    pairs = [(a.double(), b.double()) for a, b in zip(found, true, strict=True) if a is not None and b is not None]
    off, size = (float(sum(t.square().sum() for t in ts)) for ts in ([a - b for a, b in pairs], [b for _, b in pairs]))
    return math.sqrt(off / size) if size else math.sqrt(off)
