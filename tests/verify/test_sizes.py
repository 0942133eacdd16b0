"""The sets of the specs, and of networks that make sizes in other ways: exact, per phase, and agreed with torch."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import archlang
from archlang.certify.certificate import Runner
from archlang.certify.sample import sample
from archlang.verify.sets import domain
from archlang.verify.text import condition
from benchmarks.sizes import runners
from tests.random_specs.strategy import Spec, specs

pytest.importorskip("torch")

SPECS = Path(__file__).parents[2] / "specs"

WINDOWS = """
## Attention inside 7 x 7 windows of a grid of patches, as in Swin.
block windowed()(image: [B, 3, H, W]) {
    x = image -> embed: conv(32, 4, stride=4)
    t = rearrange(x, "b c (h p) (w q) -> (b h w) (p q) c", p=7, q=7)
    t += t -> norm: layernorm -> attn: attention(4)
    return t -> head: linear(10)
}
"""
MERGED = """
## The same windows by reshape: a product of sizes is compared with a product.
block windowed()(image: [B, 3, H, W]) {
    x = image -> embed: conv(32, 4, stride=4) -> permute([0, 2, 3, 1])
    t = reshape(x, [B, floor(x.shape[1] / 7), 7, floor(x.shape[2] / 7), 7, 32])
    return t -> head: linear(10)
}
"""
FIXED = """
## A table of 14 x 14 + 1 positions.
block vit()(image: [B, 3, H, W]) {
    weight position: [1, 197, 32] = zeros
    weight cls: [1, 1, 32] = zeros
    x = image -> embed: conv(32, 16, stride=16) -> flatten(2) -> transpose(1, 2)
    x = concat([cls -> expand([B, -1, -1]), x], dim=1) + position
    return x[:, 0] -> head: linear(10)
}
"""
DECLARED = """
block vit(size: int = 224)(image: [B, 3, size, size]) {
    weight position: [1, (size // 16) ** 2, 32] = zeros
    x = image -> embed: conv(32, 16, stride=16) -> flatten(2) -> transpose(1, 2)
    return reduce_mean(x + position, 1) -> head: linear(10)
}
"""
INTERPOLATED = """
block vit()(image: [B, 3, H, W]) {
    weight position: [1, 32, 14, 14] = zeros
    x = image -> embed: conv(32, 16, stride=16)
    p = interpolate(position, x, mode="bicubic", align_corners=false)
    x = (x + p) -> flatten(2) -> transpose(1, 2)
    x += x -> norm: layernorm -> attn: attention(4)
    return reduce_mean(x, 1) -> head: linear(10)
}
"""
QUARTZ = """
## Separable 1-D convolutions over time, strided at first and dilated at last.
block quartz()(audio: [B, 64, T]) {
    x = audio -> stem: conv(64, 33, stride=2, padding=16) -> bn: batchnorm -> relu
    x += x -> deep: conv(64, 39, padding=19, groups=64) -> wide: conv(64, 1) -> norm: batchnorm -> relu
    x = x -> last: conv(64, 87, dilation=2, padding=43)
    return x -> norm2: batchnorm -> classes: conv(29, 1)
}
"""

WINDOWED = "H mod 28 in {0, 1, 2, 3} and H >= 28 and W mod 28 in {0, 1, 2, 3} and W >= 28"

BARS: dict[str, tuple[str, str | None, str, str]] = {
    "unet": (
        str(SPECS / "unet.arch"),
        "unet",
        "H mod 16 = 0 and H >= 16 and W mod 16 = 0 and W >= 16",
        "H mod 16 = 0 and H >= 16 and W mod 16 = 0 and W >= 16 and (B >= 2 or H >= 32 or W >= 32)",
    ),
    "resnet50": (str(SPECS / "resnet.arch"), "resnet50", "always", "(B >= 2 or H >= 33 or W >= 33)"),
    "windows": (WINDOWS, None, WINDOWED, WINDOWED),
    "merged": (MERGED, None, WINDOWED, WINDOWED),
    "declared positions": (DECLARED, None, "always", "always"),
    "interpolated positions": (INTERPOLATED, None, *["H >= 16 and W >= 16"] * 2),
    "quartznet": (QUARTZ, None, "T >= 173", "T >= 173 and (B >= 2 or T >= 175)"),
}


@pytest.mark.parametrize("name", BARS)
def test_the_sets_of_known_networks(name: str) -> None:
    spec, entry, evaluation, training = BARS[name]
    program = archlang.compile(spec, entry=entry).program
    for phase, expected in (("eval", evaluation), ("train", training)):
        of = domain(program, phase)
        assert not of.undecided
        assert condition(of.space, of.set) == expected


@pytest.mark.parametrize("name", BARS)
def test_they_run_at_those_sizes_only(name: str) -> None:
    spec, entry, *_ = BARS[name]
    for ran in Runner(archlang.compile(spec, entry=entry)).phases(24 if entry is None else 12):
        assert not ran.wrong
        assert ran.inside >= 5


def test_a_table_of_positions_takes_every_grid_of_as_many_patches() -> None:
    program = archlang.compile(FIXED).program
    of = domain(program)
    assert not of.undecided
    grids = {(h, w) for h in range(1, 200) for w in range(1, 200) if h * w == 196}
    for h, w in [(h, w) for h in range(30) for w in range(30)] + sorted(grids):
        for a, b in ((16 * h, 16 * w), (16 * h + 15, 16 * w + 3)):
            if a and b:
                assert of.contains({"B": 1, "H": a, "W": b}) == ((h, w) in grids), (a, b)
    for ran in Runner(archlang.compile(FIXED)).phases(24):
        assert not ran.wrong


CASES = [path.name for path in sorted(SPECS.glob("*.arch"))]


@pytest.mark.parametrize("file", CASES)
def test_specs_run_exactly_at_the_sizes_of_their_set(file: str) -> None:
    for ran in runners(str(SPECS / file))[0].phases(4):
        assert not ran.wrong
        assert ran.inside + ran.outside + ran.lenient >= 4


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(specs())
def test_random_specs_run_exactly_at_the_sizes_of_their_set(spec: Spec) -> None:
    assert not any(ran.wrong for ran in Runner(archlang.compile(spec.text, entry="net")).phases(5)), spec.text


def test_samples_stand_on_both_sides_of_every_boundary() -> None:
    of = domain(archlang.compile(SPECS / "unet.arch", entry="unet").program)
    sizes = sample(of, 60)
    inside = [s for s in sizes if of.contains(s)]
    assert 20 <= len(inside) <= 40
    for name in ("H", "W"):
        assert {s[name] % 16 for s in sizes} >= {0, 1, 15}
