"""Plain and densely connected convolutional networks against torchvision."""

from __future__ import annotations

from tests.parity.oracles import assert_parity, torchvision_model


def test_vgg16_bn() -> None:
    # batch normalisation takes the mean away again, and with it the bias of the convolution before
    biases = r"features\.\d+\.bias"
    reference = torchvision_model("vgg16_bn", init_weights=False)
    assert_parity("vgg.arch", "vgg16_bn", reference, (2, 3, 32, 32), {"p": 0.0}, no_gradient=biases)


def test_densenet121() -> None:
    assert_parity("densenet.arch", "densenet121", torchvision_model("densenet121"), (4, 3, 32, 32))
