"""What the compiler writes for the published designs: short, and clean for the linters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import archlang

SPECS = Path(__file__).parent.parent / "specs"

DESIGNS = {
    "resnet": "resnet50",
    "preresnet": "preresnet1001",
    "densenet": "densenet121",
    "dpn": "dpn68",
    "efficientnet": "efficientnet_b0",
    "inception_v3": "inception_v3",
    "mlp_mixer": "mixer_b16_224",
    "mobilenet_v2": "mobilenet_v2",
    "resnext": "resnext50_32x4d",
    "cinc_flow": "cinc_flow",
    "convmixer": "convmixer_768_32",
    "hyper_connections": "olmo_1b_dhc4",
    "laurel": "resnet50_rw_lr",
    "llama": "llama_3_8b",
    "muddformer": "muddpythia_2_8b",
    "ladder": "ladder_8b",
    "rezero": "encoder12",
    "value_residual": "resformer_82m",
    "deeplabv3": "deeplabv3_resnet50",
    "fcn": "fcn_resnet50",
    "fractalnet": "fractalnet",
    "gdn": "transforms",
    "glow": "glow_cifar",
    "inverse_flow": "inverse_flow",
    "neural_ode": "odenet",
    "momentum_resnet": "momentum_resnet18",
    "pyramidnet": "pyramidnet110_a48",
    "sparsenet": "sparsenet121",
    "crossvit": "crossvit_tiny_240",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v4": "inception_v4",
    "mobilenet_v1": "mobilenetv1_100",
    "rdnet": "rdnet_tiny",
    "res2net": "res2net50_26w_4s",
    "residual_flow": "residual_flow",
    "resmlp": "resmlp_12_224",
    "resnetv2": "resnetv2_50d",
    "unet": "unet",
    "vgg": "vgg16_bn",
    "vit": "vit_tiny_patch16_224",
    "wide_resnet": "wrn28_10",
    "revnet": "paper38",
    "irevnet": "irevnet301",
    "revcol": "revcol_tiny",
    "revbifpn": "revbifpn_s0",
    "rev_vit": "rev_vit_small",
    "crevnet": "crevnet",
    "multi_split_transformer": "encoder",
    "reformer": "reformer",
    "reversible_unet3d": "reversible",
    "rdnet_reflection": "rdnet",
}


def source(spec: str) -> str:
    return archlang.compile(SPECS / f"{spec}.arch", entry=DESIGNS[spec]).source


@pytest.mark.parametrize(("spec", "lines"), [("resnet", 110), ("preresnet", 130)])
def test_the_text_is_short(spec: str, lines: int) -> None:
    assert len(source(spec).splitlines()) <= lines


def test_every_spec_has_its_design_here() -> None:
    assert {path.stem for path in SPECS.glob("*.arch")} == set(DESIGNS)


def test_the_linters_find_nothing(tmp_path: Path) -> None:
    for spec, entry in DESIGNS.items():
        (tmp_path / f"{entry}.py").write_text(source(spec), encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    for command in (
        [*ruff, "check", "--isolated", "."],
        [*ruff, "format", "--isolated", "--check", "."],
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "."],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
