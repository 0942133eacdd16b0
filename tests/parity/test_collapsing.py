"""Networks that are made smaller after training: as their references train them, and as they are afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import archlang
from tests.parity.oracles import SPECS, assert_layout, assert_parity, timm_model
from tests.references import package


def assert_equal(ours: nn.Module, theirs: nn.Module, *inputs: Tensor) -> None:
    """In evaluation, to the rounding of float64."""
    arguments = [x.double() for x in inputs]
    with torch.no_grad():
        mine, other = ours.double().eval()(*arguments), theirs.double().eval()(*arguments)
    assert other.std() > 0
    assert (mine - other).abs().max() <= 1e-12 * other.abs().max()


def assert_timm_merges(spec: str, entry: str, reference: nn.Module, params: dict[str, object]) -> None:
    """What timm makes of its network for inference is the state of ours, merged, which computes what timm's did."""
    merged = archlang.build(SPECS / spec, entry, merged=True, **params).double()
    merged.load_state_dict(package("timm.utils").reparameterize_model(reference).state_dict(), strict=True)
    assert_equal(merged, reference, torch.randn(2, 3, 64, 48))


@pytest.mark.parametrize("groups", [1, 4])
def test_repvgg(groups: int) -> None:
    byob = package("timm.models.byobnet")
    blocks = byob._rep_vgg_bcfg(d=(2, 3, 2, 1), wf=(0.25, 0.25, 0.125, 0.0625), groups=groups if groups > 1 else 0)
    reference = byob.ByobNet(byob.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=16), num_classes=10)
    params: dict[str, object] = {"depths": [2, 3, 2, 1], "widths": [16, 32, 32, 32], "groups": groups, "classes": 10}
    assert_parity("repvgg.arch", "repvgg", reference, (2, 3, 64, 48), params)
    assert_timm_merges("repvgg.arch", "repvgg", reference, params)


@pytest.mark.parametrize("name", ["a0", "a1", "a2", "b0", "b1", "b1g4", "b2", "b2g4", "b3", "b3g4"])
def test_state_of_every_repvgg(name: str) -> None:
    assert_layout("repvgg.arch", f"repvgg_{name}", lambda: timm_model(f"repvgg_{name}"))
