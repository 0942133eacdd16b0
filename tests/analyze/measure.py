"""What autograd saves, measured: the storages that torch packs for the backward pass, each counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

__all__ = ["Saved", "flat", "saved"]


class Saved:
    """Storages kept for the backward pass, by address; those of `own` tensors (parameters, buffers) are left out."""

    def __init__(self, own: Iterable[torch.Tensor]) -> None:
        self.own = {t.untyped_storage().data_ptr() for t in own}
        self.bytes: dict[int, int] = {}
        self._alive: list[torch.Tensor] = []  # an address is not used twice while its tensor lives

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        self._alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.own and storage.nbytes():
            self.bytes[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        return sum(self.bytes.values())

    def holds(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self.bytes


def saved(run: Callable[[], Any], own: Iterable[torch.Tensor]) -> tuple[Saved, Any]:
    """Runs a forward computation without oneDNN (whose LSTM has a workspace); gives what it saved, and its result."""
    found = Saved(own)
    with torch.backends.mkldnn.flags(enabled=False), torch.autograd.graph.saved_tensors_hooks(found.pack, lambda t: t):
        result = run()
    return found, result


def flat(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for item in result for t in flat(item)]
