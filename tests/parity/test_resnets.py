"""Residual networks against torchvision and pytorchcv."""

from __future__ import annotations

import re

import pytest
import torch

import archlang
from archlang.ir.walk import parameters
from tests.parity.oracles import (
    SPECS,
    assert_layout,
    assert_parity,
    pytorchcv_model,
    randomise,
    renamed,
    torchvision_model,
)


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("resnet.arch", "resnet18"),
        ("resnet.arch", "resnet50"),
        ("resnet.arch", "resnet152"),
        ("resnext.arch", "resnext50_32x4d"),
        ("wide_resnet.arch", "wide_resnet50_2"),
    ],
)
def test_torchvision(spec: str, entry: str) -> None:
    assert_parity(spec, entry, torchvision_model(entry), (2, 3, 33, 33))


# pytorchcv numbers the units of a stage from one, wraps everything but the classifier into `features`, the branch of a
# unit into `body`, and each convolution with the normalisation before it into `convN`.
PYTORCHCV = renamed(
    (r"^features\.", ""),
    (r"^init_block\.", "conv."),
    (r"^post_activ\.", ""),
    (r"^output\.", "fc."),
    (r"\bunit(\d+)\b", lambda unit: str(int(unit[1]) - 1)),
    (r"\bbody\.conv(\d)\.(bn|conv)\b", lambda layer: f"{layer[2]}{layer[1]}"),
    (r"\bidentity_conv\b", "downsample"),
)


def test_the_key_map_is_what_it_says() -> None:
    assert PYTORCHCV("features.stage2.unit1.body.conv3.bn.running_var") == "stage2.0.bn3.running_var"
    assert PYTORCHCV("features.stage2.unit10.identity_conv.weight") == "stage2.9.downsample.weight"
    assert PYTORCHCV("features.post_activ.bn.bias") == "bn.bias"


@pytest.mark.parametrize(
    ("spec", "entry", "reference"),
    [
        ("preresnet.arch", "preresnet20", "preresnet20_cifar10"),
        ("preresnet.arch", "preresnet1001", "preresnet1001_cifar10"),
        ("wide_resnet.arch", "wrn28_10", "wrn28_10_cifar10"),
    ],
)
def test_pytorchcv(spec: str, entry: str, reference: str) -> None:
    assert_parity(spec, entry, pytorchcv_model(reference), (1, 3, 32, 32), key_map=PYTORCHCV)


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("resnet.arch", "resnet34"),
        ("resnet.arch", "resnet101"),
        ("resnext.arch", "resnext101_32x8d"),
        ("resnext.arch", "resnext101_64x4d"),
        ("wide_resnet.arch", "wide_resnet101_2"),
    ],
)
def test_torchvision_layout(spec: str, entry: str) -> None:
    assert_layout(spec, entry, lambda: torchvision_model(entry))


@pytest.mark.parametrize(
    ("spec", "entry", "reference"),
    [
        ("preresnet.arch", "preresnet56", "preresnet56_cifar10"),
        ("preresnet.arch", "preresnet110", "preresnet110_cifar10"),
        ("preresnet.arch", "preresnet164", "preresnet164bn_cifar10"),
        ("preresnet.arch", "preresnet272", "preresnet272bn_cifar10"),
        ("preresnet.arch", "preresnet542", "preresnet542bn_cifar10"),
        ("wide_resnet.arch", "wrn16_10", "wrn16_10_cifar10"),
        ("wide_resnet.arch", "wrn40_8", "wrn40_8_cifar10"),
    ],
)
def test_pytorchcv_layout(spec: str, entry: str, reference: str) -> None:
    assert_layout(spec, entry, lambda: pytorchcv_model(reference), key_map=PYTORCHCV)


def test_a_resnet50_is_at_most_forty_lines() -> None:
    """The file without the claims, the blocks and the entries that this network does not need: it still builds."""
    whole = (SPECS / "resnet.arch").read_text(encoding="utf-8")
    kept = [part for part in whole.split("\n\n") if not part.startswith(("verify", "## Two 3x3"))]
    text = re.sub(r"block resnet(18|34|101|152)\(.*\n?", "", "\n\n".join(kept))
    assert len(text.strip().splitlines()) <= 40

    program = archlang.compile(text, entry="resnet50").program
    with torch.device("meta"):
        reference = torchvision_model("resnet50").state_dict()
    ours = {entry.key: tuple(entry.decl.shape) for entry in parameters(program)}
    assert ours == {key: tuple(value.shape) for key, value in reference.items()}


@pytest.mark.parametrize("form", ["a", "b"])
def test_the_forms_of_resnext_agree(form: str) -> None:
    """The grouped convolution's weights, cut into those of the paths (figure 3 of the paper)."""
    text = """
    use zoo.resnext: branch
    block net(form: str)(x: [B, 24, H, W]) { return x -> _: branch(form, groups=4, per_group=3, out=24, stride=2) }
    """
    grouped, split = (archlang.build(text, "net", form=name) for name in ("c", form))
    randomise(grouped, (2, 24, 9, 9))
    grouped, split = grouped.double(), split.double()
    state = {}
    for key, value in grouped.state_dict().items():
        layer, of_path = key.split(".")[0], not key.startswith(("bn3", "conv3") if form == "b" else "bn3")
        dim = 1 if layer == "conv3" else 0
        parts = value.chunk(4, dim) if of_path and value.dim() else [value] * 4
        state |= {f"paths.{i}.{key}": part for i, part in enumerate(parts)} if of_path else {key: value}
    split.load_state_dict(state, strict=True)
    x = torch.randn(2, 24, 9, 9, dtype=torch.float64)
    for phase in (True, False):
        assert torch.allclose(split.train(phase)(x), grouped.train(phase)(x), rtol=0, atol=1e-12)
