"""Reversible training measured: memory and time of generated networks, of checkpointing, and of the peers from PyPI.

    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 OMP_NUM_THREADS=1 \\
        python benchmarks/reversible.py memory|time|conditions|overlap [--kind conv|transformer] [--blocks 4 16]

Peers that are installed take part (`reversible_peers.py`); `conditions` prints which of them are right under which
conditions of everyday training. `overlap` needs a GPU: steps of training with regions in the plain order, and on two
streams.
Time is CPU time of one thread, medians over rounds in which all variants take turns; it is noisy on a shared machine.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

sys.path.insert(0, str(Path(__file__).parents[1]))

import archlang
from archlang.budget import Budget
from archlang.codegen import generate
from benchmarks.reversible_conditions import conditions
from benchmarks.reversible_peers import installed

SPECS = {
    "conv": """
        use std.reversible: coupling
        block f(x) { return x -> a: conv(32, 3, padding=1) -> n: batchnorm -> relu -> b: conv(32, 3, padding=1) }
        block net(depth: int)(a: [B, 32, H, W], b: [B, 32, H, W]) {
            return (a, b) -> body: chain([coupling(f(), f()) for _ in 0..depth])
        }""",
    "transformer": """
        use std.reversible: coupling
        block att(x: [B, T, D]) {
            h = x -> norm: layernorm
            q, k, v = (h -> qkv: linear(768) -> rearrange("b t (k h d) -> k b h t d", k=3, h=4) -> unbind(0))
            return sdpa(q, k, v) -> rearrange("b h t d -> b t (h d)") -> out: linear(256)
        }
        block mlp(x) { return x -> norm: layernorm -> up: linear(1024) -> gelu -> down: linear(256) }
        block net(depth: int)(a: [B, T, 256], b: [B, T, 256]) {
            return (a, b) -> body: chain([coupling(att(), mlp()) for _ in 0..depth])
        }""",
}
SHAPES = {"conv": (32, 32, 32, 32), "transformer": (8, 128, 256)}
SIZES = {"conv": {"B": 32, "H": 32, "W": 32}, "transformer": {"B": 8, "T": 128}}
MIB = 2**20
OUTSIDE = {"conv": 12, "transformer": 5}  # MiB at the peak that no plan counts: gradients of activations
Step = Callable[[Tensor, Tensor], Any]


def loaded(source: str) -> types.ModuleType:
    module = types.ModuleType("generated")
    exec(compile(source, "generated.py", "exec"), module.__dict__)
    return module


class Network:
    """The generated network; `run(**options)` trains it with other options of its region."""

    def __init__(self, kind: str, depth: int) -> None:
        program = archlang.compile(SPECS[kind], entry="net", depth=depth).program
        self.budget = Budget(program, SIZES[kind])
        self.module = loaded(generate(program, source_name="net.arch", overlap=True))
        torch.manual_seed(0)
        self.net = self.module.Net()
        self.body: Any = self.net.body
        self.kind, self.shape = kind, SHAPES[kind]

    def inputs(self) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        return torch.randn(self.shape).requires_grad_(), torch.randn(self.shape).requires_grad_()

    def plain(self, a: Tensor, b: Tensor) -> Any:
        return self.body(a, b)

    def rebuilt(self, **options: Any) -> Step:
        return lambda a, b: self.module.rebuild(self.body, a, b, **options)

    def planned(self, memory: int) -> Step:
        """The same weights in the module that `archc compile --memory` writes."""
        plan = self.budget.planned(self.budget.within(memory))
        parts = {"segments": plan.segments, "recorded": plan.origins}
        net = loaded(generate(plan.program, source_name="planned", **parts)).Net()
        net.load_state_dict(self.net.state_dict(keep_vars=True), assign=True)
        return net

    def checkpointed(self, length: int) -> Step:
        def part(first: int, a: Tensor, b: Tensor) -> Any:
            for block in list(self.body)[first : first + length]:
                a, b = block(a, b)
            return a, b

        def run(a: Tensor, b: Tensor) -> Any:
            for first in range(0, len(self.body), length):
                a, b = checkpoint(part, first, a, b, use_reentrant=False)
            return a, b

        return run


# -- memory ------------------------------------------------------------------------------------------------------------
class Bytes(TorchDispatchMode):
    """Storages that operations make, with the times at which they come and go."""

    def __init__(self, ignored: set[int]) -> None:
        super().__init__()
        self.ignored = ignored  # weights, of which operations make views
        self.time = 0
        self.alive: dict[int, tuple[StorageWeakRef, int, int]] = {}
        self.spans: list[tuple[int, int, int, int]] = []  # key, bytes, from, to

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.tick()
        for t in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(t, Tensor):
                storage = t.untyped_storage()
                key = storage._cdata
                if key not in self.alive and key not in self.ignored:
                    self.alive[key] = (StorageWeakRef(storage), storage.nbytes(), self.time)
        return out

    def tick(self) -> None:
        self.time += 1
        for key, (ref, size, start) in list(self.alive.items()):
            if ref.expired():
                self.spans.append((key, size, start, self.time))
                del self.alive[key]

    def now(self) -> int:
        self.tick()
        return sum(size for _, size, _ in self.alive.values())

    def peak(self, without: set[int]) -> int:
        """The most bytes at a time, without the storages that are alive and of these keys (gradients)."""
        spans = [(size, start, end) for _, size, start, end in self.spans]
        spans += [(size, start, self.time + 1) for key, (_, size, start) in self.alive.items() if key not in without]
        change = [0] * (self.time + 3)
        for size, start, end in spans:
            change[start] += size
            change[end] -= size
        total = most = 0
        for c in change:
            total += c
            most = max(most, total)
        return most


def memory(run: Step, network: Network) -> tuple[float, float]:
    """MiB alive after forward, and at the peak: without inputs, weights, and gradients of weights."""
    network.net.zero_grad()
    a, b = network.inputs()
    weights = {p.untyped_storage()._cdata for p in (*network.net.parameters(), a, b)}
    with Bytes(weights) as count:
        results = run(a, b)
        after = count.now()
        loss = results[0].sum() + results[1].square().sum()
        del results
        loss.backward()
        del loss
        gradients = {p.grad.untyped_storage()._cdata for p in network.net.parameters() if p.grad is not None}
        peak = count.peak(gradients)
    return after / MIB, peak / MIB


# -- time --------------------------------------------------------------------------------------------------------------
def step(run: Step, inputs: tuple[Tensor, Tensor]) -> float:
    gc.collect()
    start = time.process_time()
    results = run(*inputs)
    (results[0].sum() + results[1].square().sum()).backward()
    return time.process_time() - start


def variants(network: Network, depth: int) -> dict[str, Step]:
    found: dict[str, Step] = {
        "plain": network.plain,
        "archlang": network.rebuilt(),
    }
    for kept in sorted({1, depth // 8, depth // 4, depth // 4 + depth // 16, depth // 2} - {0}):
        found[f"archlang, {kept} kept"] = network.rebuilt(keep=kept)
    for length in (1, 2, 4, 8):
        if length < depth:
            run = found[f"checkpoint of {length}"] = network.checkpointed(length)
            _, peak = memory(run, network)
            found[f"planned within that, {length}"] = network.planned(int((peak - OUTSIDE[network.kind]) * MIB))
    return found


def measure(kind: str, depth: int, rounds: int, with_peers: bool) -> None:
    network = Network(kind, depth)
    found = variants(network, depth)
    if with_peers:
        dim = 1 if kind == "conv" else 2
        found |= {name: peer(network.body, dim) for name, peer in installed(len(network.shape)).items()}
    inputs = network.inputs()
    times: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, run in list(found.items()):
            try:
                spent = step(run, inputs)
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
                del found[name], times[name]
                continue
            if number:
                times[name].append(spent)
    plain = times["plain"]
    print(f"{kind}, {depth} blocks, {rounds} rounds: plain {statistics.median(plain):.3f} s a step")
    for name, own in times.items():
        ratios = sorted(t / p for t, p in zip(own, plain, strict=True))
        after, peak = memory(found[name], network)
        spread = f"{ratios[len(ratios) // 4]:.2f}..{ratios[-1 - len(ratios) // 4]:.2f}"
        middle, least = statistics.median(own) / statistics.median(plain), min(own) / min(plain)
        print(f"  {name:22} x{middle:.3f} ({spread}), least x{least:.3f}, alive {after:6.1f} MiB, peak {peak:6.1f} MiB")


def overlap(kind: str, depth: int, rounds: int) -> None:
    """Of a step on a GPU, in both orders by turns: milliseconds (medians), and MiB at the peak."""
    network = Network(kind, depth)
    network.net.cuda()
    given = tuple(t.detach().cuda().requires_grad_() for t in network.inputs())
    runs = {"plain order": network.rebuilt(), "two streams": network.rebuilt(rewind=network.module.Overlap)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    peaks: dict[str, float] = {}
    for number in range(rounds + 3):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.reset_peak_memory_stats()
            start.record()
            a, b = run(*given)
            (a.sum() + b.square().sum()).backward()
            end.record()
            end.synchronize()
            peaks[name] = torch.cuda.max_memory_allocated() / MIB
            if number > 2:
                times[name].append(start.elapsed_time(end))
            del a, b
    for name, own in times.items():
        print(f"{kind}, {depth} blocks, {name}: {statistics.median(own):.2f} ms a step, peak {peaks[name]:.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "time", "conditions", "overlap"))
    parser.add_argument("--kind", choices=tuple(SPECS), nargs="+", default=list(SPECS))
    parser.add_argument("--blocks", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.what == "overlap" and not torch.cuda.is_available():
        sys.exit("`overlap` needs a GPU")
    if args.what == "conditions":
        conditions()
        return
    for kind in args.kind:
        for depth in args.blocks:
            if args.what == "time":
                measure(kind, depth, args.rounds, args.peers)
                continue
            if args.what == "overlap":
                overlap(kind, depth, args.rounds)
                continue
            network = Network(kind, depth)
            print(f"{kind}, {depth} blocks")
            for name, run in variants(network, depth).items():
                after, peak = memory(run, network)
                print(f"  {name:22} alive after forward {after:7.1f} MiB, peak {peak:7.1f} MiB")


if __name__ == "__main__":
    main()
