"""Receptive fields against the gradient of one output, depth and longest paths against networks counted by hand."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.loading import instantiate

EXTENT = 96
NETS = {
    "one": "x -> conv(2, 3, padding=1)",
    "even": "x -> conv(2, 4, padding=1)",
    "strides": "x -> conv(2, 3, stride=2, padding=1) -> conv(2, 5, stride=2, padding=2) -> conv(2, 3)",
    "dilated": "x -> conv(2, 3, padding=2, dilation=2) -> conv(2, 3, padding=4, dilation=4)",
    "pooled": "x -> conv(2, 3, padding=1) -> avgpool(2) -> conv(2, 3, padding=1) -> avgpool(3, stride=2, padding=1)",
    "oblong": "x -> conv(2, [3, 7], stride=[1, 2], padding=[1, 3]) -> conv(2, [5, 1])",
    "transposed": "x -> conv(2, 3, stride=2, padding=1) -> conv_transpose(2, 2, stride=2) -> conv(2, 3, padding=1)",
    "enlarged": "x -> avgpool(2) -> interpolate(scale_factor=2) -> conv(2, 3, padding=1)",
    "smooth": 'x -> interpolate(scale_factor=2, mode="bilinear")',
    "residual": "x + (x -> conv(3, 3, padding=1) -> relu -> conv(3, 3, padding=1))",
    "branches": "concat([x -> conv(2, 7, padding=3), x -> conv(2, 3, padding=1) -> conv(2, 3, padding=1)])",
    "shuffled": "x -> space_to_depth(2) -> conv(8, 3, padding=1) -> pixel_shuffle(2)",
    "repeated": "x -> chain([conv(3, 3, padding=1) for _ in 0..9])",
    "lopsided": "x -> conv(2, 3, padding=[[2, 0], [0, 2]])",
}


def spec(body: str) -> str:
    return f"block net()(x: [1, 3, {EXTENT}, {EXTENT}]) {{\n    return {body}\n}}\n"


def seen(text: str) -> list[int]:
    """The largest extent of an output's gradient, over all outputs near the middle."""
    module = instantiate(archlang.compile(text, entry="net")).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.1)
    x = torch.rand(1, 3, EXTENT, EXTENT, requires_grad=True)
    y = module(x).sum((0, 1))
    extents = [0, 0]
    for i in range(y.shape[0] // 2 - 2, y.shape[0] // 2 + 3):
        for j in range(y.shape[1] // 2 - 2, y.shape[1] // 2 + 3):
            (gradient,) = torch.autograd.grad(y[i, j], x, retain_graph=True)
            hit = gradient.abs().sum((0, 1)) > 0
            for dim, line in enumerate((hit.any(1), hit.any(0))):
                places = line.nonzero()
                extents[dim] = max(extents[dim], int(places.max() - places.min()) + 1)
    return extents


@pytest.mark.parametrize("name", NETS)
def test_field(name: str) -> None:
    text = spec(NETS[name])
    reach = cost(archlang.compile(text, entry="net").program).reach
    assert reach is not None and not reach.whole
    assert [w.size for w in reach.windows] == seen(text)


@pytest.mark.parametrize(
    "body",
    [
        "x -> conv(2, 3) -> global_avgpool",
        "x -> conv(2, 3) -> flatten -> linear(4)",
        "x * (x -> global_avgpool(keepdim=true) -> conv(3, 1) -> sigmoid) -> conv(2, 3)",
        "x -> groupnorm(1) -> conv(2, 3)",
    ],
)
def test_whole_input(body: str) -> None:
    if "*" in body:
        body = f"({body.rpartition(' -> ')[0]}) -> conv(2, 3)"
    reach = cost(archlang.compile(spec(body), entry="net").program).reach
    assert reach is not None and reach.whole
    assert [w.size for w in reach.windows] == [3, 3]


def test_depth_is_that_of_the_longest_path() -> None:
    long = "x -> chain([conv(3, 3, padding=1) for _ in 0..1000]) -> batchnorm -> relu"
    found = cost(archlang.compile(spec(f"({long}) + (x -> conv(3, 1))"), entry="net").program)
    assert found.depth == 1000
    assert found.critical.known == 1000 * 81 * EXTENT**2
    assert found.macs == (1000 * 81 + 9) * EXTENT**2
