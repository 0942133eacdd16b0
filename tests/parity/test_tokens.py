"""Networks on patch tokens against timm."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.ir.walk import parameters
from tests.parity.oracles import SPECS, assert_layout, assert_parity, timm_model

# The bias of a token is the same for all of its channels, and everything that reads it normalises over the channels.
MIXER_BIASES = r"blocks\.\d+\.mlp_tokens\.fc2\.bias"


def test_vit_tiny() -> None:
    entry = "vit_tiny_patch16_224"
    assert_parity("vit.arch", entry, timm_model(entry), (1, 3, 224, 224))


def test_vit_of_another_image_size() -> None:
    reference = timm_model("vit_tiny_patch16_224", img_size=64, num_classes=10)
    params = {"width": 192, "heads": 3, "size": 64, "classes": 10}
    assert_parity("vit.arch", "vit", reference, (2, 3, 64, 64), params)


def test_mixer_b16() -> None:
    entry = "mixer_b16_224"
    assert_parity("mlp_mixer.arch", entry, timm_model(entry), (1, 3, 224, 224), no_gradient=MIXER_BIASES)


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("vit.arch", "vit_small_patch16_224"),
        ("vit.arch", "vit_base_patch16_224"),
        ("mlp_mixer.arch", "mixer_s16_224"),
    ],
)
def test_state(spec: str, entry: str) -> None:
    with torch.device("meta"):
        reference = timm_model(entry)
    ours = {entry.key: tuple(entry.decl.shape) for entry in parameters(archlang.compile(SPECS / spec, entry).program)}
    assert ours == {key: tuple(value.shape) for key, value in reference.state_dict().items()}


def test_resmlp() -> None:
    reference = timm_model("resmlp_12_224", img_size=64)
    params = {"width": 384, "depth": 12, "scale": 1e-4, "size": 64}
    assert_parity("resmlp.arch", "resmlp", reference, (2, 3, 64, 64), params)


@pytest.mark.parametrize("entry", ["resmlp_12_224", "resmlp_24_224", "resmlp_36_224", "resmlp_big_24_224"])
def test_resmlp_layout(entry: str) -> None:
    assert_layout("resmlp.arch", entry, lambda: timm_model(entry))


# softmax does not see what is added to all keys alike
KEY_BIASES = r".*\.fusion\.\d\.attn\.wk\.bias"


def test_crossvit() -> None:
    reference = timm_model("crossvit_tiny_240", img_size=120)
    params = {"widths": [96, 192], "depth": 4, "heads": 3, "size": 120}
    assert_parity("crossvit.arch", "crossvit", reference, (2, 3, 120, 120), params, no_gradient=KEY_BIASES)


def test_crossvit_of_convolutional_patches() -> None:
    reference = timm_model("crossvit_9_dagger_240", img_size=120)
    params = {"widths": [128, 256], "depth": 3, "heads": 4, "mlp_ratio": 3.0, "dagger": True, "size": 120}
    assert_parity("crossvit.arch", "crossvit", reference, (1, 3, 120, 120), params, no_gradient=KEY_BIASES)


@pytest.mark.parametrize(
    "name", ["tiny_240", "small_240", "base_240", "15_240", "18_240", "15_dagger_240", "18_dagger_240"]
)
def test_crossvit_layout(name: str) -> None:
    assert_layout("crossvit.arch", f"crossvit_{name}", lambda: timm_model(f"crossvit_{name}"))
