"""Fresh weights are distributed as the reference's: the constant ones equal, the others in mean and deviation."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import archlang
from tests.parity.oracles import SPECS, timm_model, torchvision_model


@pytest.mark.parametrize(
    ("spec", "entry", "options"),
    [
        ("inception_v3.arch", "inception_v3", {"init_weights": True}),
        ("mobilenet_v2.arch", "mobilenet_v2", {}),
        ("efficientnet.arch", "efficientnet_b0", {}),
        ("vit.arch", "vit_tiny_patch16_224", {}),
        ("mlp_mixer.arch", "mixer_s16_224", {}),
    ],
)
def test_initial_weights(spec: str, entry: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    reference = (timm_model if "224" in entry else torchvision_model)(entry, **options).state_dict()
    ours = archlang.build(SPECS / spec, entry).state_dict()
    for key, theirs in reference.items():
        mine = ours[key]
        if theirs.numel() < 2 or theirs.min() == theirs.max():
            assert torch.equal(mine, theirs), key
            continue
        deviation = float(theirs.std())
        # of n values, the deviation's relative error is about 1 / sqrt(2n), and the mean's 1 / sqrt(n)
        slack = 6 / theirs.numel() ** 0.5
        assert abs(float(mine.std()) / deviation - 1) < 2 * slack, key
        assert abs(float(mine.mean() - theirs.mean())) < 2 * slack * deviation, key
        assert float(mine.abs().max()) < 2 * float(theirs.abs().max()), key
