"""How much a training step does: counted in operations, which no machine's load changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import archlang
from archlang.codegen import generate
from benchmarks import reversible as benchmark
from tests.codegen.load import load
from tests.reversible.helpers import program

CHAIN = """
use std.reversible: coupling
block f(x) { return x -> a: conv(4, 3, padding=1) -> n: batchnorm -> relu -> b: conv(4, 3, padding=1) }
block net(depth: int)(a: [B, 4, H, W], b: [B, 4, H, W]) {
    return (a, b) -> body: chain([coupling(f(), f()) for _ in 0..depth])
}
"""
DEPTH = 6


class Operations(TorchDispatchMode):
    """Those that give a tensor of a stream's size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, Tensor)]
        if any(t.numel() == self.size for t in made):
            self.count[str(func).split(".")[1]] += 1
        return out


@pytest.fixture(scope="module")
def module() -> Any:
    return load(generate(program(CHAIN, "net", depth=DEPTH), source_name="net.arch"))


def operations(module: Any, *, gradient: bool = True, **options: Any) -> Counter[str]:
    """Of one step; options: None for plain autograd, else those of the region."""
    torch.manual_seed(0)
    body = module.root().body
    given = [torch.randn(2, 4, 5, 6, requires_grad=gradient) for _ in range(2)]
    with Operations(given[0].numel()) as found:
        a, b = body(*given) if options.pop("plain", False) else module.rebuild(body, *given, **options)
        torch.autograd.backward([a, b], [torch.ones_like(a), torch.ones_like(b)])
    return found.count


@pytest.mark.parametrize("keep", [0, 1, 2, DEPTH])
def test_one_more_forward_of_each_block_that_is_rebuilt(module: Any, keep: int) -> None:
    """And nothing else: the results that rebuild are those whose graph is differentiated; no stream is copied."""
    plain, ours = operations(module, plain=True), operations(module, keep=keep)
    again = DEPTH - keep
    for name in ("convolution", "native_batch_norm", "relu"):
        assert ours[name] == plain[name] * (DEPTH + again) // DEPTH
    for name in ("convolution_backward", "native_batch_norm_backward", "threshold_backward"):
        assert ours[name] == plain[name]
    sums = [count["add"] + count["add_"] + count["sub"] for count in (plain, ours)]
    assert sums[1] == sums[0] + 2 * again
    assert all(ours[name] <= plain[name] for name in ("clone", "cat", "copy_", "zeros_like", "mul"))


def test_sums_are_made_in_place(module: Any) -> None:
    """All but the first of each stream, on the way there and back, and the sums of gradients."""
    found = operations(module)
    assert found["add_"] == 2 * 2 * (DEPTH - 1)
    assert found["sub"] == 2


def test_no_gradient_of_inputs_that_want_none(module: Any) -> None:
    """The first block's first convolution has no gradient for its input."""
    found = [operations(module, gradient=gradient)["convolution_backward"] for gradient in (True, False)]
    assert found[1] == found[0] - 1


def test_memory_of_a_chain_does_not_grow(module: Any) -> None:
    """What is saved after a forward: the results, at any depth; with graphs kept, what plain autograd keeps of them."""

    def saved(depth: int, **options: Any) -> int:
        text = archlang.compile(CHAIN, "net", depth=depth).source
        file = load(text)
        body = file.root().body
        weights = {p.untyped_storage().data_ptr() for p in body.parameters()}
        found: dict[int, int] = {}

        def keep(t: Tensor) -> Tensor:
            if t.untyped_storage().data_ptr() not in weights:
                found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            file.rebuild(body, *(torch.randn(2, 4, 5, 6) for _ in range(2)), **options)
        return sum(found.values())

    stream = 2 * 4 * 5 * 6 * 4
    assert saved(2) == saved(6) == 2 * stream
    assert saved(6, every=2) == 3 * 2 * stream
    one, two = saved(6, keep=1), saved(6, keep=2)
    assert 2 * stream < one < two < saved(6, keep=6)


def test_the_hybrid_lies_below_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a length of a checkpoint's segments, some number of kept graphs takes less work and less memory."""
    monkeypatch.setitem(benchmark.SHAPES, "conv", (8, 32, 8, 8))
    network = benchmark.Network("conv", 16)

    def point(run: benchmark.Step) -> tuple[int, float]:
        with Operations(8 * 32 * 8 * 8) as found:
            _, peak = benchmark.memory(run, network)
        return found.count["convolution"], peak

    hybrids = [point(network.rebuilt(keep=keep)) for keep in (1, 3, 5)]
    for length in (1, 2, 8):
        work, peak = point(network.checkpointed(length))
        assert any(ours < work and our_peak < peak for ours, our_peak in hybrids)
