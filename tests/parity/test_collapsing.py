"""Networks that are made smaller after training: as their references train them, and as they are afterwards."""

from __future__ import annotations

from pathlib import Path

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


def test_repghost() -> None:
    params: dict[str, object] = {"width_mult": 0.5, "dropout_p": 0.0}
    reference = timm_model("repghostnet_050", drop_rate=0.0)
    # what goes into a 1x1 convolution and then a normalisation, and nowhere else, has a bias without effect
    sums = r"[78]\.\d\.(ghost2\.(cheap_operation\.1|fusion_bn\.0)|shortcut\.3)"
    dead = rf"blocks\.([15]\.0\.bn_dw|\d\.\d\.shortcut\.1|{sums})\.bias"
    assert_parity("repghost.arch", "repghostnet", reference, (2, 3, 64, 48), params, no_gradient=dead)
    assert_timm_merges("repghost.arch", "repghostnet", reference, params)


@pytest.mark.parametrize("width", ["058", "080", "100", "111", "130", "150", "200"])
def test_state_of_every_repghost(width: str) -> None:
    assert_layout("repghost.arch", f"repghostnet_{width}", lambda: timm_model(f"repghostnet_{width}"))


def test_parts_of_repmlp(tmp_path: Path) -> None:
    """Each part of the map goes through the same weights, by itself; what is global is a factor."""
    text = "use zoo.repmlp: repmlp\nblock net(x: [B, 8, H, W]) { return x -> _: repmlp(4, 2, [1, 3], false) }\n"
    for name, size in (("whole", "8, 12"), ("part", "4, 4")):
        (tmp_path / f"{name}.arch").write_text(text.replace("H, W", size))
    torch.manual_seed(0)
    whole = archlang.build(tmp_path / "whole.arch")
    randomise(whole, (2, 8, 8, 12))
    whole = whole.double().eval()
    part = archlang.build(tmp_path / "part.arch").double().eval()
    part.load_state_dict(whole.state_dict(), strict=True)
    x = torch.randn(2, 8, 8, 12, dtype=torch.float64)
    y = whole(x) / whole.gp(x)
    for row in (slice(0, 4), slice(4, 8)):
        for column in (slice(0, 4), slice(4, 8), slice(8, 12)):
            piece = x[:, :, row, column]
            assert torch.allclose(y[:, :, row, column], part(piece) / part.gp(piece), rtol=0, atol=1e-12)


def test_layers_of_linear_gcn_are_one() -> None:
    params = {"width": 6, "classes": 4, "hops": 3}
    layers: nn.Module = archlang.build(SPECS / "sgc.arch", "linear_gcn", hidden=5, **params).double()
    one: nn.Module = archlang.build(SPECS / "sgc.arch", "sgc", **params).double()
    first, second, third = layers.state_dict().values()
    one.load_state_dict({"W.weight": third @ second @ first, "W.bias": torch.zeros(4)}, strict=True)
    assert_equal(one, layers, torch.randn(7, 6), torch.rand(7, 7))
