"""Reference packages, which the tests compare with: imported where they are installed, else the test is skipped."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

import pytest
import torch

__all__ = ["package"]

_libraries: list[torch.library.Library] = []  # definitions last as long as the object


def package(name: str) -> ModuleType:
    """A package or a module of one: `timm.layers`. Skips the test where it is not installed."""
    if importlib.util.find_spec(name.split(".")[0]) is None:
        pytest.skip(f"the reference `{name}` is not installed (scripts/install-oracles.sh)")
    _torchvision_operators()
    return importlib.import_module(name)


def _torchvision_operators() -> None:
    """Makes torchvision importable, which timm and pytorchcv import in turn.

    Its wheel is built for another torch: its compiled operators, which no classifier needs, cannot be loaded, but their
    names are looked up when it is imported.
    """
    if _libraries or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        _libraries.append(torch.library.Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            signature = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _libraries[-1].define(signature)  # type: ignore[no-untyped-call]
