"""The reversible wrappers of other packages around the same blocks, as far as they are installed.

`pip install memcnn revtorch revlib reformer-pytorch`, in an environment of its own. Each is a module that takes two
streams and gives two; where a package wants them joined, they are joined along `dim`.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PEERS", "installed"]


class Peer(nn.Module):
    """blocks: modules with `f` and `g`, y1 = x1 + f(x2), y2 = x2 + g(y1)."""

    package = ""
    module = ""  # that is imported, where it has another name
    ranks = (3, 4)  # of the streams that it takes

    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__()
        self.blocks, self.dim = blocks, dim


class Revlib(Peer):
    package = "revlib"

    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__(blocks, dim)
        halves = [f for block in blocks for f in (block.f, block.g)]
        self.chain = importlib.import_module("revlib").ReversibleSequential(*halves, split_dim=dim)

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.chain(torch.cat([a, b], self.dim)).chunk(2, self.dim)


class Revtorch(Peer):
    package = "revtorch"

    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__(blocks, dim)
        package = importlib.import_module("revtorch")
        made = [package.ReversibleBlock(block.f, block.g, split_along_dim=dim) for block in blocks]
        self.chain = package.ReversibleSequence(nn.ModuleList(made))

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.chain(torch.cat([a, b], self.dim)).chunk(2, self.dim)


class Memcnn(Peer):
    package = "memcnn"
    ranks = (4,)

    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__(blocks, dim)
        package = importlib.import_module("memcnn")
        couplings = [package.AdditiveCoupling(block.f, block.g) for block in blocks]
        made = [package.InvertibleModuleWrapper(coupling, keep_input=False) for coupling in couplings]
        self.chain = nn.Sequential(*made)

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self.chain(torch.cat([a, b], 1) * 1).chunk(2, 1)  # it frees what it is given


class Reformer(Peer):
    package = "reformer-pytorch"
    module = "reformer_pytorch.reversible"

    def __init__(self, blocks: nn.ModuleList, dim: int) -> None:
        super().__init__(blocks, dim)
        package = importlib.import_module(self.module)
        self.chain = package.ReversibleSequence(nn.ModuleList(nn.ModuleList([b.f, b.g]) for b in blocks))

    def forward(self, a: Tensor, b: Tensor) -> Any:
        """It splits the last dimension."""
        if self.dim != a.dim() - 1:
            a, b = (t.movedim(self.dim, -1) for t in (a, b))
        return self.chain(torch.cat([a, b], -1)).chunk(2, -1)


Reformer.ranks = (3,)
PEERS = (Revlib, Revtorch, Memcnn, Reformer)


def installed(rank: int) -> dict[str, type[Peer]]:
    """By package; says which are left out, and why."""
    found: dict[str, type[Peer]] = {}
    for peer in PEERS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module(peer.module or peer.package)
        except ImportError as error:
            print(f"{peer.package} is left out: {error}")
            continue
        if rank in peer.ranks:
            found[peer.package] = peer
    return found
