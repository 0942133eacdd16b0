"""Dropout and stochastic depth in training: with the same seed, the same masks as the reference draws."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import archlang
from tests.parity.oracles import SPECS, difference, timm_model, torchvision_model

SIZE = {"mobilenet_v2": 64, "efficientnet_b0": 64}


@pytest.mark.parametrize(
    ("spec", "entry", "params", "options"),
    [
        ("mobilenet_v2.arch", "mobilenet_v2", {"dropout_p": 0.5}, {"dropout": 0.5}),
        ("efficientnet.arch", "efficientnet_b0", {}, {}),
        ("efficientnet.arch", "efficientnet_b0", {"drop": 0.6}, {"stochastic_depth_prob": 0.6}),
        ("vit.arch", "vit_tiny_patch16_224", {"drop": 0.5}, {"drop_path_rate": 0.5}),
        ("mlp_mixer.arch", "mixer_s16_224", {"drop": 0.5}, {"drop_path_rate": 0.5}),
    ],
)
def test_same_seed_same_masks(spec: str, entry: str, params: dict[str, float], options: dict[str, float]) -> None:
    torch.manual_seed(0)
    side = SIZE.get(entry, 224)
    # fifty classes: a network whose last weights are zero has nothing to compare
    make = torchvision_model if side == 64 else timm_model
    reference = make(entry, num_classes=50, **options)
    nn.init.normal_(last_linear(reference).weight, std=0.1)
    module = archlang.build(SPECS / spec, entry, classes=50, **params)
    module.load_state_dict(reference.state_dict(), strict=True)

    image = torch.randn(4, 3, side, side, dtype=torch.float64)
    ours = [drawn(module, image, seed) for seed in (1, 2)]
    theirs = [drawn(reference, image, seed) for seed in (1, 2)]
    assert difference(theirs[0], theirs[1]) > 1e-3, "the reference draws nothing"
    for mine, other in zip(ours, theirs, strict=True):
        assert difference(mine, other) <= 1e-6  # timm rounds its rates to float32

    with torch.no_grad():
        assert torch.equal(module.eval()(image), module(image)), "something is drawn in evaluation"


def last_linear(model: nn.Module) -> nn.Linear:
    """The classifier."""
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]


def drawn(model: nn.Module, image: torch.Tensor, seed: int) -> torch.Tensor:
    """The output in training, in float64, with the generator's state given."""
    torch.manual_seed(seed)
    with torch.no_grad():
        result: torch.Tensor = model.double().train()(image)
    return result
