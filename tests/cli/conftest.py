"""A small spec in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

NET = """\
## A small network.

## One unit.
block unit(width: int, stride: int = 1)(x) {
    return x -> conv1: conv(width, 3, stride, padding=1, bias=false) -> bn1: batchnorm -> relu
}

## The network.
block net(width: int = 8, classes: int = 10)(image: [B, 3, H, W]) -> [B, classes] {
    return image -> stem: unit(width) -> global_avgpool -> fc: linear(classes)
}
"""
KEYS = {
    "stem.conv1.weight": (8, 3, 3, 3),
    "stem.bn1.weight": (8,),
    "stem.bn1.bias": (8,),
    "stem.bn1.running_mean": (8,),
    "stem.bn1.running_var": (8,),
    "stem.bn1.num_batches_tracked": (),
    "fc.weight": (10, 8),
    "fc.bias": (10,),
}


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`net.arch` in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    path = Path("net.arch")
    path.write_text(NET)
    return path
