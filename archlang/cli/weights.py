"""Trained states that a command reads, checked against the network that they are for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from archlang.cli.files import must_read
from archlang.cli.guard import UsageError

if TYPE_CHECKING:
    from archlang.ir.graph import Program

__all__ = ["reading", "trained_state"]


@contextmanager
def reading(path: str) -> Iterator[None]:
    """While a checkpoint is read: UsageError for a file that cannot be, or not without torch."""
    from archlang.keys.checkpoint import CheckpointError

    must_read(path)
    try:
        yield
    except CheckpointError as error:
        raise UsageError("ARC0930", f"cannot read `{path}`: {error}", error.help) from None
    except ModuleNotFoundError as error:
        from archlang.loading import TORCH_HELP

        if error.name != "torch":
            raise
        raise UsageError("ARC0920", f"reading `{path}` needs torch, which is not installed", TORCH_HELP) from None


def trained_state(path: str, program: Program) -> tuple[dict[str, Any], bool]:
    """The tensors of a checkpoint that has those of the network, and whether it is a safetensors file. Imports torch.

    Raises UsageError for a file that cannot be read, or that lacks a tensor or has one of another shape.
    """
    from archlang.ir.walk import parameters

    with reading(path):
        from archlang.keys.tensors import read_tensors

        state, safetensors = read_tensors(path)
    for entry in parameters(program):
        found = state.get(entry.key)
        if found is None and (not entry.decl.persistent or entry.key.endswith("num_batches_tracked")):
            continue
        help = "`archc compare-keys` says what differs"
        if found is None:
            raise UsageError("ARC0931", f"`{path}` lacks `{entry.key}`", help)
        if tuple(found.shape) != entry.decl.shape:
            shapes = f"{[*entry.decl.shape]} here, {[*found.shape]} in `{path}`"
            raise UsageError("ARC0933", f"`{entry.key}` is {shapes}", help)
    return state, safetensors
