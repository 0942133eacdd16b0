"""Reorders, or cuts, the tensors of a state dict as groups say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["arrange"]


def arrange(state: Mapping[str, Any], rows: Mapping[str, Sequence[Sequence[int] | None]]) -> dict[str, Any]:
    """The tensors with the rows of each dimension that `Groups.arranged` gives; what it does not name is as it was.

    state: tensors by key. Imports torch.
    """
    import torch

    made: dict[str, Any] = {}
    for key, tensor in state.items():
        for dim, picked in enumerate(rows.get(key, ())):
            if picked is not None:
                tensor = tensor.index_select(dim, torch.tensor(picked, device=tensor.device))
        made[key] = tensor
    return made
