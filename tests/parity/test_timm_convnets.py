"""Convolutional networks against timm."""

from __future__ import annotations

import pytest

from tests.parity.oracles import assert_layout, assert_parity, timm_model


@pytest.mark.parametrize(
    ("spec", "entry", "sides"),
    [
        ("convmixer", "convmixer_768_32", (29, 21)),
        ("dpn", "dpn68", (33, 33)),
        ("inception_v4", "inception_v4", (75, 91)),
        ("mobilenet_v1", "mobilenetv1_100", (33, 33)),
        ("rdnet", "rdnet_tiny", (32, 47)),
        ("res2net", "res2net50_26w_4s", (33, 33)),
        ("resnetv2", "resnetv2_18", (33, 33)),
        ("resnetv2", "resnetv2_50d", (33, 47)),
    ],
)
def test_parity(spec: str, entry: str, sides: tuple[int, int]) -> None:
    assert_parity(f"{spec}.arch", entry, timm_model(entry), (2, 3, *sides))


def test_inception_resnet_v2() -> None:
    # nothing rectifies between the last cell and a normalisation, which takes its bias away again
    reference = timm_model("inception_resnet_v2")
    shape = (2, 3, 75, 91)
    assert_parity(
        "inception_resnet_v2.arch", "inception_resnet_v2", reference, shape, no_gradient=r"block8\.conv2d\.bias"
    )


def test_resnet_rs() -> None:
    reference = timm_model("resnetrs50", layers=(1, 2, 1, 1), num_classes=10)
    assert_parity("resnet_rs.arch", "resnet_rs", reference, (2, 3, 33, 47), {"depths": [1, 2, 1, 1], "classes": 10})


def test_hrnet() -> None:
    """Two exchanges in a row, and all paths between four branches."""
    branches = {"block_type": "BASIC", "fuse_method": "SUM"}
    stages = {
        f"stage{n}": {
            "num_modules": 2 if n == 3 else 1,
            "num_branches": n,
            "num_blocks": (1,) * n,
            "num_channels": tuple(8 * 2**i for i in range(n)),
            **branches,
        }
        for n in (2, 3, 4)
    }
    reference = timm_model("hrnet_w18_small", num_classes=10, **stages)
    params = {"width": 8, "first": 32, "depth": 1, "blocks": 1, "modules": [1, 2, 1], "classes": 10}
    dead = r"(downsamp_modules\.\d|final_layer)\.0\.bias"  # before batch normalisation
    assert_parity("hrnet.arch", "hrnet", reference, (2, 3, 32, 64), params, no_gradient=dead)


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        *[("hrnet", f"hrnet_w{width}") for width in ("18_small", "18_small_v2", "18", "64")],
        *[("convmixer", f"convmixer_{name}") for name in ("1536_20", "1024_20_ks9_p14")],
        *[("dpn", f"dpn{depth}") for depth in (92, 98, 131, 107)],
        ("mobilenet_v1", "mobilenetv1_125"),
        *[("rdnet", f"rdnet_{size}") for size in ("small", "base", "large")],
        *[("res2net", f"res2net50_{name}") for name in ("26w_6s", "26w_8s", "48w_2s", "14w_8s")],
        *[("res2net", name) for name in ("res2net101_26w_4s", "res2next50")],
        *[("resnet_rs", f"resnetrs{depth}") for depth in (50, 420)],
        *[("resnetv2", f"resnetv2_{name}") for name in ("34", "50", "101", "101d", "152", "152d")],
    ],
)
def test_layout(spec: str, entry: str) -> None:
    assert_layout(f"{spec}.arch", entry, lambda: timm_model(entry))
