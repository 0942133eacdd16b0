"""Every connection scheme in one transformer of 12 layers and one convolutional network of 50: figures, and 20 steps.

    python benchmarks/schemes.py [--steps N] [NAME ...]

The networks are those of examples/schemes.arch. They learn one batch: a sequence whose next token follows from the two
before it, and images of ten classes. The command fails where a loss does not fall.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import archlang
from archlang.analyze import cost
from archlang.loading import instantiate

SPEC = Path(__file__).parents[1] / "examples" / "schemes.arch"
NAMES = (
    "residual", "post_norm", "deep_norm", "pre_norm", "branch_norm", "sandwich", "peri_norm", "rezero",
    "normalizer_free", "layer_scale", "depth_scaled", "highway", "laurel_rw", "laurel_lr", "laurel_pa", "ladder",
    "dense", "sparse_dense", "fractal", "reversible", "hyper", "manifold_hyper", "mudd",
)  # fmt: skip


class Row(NamedTuple):
    """What was measured: figures are of one example, the loss is the mean of the batch before each step."""

    name: str
    parameters: int
    macs: int
    saved: int  # bytes for the backward pass
    losses: Sequence[float]
    seconds: float  # a step

    @property
    def falls(self) -> bool:
        return all(loss == loss for loss in self.losses) and self.losses[-1] < 0.9 * self.losses[0]


def sequences(batch: int = 8, length: int = 32, vocabulary: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = [*torch.randint(0, vocabulary, (2, batch), generator=generator)]
    for _ in range(length - 1):
        ids.append((3 * ids[-1] + ids[-2] + 1) % vocabulary)
    whole = torch.stack(ids, 1)
    return whole[:, :length], whole[:, 1 : length + 1]


def images(batch: int = 20, size: int = 16) -> tuple[Tensor, Tensor]:
    """Ten patterns, each with noise."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(batch) % 10
    patterns = torch.randn(10, 3, size, size, generator=generator)
    return patterns[classes] + torch.randn(batch, 3, size, size, generator=generator), classes


NETWORKS = {"transformer": (sequences, {"B": 1, "T": 32}), "convnet": (images, {"B": 1, "H": 16, "W": 16})}


def measure(network: str, name: str, steps: int, **params: Any) -> Row:
    """Builds the network with this scheme, and trains it on one batch."""
    data, sizes = NETWORKS[network]
    compiled = archlang.compile(SPEC, network, name=name, **params)
    found = cost(compiled.program, sizes)
    assert isinstance(found.macs, int) and isinstance(found.saved, int)
    torch.manual_seed(0)
    model = instantiate(compiled).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, target = data()
    losses = []
    start = time.perf_counter()
    for _ in range(steps):
        loss = F.cross_entropy(model(x).flatten(0, -2), target.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    each = (time.perf_counter() - start) / steps
    return Row(name, found.parameters.parameters, found.macs, found.saved, losses, each)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help="schemes (default: all)")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fallen = True
    for network in NETWORKS:
        print(f"\n{network:16} {'parameters':>11} {'MACs':>8} {'saved':>10} {'loss':>7} {'after':>7} {'s/step':>7}")
        for name in arguments.names:
            row = measure(network, name, arguments.steps)
            figures = f"{row.parameters:11,} {row.macs / 1e6:6.1f} M {row.saved / 2**20:6.2f} MiB"
            fallen = fallen and row.falls
            mark = "" if row.falls else "  does not fall"
            print(
                f"{name:16} {figures} {row.losses[0]:7.3f} {row.losses[-1]:7.3f} {row.seconds:7.3f}{mark}", flush=True
            )
    return 0 if fallen else 1


if __name__ == "__main__":
    sys.exit(main())
