"""A typed graph written back as a spec elaborates to an equal one (`benchmarks/unparse.py`: all designs of specs/)."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import archlang
from archlang.cli import main
from archlang.elaborate import elaborate, load
from archlang.ir.graph import Program
from archlang.report.diagnostic import ArchError, Source
from archlang.unparse import to_arch
from tests.random_specs.strategy import Spec, specs
from tests.unparse.same import differences


def elaborated(text: str) -> Program:
    return elaborate(load(Source("net.arch", text)), None, {}).program


def again(program: Program) -> Program:
    return elaborated(to_arch(program))


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("resnet", "resnet18"),
        ("vit", "vit_tiny_patch16_224"),
        ("inception_v3", "inception_v3"),  # a result in training only
        ("fractalnet", "fractalnet"),  # phases
        ("revcol", "revcol_micro"),  # new streams, context
        ("crevnet", "crevnet"),  # an inverse
        ("llama", "llama_small"),  # modules that are lent
        ("hypernetworks", "hyper_resnet"),
        ("recursive_autoencoder", "recursive_autoencoder"),  # one instance at inputs of two types
        ("lite_hrnet", "naive_lite_hrnet_18"),
    ],
)
def test_a_published_network_comes_back_equal(spec: str, entry: str) -> None:
    program = archlang.compile(f"specs/{spec}.arch", entry).program
    assert list(differences(program, again(program))) == []


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(spec=specs())
def test_a_random_network_comes_back_equal(spec: Spec) -> None:
    program = elaborated(spec.text)
    assert list(differences(program, again(program))) == []


def test_what_is_compared_can_differ() -> None:
    text = "block net(x: [B, 3, H, W]) { return x -> a: conv(4, 3, padding=1) -> relu }"
    program = elaborated(text)
    assert list(differences(program, elaborated(text.replace("relu", "gelu"))))
    assert list(differences(program, elaborated(text.replace("padding=1", "padding=0"))))
    assert list(differences(program, elaborated(text.replace("a:", "b:"))))


TEXT = """\
## A unit.
block unit(f: module)(x, s) { return x + f(x) * s }

block net(image: [B, 3, 2*h, W]) -> [B, 5] where W % 4 == 0 {
    c = "shared.0": conv(8, 1)
    x = image -> stem: conv(8, [3, 5], padding=[1, 2], bias=false)
    weight gain as "layer.gain": [1, 8, 1, 1] = normal(std=0.5), frozen
    x = (x, gain) -> a: unit(c)
    x = x -> "again": c
    if training { x = x -> dropout(0.5) } else { x = 0.9 * x }
    x = x[:, :, 1:-1] ** 2 - 1
    x = x -> rearrange("b (c r) h w -> b c (h r) w", r=2)
    return x -> body: chain([conv(4, 1, bias=false) for _ in 0..3]) -> global_avgpool -> fc: linear(5)
}
"""

WRITTEN = """\
## A unit.
block unit_2(f: module)(x: [B, 8, H, W], s: [1, 8, 1, 1]) {
    return x + ((x -> f) * s)
}

block net(image: [B, 3, 2 * h, W]) where W % 4 == 0 {
    x = image -> stem: conv(8, [3, 5], padding=[1, 2], bias=false)
    weight gain as "layer.gain": [1, 8, 1, 1] = normal(std=0.5), frozen
    shared_0 = "shared.0": conv(8, 1)
    _ = again: shared_0
    x_2 = (x, gain) -> a: unit_2(shared_0)
    x_3 = x_2 -> shared_0
    if training {
        x_4 = x_3 -> dropout
    }
    if not training {
        x_5 = 0.9 * x_3
    }
    if training { phase = x_4 } else { phase = x_5 }
    x_6 = (phase[:, :, 1:-1] ** 2) - 1
    x_7 = x_6 -> rearrange("b (c r) h w -> b c (h r) w", r=2)
    return x_7 -> body: chain([conv(4, 1, bias=false), conv(4, 1, bias=false), conv(4, 1, bias=false)])
        -> global_avgpool -> fc: linear(5)
}
"""


def test_the_text_reads_well() -> None:
    program = elaborated(TEXT)
    assert list(differences(program, again(program))) == []
    assert to_arch(program) == WRITTEN


FAMILY = """\
let he = kaiming_normal(mode="fan_out")

## Narrow inside.
block unit(width: int, stride: int = 1, drop: float = 0.0)(x) {
    y = x -> a: conv(width, 1, stride, init=he) -> norm: batchnorm -> relu
        -> b: conv(width, 3, padding=1, groups=width, init=he) -> c: conv(4 * width, 1, init=he) -> dropout(drop)
    if stride != 1 or x.channels != 4 * width { x = x -> short: (conv(4 * width, 1, stride) -> batchnorm) }
    return (x + y) -> relu
}

block dense(_ layers: [module])(x) {
    seen = [x]
    for layer in layers { seen += [layer(concat(seen))] }
    return concat(seen)
}

fn layers(n: int) => ["layer{i + 1}": (conv(12, 1, bias=false) -> relu) for i in 0..n]
fn small(n: int) => ["layer{i + 1}": conv(12, 1, bias=false) for i in 0..n]

block net(x: [B, 3, H, W]) {
    x = x -> stem: conv(16, 3, padding=1)
    x = x -> one: chain([unit(16, drop=0.1), unit(16), unit(16)]) -> d1: dense(small(3))
    x = x -> two: chain([unit(24, 2), unit(24, drop=0.1), unit(24)]) -> d2: dense(small(4))
    x = x -> three: chain([unit(40, 2), unit(40), unit(40)]) -> d3: dense(layers(3))
    return x -> global_avgpool -> fc: linear(5)
}
"""

FAMILY_WRITTEN = """\
let conv_init = kaiming_normal(mode="fan_out")

## Narrow inside.
block unit_2(width: int, stride: int, drop: float)(x: [B, _, H, W]) {
    y = x -> a: conv(width, 1, stride=stride, init=conv_init) -> norm: batchnorm -> relu
        -> b: conv(width, 3, padding=1, groups=width, init=conv_init) -> c: conv(4 * width, 1, init=conv_init)
        -> dropout(p=drop)
    x = x -> short: (conv(4 * width, 1, stride=stride) -> batchnorm)
    return (x + y) -> relu
}

## Narrow inside.
block unit_3(width: int, drop: float)(x: [B, _, H, W]) {
    y = x -> a: conv(width, 1, init=conv_init) -> norm: batchnorm -> relu
        -> b: conv(width, 3, padding=1, groups=width, init=conv_init) -> c: conv(4 * width, 1, init=conv_init)
        -> dropout(p=drop)
    return (x + y) -> relu
}

block dense(count: int)(x: [B, _, H, W]) {
    seen = [x]
    for i in 0..count { seen += [concat(seen) -> "layer{i + 1}": conv(12, 1, bias=false)] }
    return concat(seen)
}

block dense_2(x: [B, 160, H, W]) {
    seen = [x]
    for i in 0..3 { seen += [concat(seen) -> "layer{i + 1}": (conv(12, 1, bias=false) -> relu)] }
    return concat(seen)
}

block net(x: [B, 3, H, W]) {
    x = x -> stem: conv(16, 3, padding=1)
    x = x -> one: chain([unit_2(16, stride=1, drop=0.1), *[unit_3(16, drop=0.0) for _ in 0..2]]) -> d1: dense(3)
    x = x -> two: chain([unit_2(24, stride=2, drop=0.0), unit_3(24, drop=0.1), unit_3(24, drop=0.0)])
        -> d2: dense(4)
    x = x -> three: chain([unit_2(40, stride=2, drop=0.0), *[unit_3(40, drop=0.0) for _ in 0..2]]) -> d3: dense_2
    return x -> global_avgpool -> fc: linear(5)
}
"""


def test_blocks_that_differ_in_numbers_are_one_block() -> None:
    program = elaborated(FAMILY)
    assert list(differences(program, again(program))) == []
    assert to_arch(program) == FAMILY_WRITTEN


LEVELS = """\
block up(width: int, level: int)(p, q) {
    p = p -> "at.{level}.conv": conv(width, 1, stride = level + 1)
    return p + (q -> resize: conv(width, 1) -> interpolate(p))
}

block net(a: [B, 4, H, W], b: [B, 6, H2, W2], c: [B, 8, H3, W3]) {
    y = (b, c) -> one: up(8, 1)
    return (a, y) -> two: up(12, 0)
}
"""

LEVELS_WRITTEN = """\
block up(level: int, width: int, stride: int)(p: [B, _, H, W], q: [B, 8, H2, W2]) {
    p = p -> "at.{level}.conv": conv(width, 1, stride=stride)
    resize = q -> resize: conv(width, 1)
    return p + interpolate(resize, p)
}

block net(a: [B, 4, H, W], b: [B, 6, H2, W2], c: [B, 8, H3, W3]) {
    y = (b, c) -> one: up(1, width=8, stride=2)
    return (a, y) -> two: up(0, width=12, stride=1)
}
"""


def test_numbers_in_labels_and_names_of_sizes_may_differ() -> None:
    program = elaborated(LEVELS)
    assert list(differences(program, again(program))) == []
    assert to_arch(program) == LEVELS_WRITTEN


def test_the_command_writes_a_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "back.arch"
    assert main(["compile", "specs/resnet.arch", "-e", "resnet18", "--emit", "arch", "-o", str(out)]) == 0
    assert main(["check", str(out)]) == 0
    assert "no mistakes found" in capsys.readouterr().out


def test_what_a_spec_cannot_say_by_itself_is_refused() -> None:
    text = 'extern block e()(x: [B, 3]) -> [B, 3] = "torch.nn:Identity"\nblock net(x: [B, 3]) { return x -> e }'
    with pytest.raises(ArchError) as error:
        to_arch(elaborated(text))
    assert error.value.diagnostics[0].code == "ARC0810"
