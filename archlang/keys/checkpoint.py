"""Names and shapes in a checkpoint file, read without running anything that the file holds."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

__all__ = ["Checkpoint", "CheckpointError", "read", "unwrapped"]

Shape = tuple[int, ...]
MAX_HEADER = 100_000_000  # bytes; the safetensors format's own bound
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema")


class CheckpointError(Exception):
    """A file that cannot be understood, or not safely."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.help = help


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Shapes by key, in the file's order. `notes` says what was passed over."""

    path: str
    shapes: Mapping[str, Shape]
    notes: tuple[str, ...] = ()


def read(path: str) -> Checkpoint:
    """A safetensors file, the JSON index of a sharded one, or a file of torch.save (which needs torch).

    The format is told from the contents. Raises CheckpointError, OSError.
    """
    with open(path, "rb") as file:
        head = file.read(9)
        size = os.fstat(file.fileno()).st_size
        if len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
            return Checkpoint(path, _safetensors(file, size))
    if head[:1] == b"{":
        return Checkpoint(path, _index(path))
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return _torch(path)
    if not head:
        raise CheckpointError("the file is empty")
    raise CheckpointError("it is neither a safetensors file nor one written by torch.save")


# -- safetensors -------------------------------------------------------------------------------------------------------
def _safetensors(file: BinaryIO, size: int) -> dict[str, Shape]:
    """The header: eight bytes of length, then JSON. The tensors are not looked at."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER, size - 8):
        raise CheckpointError("its header is longer than the file")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise CheckpointError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise CheckpointError("its header is no table of tensors")
    return {key: _shape(key, entry) for key, entry in header.items() if key != "__metadata__"}


def _shape(key: str, entry: Any) -> Shape:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise CheckpointError(f"its header gives no shape for {key!r}")
    return tuple(shape)


def _index(path: str) -> dict[str, Shape]:
    """`model.safetensors.index.json`: which file beside it holds which tensor."""
    try:
        with open(path, "rb") as file:
            table = json.load(file)["weight_map"]
        shards = dict.fromkeys(str(name) for name in table.values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError("it is JSON, but no index of a sharded checkpoint") from None
    found: dict[str, Shape] = {}
    for shard in shards:
        if os.path.basename(shard) != shard or shard in {"", ".", ".."}:
            raise CheckpointError(f"the index names {shard!r}, which does not lie beside it")
        with open(os.path.join(os.path.dirname(path), shard), "rb") as part:
            found.update(_safetensors(part, os.fstat(part.fileno()).st_size))
    return {key: found[key] for key in table if key in found}


# -- torch.save --------------------------------------------------------------------------------------------------------
def _torch(path: str) -> Checkpoint:
    """Unpickles with torch's restricted loader: tensors and plain containers only, and no memory for the tensors."""
    import pickle

    import torch

    try:
        loaded = torch.load(path, map_location="meta", weights_only=True)
    except pickle.UnpicklingError:
        help = "save its tensors alone: torch.save(model.state_dict(), path)"
        message = "it holds more than tensors; to load that could run code of whoever wrote it, so it is refused"
        raise CheckpointError(message, help) from None
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"torch cannot load it ({str(error).splitlines()[0] if str(error) else 'damaged'})"
        ) from None
    return _unwrapped(path, loaded)


def _unwrapped(path: str, loaded: Any) -> Checkpoint:
    table, notes = unwrapped(loaded)
    shapes = {str(key): tuple(value.shape) for key, value in table.items() if _is_tensor(value)}
    if not shapes and table:
        raise CheckpointError("it holds no tensors, only " + ", ".join(map(repr, list(table)[:5])))
    others = len(table) - len(shapes)
    if others:
        notes.append(f"{others} entries are no tensors and were passed over")
    return Checkpoint(path, shapes, tuple(notes))


def unwrapped(loaded: Any) -> tuple[Mapping[Any, Any], list[str]]:
    """The table with the tensors, which training scripts keep beside optimizer states and counters; and what was
    passed over."""
    notes: list[str] = []
    for _ in range(3):
        if not isinstance(loaded, Mapping):
            raise CheckpointError(f"it holds a {type(loaded).__name__}, not a table of tensors")
        if any(_is_tensor(value) for value in loaded.values()):
            break
        inner = next((name for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            break
        notes.append(f"read from its entry {inner!r}")
        loaded = loaded[inner]
    return loaded, notes


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
