"""Inference on one thread: modules that `archc compile -O2` writes, beside their references and what torch.fx fuses.

    OMP_NUM_THREADS=1 python benchmarks/inference.py [NAME ...] [--batch 1 8] [--rounds 9]

A reference is torchvision's or timm's network in evaluation mode, or, where neither has it, the module that the spec
gives without optimisation. `torch.fx.experimental.optimization.fuse` folds each batch norm that follows a convolution.
All hold the same weights. Times are CPU time of one thread, medians over rounds in which the variants take turns.
Bars: faster than the reference; at most 1.02 of what fx makes where that sees all there is to fold, else below it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

sys.path.insert(0, str(Path(__file__).parents[1]))

import archlang
from archlang.codegen import generate
from archlang.optimize import optimize, overwriting
from tests.references import package

SPECS = Path(__file__).parents[1] / "specs"
# file, design, input without batch, reference, and whether fx sees all there is to fold
NETWORKS: dict[str, tuple[str, str, tuple[int, ...], Callable[[], nn.Module] | None, bool]] = {
    "resnet50": ("resnet", "resnet50", (3, 224, 224), lambda: package("torchvision.models").resnet50(), True),
    "mobilenet_v2": (
        "mobilenet_v2", "mobilenet_v2", (3, 224, 224), lambda: package("torchvision.models").mobilenet_v2(), True,
    ),
    "repvgg_a0": ("repvgg", "repvgg_a0", (3, 224, 224), lambda: package("timm").create_model("repvgg_a0"), False),
    "repnext_m1": ("repnext", "repnext_m1", (3, 224, 224), None, False),
    "sesr_m5": ("sesr", "sesr_m5", (1, 64, 64), None, False),
}  # fmt: skip


def variants(name: str) -> dict[str, nn.Module]:
    """The reference, as fx fuses it, and ours, with the same weights and statistics."""
    file, entry, _, make, _ = NETWORKS[name]
    compiled = archlang.compile(SPECS / f"{file}.arch", entry)
    torch.manual_seed(0)
    reference = make() if make is not None else archlang.build(SPECS / f"{file}.arch", entry)
    with torch.no_grad():
        for key, tensor in reference.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    made = overwriting(optimize(compiled.program))
    found: dict[str, Any] = {"__name__": name}
    exec(compile(generate(made.program, source_name=file, changes=made.changes), f"{name}.py", "exec"), found)
    ours = next(v for v in reversed(found.values()) if isinstance(v, type) and issubclass(v, nn.Module))()
    ours.load_state_dict(found["convert_state_dict"](reference.state_dict()), strict=True)
    reference.eval()
    fused = fuse(copy.deepcopy(reference))
    return {"reference": reference, "fx": fused, "archlang": ours.eval()}


def seconds(module: nn.Module, x: Tensor) -> float:
    start = time.process_time()
    module(x)
    return time.process_time() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    missed = False
    print(f"{'':<14} {'batch':>5} {'reference':>11} {'fx':>11} {'archlang':>11} {'to reference':>13} {'to fx':>7}")
    for name in args.names:
        modules = variants(name)
        _, _, shape, _, seen = NETWORKS[name]
        for batch in args.batch:
            x = torch.randn(batch, *shape)
            times: dict[str, list[float]] = {key: [] for key in modules}
            with torch.inference_mode():
                expected, *others = [module(x) for module in modules.values()]
                assert all(torch.allclose(expected, y, rtol=1e-3, atol=1e-3 * expected.abs().max()) for y in others)
                for turn in range(args.rounds):
                    for i in range(len(modules)):  # each of them first in turn
                        key = list(modules)[(i + turn) % len(modules)]
                        times[key].append(seconds(modules[key], x))
            base, fx, ours = (statistics.median(times[key]) for key in modules)
            bad = ours >= base or ours > fx * (1.02 if seen else 1.0)
            missed |= bad
            cells = "".join(f" {1000 * t:8.1f} ms" for t in (base, fx, ours))
            print(f"{name:<14} {batch:>5}{cells} {ours / base:12.3f} x {ours / fx:5.3f} x{'  MISSED' if bad else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
