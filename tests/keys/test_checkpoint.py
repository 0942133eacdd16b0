"""Reading names and shapes out of checkpoints, also of hostile ones."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from archlang.keys.checkpoint import CheckpointError, read

STATE = {"conv1.weight": torch.zeros(8, 3, 3, 3), "bn1.num_batches_tracked": torch.tensor(0)}
SHAPES = {"conv1.weight": (8, 3, 3, 3), "bn1.num_batches_tracked": ()}


def test_safetensors_as_its_own_library_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(STATE, path, metadata={"format": "pt"})
    assert dict(read(str(path)).shapes) == SHAPES


def test_sharded_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "1.safetensors")
    save_file({"b": torch.zeros(3, 4)}, tmp_path / "2.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"b": "2.safetensors", "a": "1.safetensors"}}))
    assert list(read(str(index)).shapes.items()) == [("b", (3, 4)), ("a", (2,))]


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    assert dict(read(str(path)).shapes) == SHAPES


def test_training_checkpoints_are_unwrapped(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"epoch": 3, "optimizer": {"state": {}}, "state_dict": {**STATE, "note": 7}}, path)
    found = read(str(path))
    assert dict(found.shapes) == SHAPES
    assert found.notes == ("read from its entry 'state_dict'", "1 entries are no tensors and were passed over")


class Evil:
    def __reduce__(self) -> object:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_refused(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if writer == "torch":
        torch.save({"a": Evil()}, "a.pth")
    else:
        Path("a.pth").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(CheckpointError, match="could run code"):
        read("a.pth")
    assert not Path("evil").exists()


def header(text: str, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"hello", "neither a safetensors file nor"),
        (b"PK\x03\x04 but no more", "torch cannot load it"),
        (header('{"a"'), "no JSON"),
        (header("{" * 5000), "no JSON"),
        (header('{"a": {"shape": [-1]}}'), "no shape for 'a'"),
        (header('{"a": {"shape": [true]}}'), "no shape for 'a'"),
        (header('{"a": 7}'), "no shape for 'a'"),
        (header("{}", 2**63), "neither"),
        (b'{"not": "an index"}', "no index of a sharded checkpoint"),
        (b'{"weight_map": {"a": "../secret"}}', "does not lie beside it"),
        (b'{"weight_map": {"a": "/etc/passwd"}}', "does not lie beside it"),
    ],
)
def test_what_is_no_checkpoint(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message):
        read(str(path))


def test_what_holds_no_tensors(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        read(str(tmp_path / "a.pth"))
    torch.save({"epoch": 1}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="no tensors, only 'epoch'"):
        read(str(tmp_path / "b.pth"))
