"""Networks on patch tokens against timm."""

from __future__ import annotations

import pytest

from tests.parity.oracles import assert_parity, timm_model


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("vit.arch", "vit_tiny_patch16_224"),
        ("vit.arch", "vit_small_patch16_224"),
        ("mlp_mixer.arch", "mixer_s16_224"),
        ("mlp_mixer.arch", "mixer_b16_224"),
    ],
)
def test_timm(spec: str, entry: str) -> None:
    assert_parity(spec, entry, timm_model(entry), (2, 3, 224, 224))


def test_another_image_size() -> None:
    reference = timm_model("vit_tiny_patch16_224", img_size=64, num_classes=10)
    params = {"width": 192, "heads": 3, "size": 64, "classes": 10}
    assert_parity("vit.arch", "vit", reference, (2, 3, 64, 64), params)
