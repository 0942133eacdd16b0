"""Plain and densely connected convolutional networks against torchvision."""

from __future__ import annotations

import pytest

from tests.parity.oracles import assert_layout, assert_parity, torchvision_model


def test_vgg16_bn() -> None:
    # batch normalisation takes the mean away again, and with it the bias of the convolution before
    biases = r"features\.\d+\.bias"
    reference = torchvision_model("vgg16_bn", init_weights=False)
    assert_parity("vgg.arch", "vgg16_bn", reference, (2, 3, 32, 32), {"p": 0.0}, no_gradient=biases)


def test_densenet121() -> None:
    assert_parity("densenet.arch", "densenet121", torchvision_model("densenet121"), (4, 3, 32, 32))


@pytest.mark.parametrize("entry", ["vgg11_bn", "vgg13_bn", "vgg19_bn"])
def test_vgg_layout(entry: str) -> None:
    assert_layout("vgg.arch", entry, lambda: torchvision_model(entry, init_weights=False))


@pytest.mark.parametrize("entry", ["densenet161", "densenet169", "densenet201"])
def test_densenet_layout(entry: str) -> None:
    assert_layout("densenet.arch", entry, lambda: torchvision_model(entry))
