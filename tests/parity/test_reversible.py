"""Reversible networks against pytorchcv."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.parity.oracles import assert_layout, assert_parity, pytorchcv_model
from tests.references import package

# A transition ends in a sum; every reader of the streams normalises first, and takes the constant away.
TRANSITION_BIASES = r"features\.stage\d\.unit1\.identity_conv\.bn\.bias"


def _revnet(**arguments: Any) -> nn.Module:
    """For small images, and with plain couplings: the package's own backward pass frees what its caller still holds."""
    reference: Any = package("pytorchcv.models.revnet").RevNet(num_classes=10, **arguments)
    for module in reference.modules():
        if type(module).__name__ == "ReversibleBlock":
            module.forward = _coupling(module.fm, module.gm)
    reference.features.final_pool = nn.AdaptiveAvgPool2d(1)
    result: nn.Module = reference
    return result


def _coupling(f: nn.Module, g: nn.Module) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        a = a + f(b)
        return torch.cat((a, b + g(a)), dim=1)

    return forward


@pytest.mark.parametrize(
    ("name", "widths", "bottleneck"), [("revnet38", [32, 64, 112], False), ("revnet164", [128, 256, 512], True)]
)
def test_revnet(name: str, widths: list[int], bottleneck: bool) -> None:
    reference = _revnet(channels=[[width] * 2 for width in widths], init_block_channels=32, bottleneck=bottleneck)
    assert_parity("revnet.arch", name, reference, (2, 3, 16, 16), {"units": 2}, no_gradient=TRANSITION_BIASES)


@pytest.mark.parametrize("name", ["revnet38", "revnet110", "revnet164"])
def test_revnet_layout(name: str) -> None:
    assert_layout("revnet.arch", name, lambda: pytorchcv_model(name, num_classes=10))


def test_irevnet() -> None:
    parts = package("pytorchcv.models.irevnet")
    reference = parts.IRevNet([[24] * 3, [96] * 2, [384] * 2], 12, 768, num_classes=10)
    reference.features.final_pool = nn.AdaptiveAvgPool2d(1)
    assert_parity("irevnet.arch", "irevnet", reference, (2, 3, 32, 48), {"depths": [3, 2, 2], "classes": 10})


def test_irevnet301_layout() -> None:
    assert_layout("irevnet.arch", "irevnet301", lambda: pytorchcv_model("irevnet301"))
