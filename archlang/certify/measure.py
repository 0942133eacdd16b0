"""What torch says of a module: shapes, parameters, FLOPs, and the bytes that autograd saves, module by module.

Shapes and FLOPs come from the meta device, where FlopCounterMode sees through attention. What is saved is measured on
fake tensors of a CPU: kernels are chosen as there (attention is fused), and nothing is computed.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from archlang.inputs import random_inputs
from archlang.ir.graph import Program

__all__ = ["Calls", "Fake", "Saved", "begin", "flat", "macs_by_module", "saved", "saved_by_module"]


class Calls:
    """Follows a module's calls: `path` is where it is now, or where it was when something was raised."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.stack: list[str] = [""]

    @property
    def path(self) -> str:
        """State-dict prefix of the innermost module that has been entered."""
        return self.stack[-1]

    @contextmanager
    def follow(self) -> Iterator[None]:
        """While it lasts, `path` is known. (Not by hooks: a module that has some is not rebuilt in training.)"""
        self.stack = [""]
        parts = [(name, part) for name, part in self.module.named_modules() if name]
        for name, part in parts:
            part.forward = self._followed(name, part.forward)
        try:
            yield
        finally:
            for _, part in parts:
                del part.forward

    def _followed(self, name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*inputs: Any, **options: Any) -> Any:
            self.stack.append(name)
            result = forward(*inputs, **options)
            self.stack.pop()  # not reached where something is raised, whose place stays known
            return result

        return run


class Saved:
    """Storages kept for the backward pass; those of `own` tensors (parameters, buffers) are left out.

    calls: where the first saving of each is charged to, module by module in `charged`. What was saved for a step that
    no result depends on is gone at the end, and does not count.
    """

    def __init__(self, own: Iterable[torch.Tensor], calls: Calls | None = None) -> None:
        self.own = {_key(t) for t in own}
        self.bytes: dict[int, int] = {}
        self.calls = calls
        self.charged: dict[str, int] = {}
        self._seen: list[tuple[int, int, list[str], weakref.ref[torch.Tensor]]] = []

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach()  # an object that nobody else holds
        key, size = _key(tensor), tensor.untyped_storage().nbytes()
        if key not in self.own and size:
            self._seen.append((key, size, [*self.calls.stack] if self.calls else [], weakref.ref(tensor)))
        return tensor

    def close(self) -> None:
        """At the end of the forward pass: counts what is there."""
        for key, size, stack, tensor in self._seen:
            if tensor() is not None and key not in self.bytes:
                self.bytes[key] = size
                for name in dict.fromkeys(stack):
                    self.charged[name] = self.charged.get(name, 0) + size
        self._seen.clear()

    @property
    def total(self) -> int:
        return sum(self.bytes.values())

    def holds(self, tensor: torch.Tensor) -> bool:
        return _key(tensor) in self.bytes


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # fake tensors have no address


class _Stepwise(TorchFunctionMode):
    """torch's own LSTM instead of oneDNN's, which keeps a workspace whose size depends on the processor."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        fused = getattr(func, "__name__", "") != "lstm"
        with nullcontext() if fused else torch.backends.mkldnn.flags(enabled=False):
            return func(*args, **(kwargs or {}))


def saved(run: Callable[[], Any], own: Iterable[torch.Tensor], calls: Calls | None = None) -> tuple[Saved, Any]:
    """Runs a forward computation, an LSTM without oneDNN; gives what it saved, and its result."""
    found = Saved(own, calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = _hooked(run, found)
    found.close()  # while the result is there
    return found, result


@contextmanager
def _several_threads() -> Iterator[None]:
    """As nearly everybody runs torch, which chooses kernels by it."""
    count = torch.get_num_threads()
    torch.set_num_threads(max(count, 2))
    try:
        yield
    finally:
        torch.set_num_threads(count)


def _hooked(run: Callable[[], Any], found: Saved) -> Any:
    with _Stepwise(), torch.autograd.graph.saved_tensors_hooks(found.pack, lambda t: t):
        return run()


class Fake:
    """A module on fake tensors of a CPU, in training. `module` is on the meta device, and loses its tensors there."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module.train()
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode:
            module.to_empty(device="cpu")
            begin(module)

    def saved_by_module(self, program: Program, sizes: dict[str, int]) -> dict[str, int]:
        """Bytes that one forward pass saves, for each path of the module ("" is all of it)."""
        with self.mode:
            return saved_by_module(self.module, program, sizes)


def saved_by_module(module: nn.Module, program: Program, sizes: dict[str, int]) -> dict[str, int]:
    """Bytes that one forward pass saves, for each path of the module ("" is all of it)."""
    calls, own = Calls(module), [*module.parameters(), *module.buffers()]
    inputs = random_inputs(program, sizes)
    with calls.follow(), _several_threads():
        found, _ = saved(lambda: module(*inputs), own, calls)
    return {"": 0, **found.charged}


def begin(module: nn.Module) -> None:
    """Flags and counters get a value that Python can read, which tensors without data lack: training has begun."""
    for part in module.modules():
        for name, buffer in part.named_buffers(recurse=False):
            if not buffer.ndim and not buffer.is_floating_point():
                setattr(part, name, torch.tensor(1, dtype=buffer.dtype))


def macs_by_module(module: nn.Module, inputs: list[Any]) -> dict[str, int]:
    """Half of torch's FLOPs of a forward pass in evaluation, for each path of the module ("" is all of it)."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    root = type(module).__name__
    found = {"": counter.get_total_flops()}
    for name, counts in counter.get_flop_counts().items():
        if name.startswith(f"{root}."):
            found[name.removeprefix(f"{root}.")] = sum(counts.values())
    return {name: flops // 2 for name, flops in found.items()}


def flat(result: Any) -> list[torch.Tensor]:
    """The tensors of a result, in order; None and empty slots aside."""
    if isinstance(result, torch.Tensor):
        return [result]
    items = result.values() if isinstance(result, dict) else result
    return [t for item in items if item is not None for t in flat(item)]
