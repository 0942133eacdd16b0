"""Dense classifiers against torchvision."""

from __future__ import annotations

import pytest
from torch import nn

from tests.parity.oracles import assert_layout, assert_parity
from tests.references import package


def segmenter(name: str, aux: bool = True) -> nn.Module:
    """A segmentation model of torchvision with fresh weights."""
    models = package("torchvision").models
    model: nn.Module = models.get_model(name, weights=None, weights_backbone=None, aux_loss=aux)
    return model


@pytest.mark.parametrize(
    ("name", "aux", "sides"), [("fcn_resnet50", True, (17, 25)), ("deeplabv3_resnet50", False, (17, 25))]
)
def test_parity(name: str, aux: bool, sides: tuple[int, int]) -> None:
    params = {"drop": 0.0, "aux": aux}
    assert_parity(f"{name.split('_')[0]}.arch", name, segmenter(name, aux), (2, 3, *sides), params)


@pytest.mark.parametrize("name", ["fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101"])
def test_layout(name: str) -> None:
    assert_layout(f"{name.split('_')[0]}.arch", name, lambda: segmenter(name))
