"""Networks of inverted residuals against torchvision."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.ir.walk import parameters
from tests.parity.oracles import SPECS, assert_parity, torchvision_model

# A unit ends with a normalisation, and the next begins with a 1x1 convolution and another, which takes the mean away
# again: the bias of the first has no effect.
MOBILENET_BIASES = r"features\.(1\.conv\.2|\d+\.conv\.3)\.bias"
EFFICIENTNET_BIASES = r"features\.(1\.0\.block\.2|\d\.\d\.block\.3)\.1\.bias"


@pytest.mark.parametrize(("width_mult", "classes"), [(1.0, 1000), (0.35, 10)])
def test_mobilenet_v2(width_mult: float, classes: int) -> None:
    reference = torchvision_model("mobilenet_v2", width_mult=width_mult, num_classes=classes)
    params = {"width_mult": width_mult, "classes": classes, "dropout_p": 0.0}
    assert_parity("mobilenet_v2.arch", "mobilenet_v2", reference, (2, 3, 64, 64), params, no_gradient=MOBILENET_BIASES)


def test_efficientnet_b0() -> None:
    reference = torchvision_model("efficientnet_b0")
    params = {"dropout_p": 0.0, "drop": 0.0}
    biases = EFFICIENTNET_BIASES
    assert_parity("efficientnet.arch", "efficientnet_b0", reference, (2, 3, 64, 64), params, no_gradient=biases)


@pytest.mark.parametrize("size", range(8))
def test_state_of_every_efficientnet(size: int) -> None:
    with torch.device("meta"):
        reference = torchvision_model(f"efficientnet_b{size}")
    program = archlang.compile(SPECS / "efficientnet.arch", f"efficientnet_b{size}").program
    ours = {entry.key: tuple(entry.decl.shape) for entry in parameters(program)}
    assert ours == {key: tuple(value.shape) for key, value in reference.state_dict().items()}


def test_a_scaled_efficientnet() -> None:
    # 1.2 and 1.1 are B2's published factors
    scaled = archlang.compile(SPECS / "efficientnet.arch", "scaled", phi=1.0).program
    published = archlang.compile(SPECS / "efficientnet.arch", "efficientnet_b2").program
    assert [(p.key, p.decl.shape) for p in parameters(scaled)] == [(p.key, p.decl.shape) for p in parameters(published)]
