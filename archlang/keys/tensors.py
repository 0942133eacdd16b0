"""The tensors of a checkpoint, read without running anything that the file holds, and written in the same form."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Mapping
from typing import Any

from archlang.keys.checkpoint import CheckpointError, read, unwrapped

__all__ = ["read_tensors", "tensor_bytes"]

_DTYPES = {  # of the safetensors format: torch's names
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read_tensors(path: str) -> tuple[dict[str, Any], bool]:
    """Tensors by key, and whether the file is a safetensors file. Imports torch. Raises CheckpointError, OSError."""
    import torch

    read(path)  # which refuses what cannot be read safely
    with open(path, "rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return _safetensors(path), True
    if head[:1] == b"{":
        raise CheckpointError("it is the index of several files", "give one file with all tensors")
    found, _ = unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    return {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}, False


def _safetensors(path: str) -> dict[str, Any]:
    """Eight bytes of length, a header in JSON, then the tensors' bytes."""
    import torch

    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start, size = file.tell(), os.fstat(file.fileno()).st_size
        found: dict[str, Any] = {}
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            first, last = entry["data_offsets"]
            if entry["dtype"] not in _DTYPES or not 0 <= first <= last <= size - start:
                raise CheckpointError(f"the tensor {key!r} has a type or place that is not understood")
            file.seek(start + first)
            kind = getattr(torch, _DTYPES[entry["dtype"]])
            data = torch.frombuffer(bytearray(file.read(last - first)), dtype=kind) if last > first else torch.empty(0)
            found[key] = data.to(kind).reshape(entry["shape"])
    return found


def tensor_bytes(state: Mapping[str, Any], safetensors: bool) -> bytes:
    """A file with these tensors: a safetensors file, or what torch.save writes. Imports torch."""
    import io

    import torch

    if not safetensors:
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        return buffer.getvalue()
    names = {getattr(torch, name): short for short, name in _DTYPES.items()}
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    place = 0
    for key, tensor in state.items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        parts.append(ctypes.string_at(flat.data_ptr(), flat.numel() * flat.element_size()) if flat.numel() else b"")
        offsets = [place, place + len(parts[-1])]
        header[key] = {"dtype": names[tensor.dtype], "shape": [*tensor.shape], "data_offsets": offsets}
        place = offsets[1]
    text = json.dumps(header).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])
