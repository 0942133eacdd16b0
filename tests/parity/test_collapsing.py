"""Networks that are made smaller after training: as their references train them, and as they are afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import archlang
from tests.parity.oracles import SPECS, assert_layout, assert_parity, randomise, timm_model
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


def test_sesr() -> None:
    """A kernel and a projection are one kernel, and an identity adds to its middle."""
    params = {"blocks": 3, "width": 8, "inner": 24}
    torch.manual_seed(0)
    trained = archlang.build(SPECS / "sesr.arch", "sesr", **params)
    randomise(trained, (2, 1, 8, 8))
    trained = trained.double()
    before = trained.state_dict()
    before["head.project.weight"] *= 0.1
    after = {key: value for key, value in before.items() if key.endswith("act.weight")}
    for key in before:
        if key.endswith("expand.weight"):
            path = key.removesuffix("expand.weight")
            kernel = torch.einsum("op, pihw -> oihw", before[f"{path}project.weight"][:, :, 0, 0], before[key])
            if kernel.shape[0] == kernel.shape[1]:
                kernel[:, :, 1, 1] += torch.eye(len(kernel), dtype=kernel.dtype)
            after[f"{path}conv.weight"] = kernel
    collapsed = archlang.build(SPECS / "sesr.arch", "sesr", collapsed=True, **params).double()
    collapsed.load_state_dict(after, strict=True)
    image = 0.4 + 0.2 * torch.rand(2, 1, 13, 9, dtype=torch.float64)
    assert 0 < trained(image).min() < trained(image).max() < 1  # the limits hide nothing
    assert_equal(collapsed, trained, image)
