"""Runs a training step of generated modules: results, gradients, buffers, and which memory is held when."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from archlang.api import Compiled
from archlang.budget import Budget, Fit
from archlang.certify.measure import Fake, flat
from archlang.codegen import generate
from archlang.inputs import random_inputs
from archlang.ir.check import check
from archlang.loading import instantiate
from archlang.ops.base import Context, registry


class Step(NamedTuple):
    """What a step of training gives; state: the buffers after it."""

    results: list[Tensor]
    gradients: list[Tensor | None]
    state: list[Tensor]


def written(compiled: Compiled, budget: Budget, fit: Fit) -> Compiled:
    """The design with a plan written down; whatever is generated is well-formed."""
    made = budget.planned(fit)
    check(made.program, registry(), Context)
    text = generate(made.program, source_name="net.arch", segments=made.segments, recorded=made.origins)
    return Compiled(text, made.program, (), compiled.entry, compiled.spec)


def stored(compiled: Compiled) -> Compiled:
    """The design as plain autograd trains it."""
    text = generate(compiled.program, source_name="net.arch", rebuild=False)
    return Compiled(text, compiled.program, (), compiled.entry, compiled.spec)


def pair(compiled: Compiled, budget: Budget, fit: Fit) -> tuple[nn.Module, nn.Module]:
    """The plain module and the planned one, with the same weights, in float64 and in training."""
    plain, other = instantiate(stored(compiled)), instantiate(written(compiled, budget, fit))
    assert list(plain.state_dict()) == list(other.state_dict())
    other.load_state_dict(plain.state_dict())
    return plain.double().train(), other.double().train()


def step(module: nn.Module, inputs: Sequence[Any], seed: int = 0) -> Step:
    """A step from the same random numbers."""
    torch.manual_seed(seed)
    results = [t for t in flat(module(*inputs)) if t.requires_grad]
    torch.autograd.backward(results, [slope(t) for t in results])
    gradients = [p.grad for p in module.parameters()]
    return Step([t.detach() for t in results], gradients, [b.clone() for b in module.buffers()])


def slope(result: Tensor) -> Tensor:
    return torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)


def same(first: Step, second: Step, tolerance: float = 1e-9) -> None:
    """The same results, gradients and buffers, up to rounding."""
    for mine, other in zip(first, second, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                assert torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance), (a - b).abs().max()


class Memory:
    """Storages that autograd holds, of the forward pass and of second evaluations; parameters and buffers aside."""

    def __init__(self, module: nn.Module) -> None:
        own = [*module.parameters(), *module.buffers()]
        self.own = {t.untyped_storage()._cdata for t in own}
        self.alive: list[tuple[int, int, weakref.ref[Tensor]]] = []
        self.most = 0

    def pack(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()  # an object that nobody else holds
        storage = tensor.untyped_storage()
        if storage._cdata not in self.own:
            self.alive.append((storage._cdata, storage.nbytes(), weakref.ref(tensor)))
        self.most = max(self.most, self.now())
        return tensor

    def passed(self, tensors: Sequence[Any]) -> None:
        """What a second evaluation is called with: where it is inside of another one, nothing else has it any more."""
        for t in tensors:
            if isinstance(t, Tensor) and (storage := t.untyped_storage())._cdata not in self.own:
                self.alive.append((storage._cdata, storage.nbytes(), weakref.ref(t)))

    def now(self) -> int:
        self.alive = [entry for entry in self.alive if entry[2]() is not None]
        return sum({key: size for key, size, _ in self.alive}.values())


def memory(module: nn.Module, inputs: Sequence[Any]) -> tuple[int, int]:
    """Bytes that autograd holds at the end of a forward pass, and the most until the backward pass is done."""
    found = Memory(module)
    with _followed(found), torch.backends.mkldnn.flags(enabled=False):
        results = [t for t in flat(module(*inputs)) if t.requires_grad]
        kept = found.most = found.now()  # what is gone by now was no one's
        torch.autograd.backward(results, [slope(t) for t in results])
    return kept, found.most


def unreal(design: Compiled, budget: Budget) -> tuple[int, int]:
    """`memory` on fake tensors of a CPU: nothing is computed, and kernels are chosen as there."""
    with torch.device("meta"):
        module = instantiate(design)
    fake = Fake(module)
    with fake.mode:
        return memory(fake.module, random_inputs(budget.program, budget.sizes))


@contextmanager
def _followed(memory: Memory) -> Iterator[None]:
    """Hooks for saved tensors, also for those of second evaluations, where `checkpoint` puts its own above ours."""
    original = checkpoint._recomputation_hook

    class Followed(original):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            inner, frame = self.pack_hook, args[0]()
            run = frame.recompute_fn

            def again(*given: Any) -> Any:
                memory.passed(given)
                return run(*given)

            self.pack_hook = lambda tensor: inner(memory.pack(tensor))
            frame.recompute_fn = again

    checkpoint._recomputation_hook = Followed
    try:
        with torch.autograd.graph.saved_tensors_hooks(memory.pack, lambda t: t):
            yield
    finally:
        checkpoint._recomputation_hook = original


class Work(TorchDispatchMode):
    """Counts FLOPs as FlopCounterMode does, without its hooks of modules, which bear no `autograd.grad` in a backward
    pass."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.flops += count(*args, **(kwargs or {}), out_val=result) if count is not None else 0
        return result


def macs(module: nn.Module, inputs: Sequence[Any]) -> int:
    """Multiply-accumulates of a step, as torch counts them: convolutions and matrix products, backward too."""
    with Work() as work:
        step(module, inputs)
    return work.flops // 2
