"""Dropout and stochastic depth in training: with the same seed, the same masks as the reference draws."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import archlang
from tests.parity.oracles import SPECS, difference, timm_model, torchvision_model

EFFICIENTNET = ("efficientnet.arch", "efficientnet_b0")
VIT = ("vit.arch", "vit", {"width": 192, "heads": 3, "size": 64, "drop": 0.5})
MIXER = ("mlp_mixer.arch", "mixer", {"width": 512, "depth": 8, "size": 64, "drop": 0.5})


@pytest.mark.parametrize(
    ("spec", "entry", "params", "reference"),
    [
        ("mobilenet_v2.arch", "mobilenet_v2", {"dropout_p": 0.5}, ("mobilenet_v2", {"dropout": 0.5})),
        (*EFFICIENTNET, {}, ("efficientnet_b0", {})),
        (*EFFICIENTNET, {"drop": 0.6}, ("efficientnet_b0", {"stochastic_depth_prob": 0.6})),
        (*VIT, ("vit_tiny_patch16_224", {"img_size": 64, "drop_path_rate": 0.5})),
        (*MIXER, ("mixer_s16_224", {"img_size": 64, "drop_path_rate": 0.5})),
    ],
)
def test_same_seed_same_masks(
    spec: str, entry: str, params: dict[str, float], reference: tuple[str, dict[str, float]]
) -> None:
    torch.manual_seed(0)
    name, options = reference
    theirs = (timm_model if "224" in name else torchvision_model)(name, num_classes=50, **options)
    nn.init.normal_(last_linear(theirs).weight, std=0.1)  # timm's are zero, which would hide everything
    ours = archlang.build(SPECS / spec, entry, classes=50, **params)
    ours.load_state_dict(theirs.state_dict(), strict=True)

    side = 64 if "size" in params else 32
    image = torch.randn(4, 3, side, side, dtype=torch.float64)
    expected = [drawn(theirs, image, seed) for seed in (1, 2)]
    assert difference(*expected) > 1e-3, "the reference draws nothing"
    for seed, result in zip((1, 2), expected, strict=True):
        assert difference(drawn(ours, image, seed), result) <= 1e-6  # timm rounds its rates to float32

    with torch.no_grad():
        assert torch.equal(ours.eval()(image), ours(image)), "something is drawn in evaluation"


def last_linear(model: nn.Module) -> nn.Linear:
    """The classifier."""
    return [m for m in model.modules() if isinstance(m, nn.Linear)][-1]


def drawn(model: nn.Module, image: torch.Tensor, seed: int) -> torch.Tensor:
    """The output in training, in float64, with the generator's state given."""
    torch.manual_seed(seed)
    with torch.no_grad():
        result: torch.Tensor = model.double().train()(image)
    return result
