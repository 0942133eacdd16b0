"""Repetition becomes a loop where it is one, and stays written out where it is not."""

from __future__ import annotations

import pytest
import torch

import archlang

GROWING = """
block growing(_ layers: [module])(x) {
    for layer in layers { x = concat([x, layer(x)], 1) }
    return x
}
block net()(x: [B, 8, H, W]) {
    for b, depth in enumerate(%s) {
        x = x -> "block{b}": growing(["layer{i + 1}": conv(4, 1) for i in 0..depth])
    }
    return x
}
"""


def test_growing_channels() -> None:
    """One class for all lengths; keys in the order of the spec; values as by hand."""
    net = archlang.build(GROWING % "[3, 5, 4]", entry="net")
    names = [f"block{b}.layer{i + 1}" for b, depth in enumerate((3, 5, 4)) for i in range(depth)]
    assert list(net.state_dict()) == [f"{name}.{weight}" for name in names for weight in ("weight", "bias")]
    x = torch.randn(2, 8, 4, 4)
    expected = x
    for name in names:
        weight, bias = net.get_parameter(f"{name}.weight"), net.get_parameter(f"{name}.bias")
        expected = torch.cat([expected, torch.conv2d(expected, weight, bias)], 1)
    assert torch.equal(net(x), expected)
    text = archlang.compile(GROWING % "[3, 5, 4]", entry="net").source
    assert text.count("class ") == 2
    assert 'self.add_module(f"layer{i + 1}", nn.Conv2d(in_channels + 4 * i, 4, 1))' in text
    assert "in_channels + 4 * layers, H, W]" in text


@pytest.mark.parametrize(
    "body",
    [
        'for i in 0..2 { x = x -> "c{i}": conv(8, 1) }\n return x',  # twice is not often
        'y = x\n for i in 0..3 { y = y -> "c{i}": conv(8, 1)\n if i == 1 { x = y } }\n return x + y',  # read later
        'for i in 0..3 { x = x -> "c{i}": conv(8, [1, 3, 1][i], padding=[0, 1, 0][i]) }\n return x',  # no progression
    ],
)
def test_no_loop(body: str) -> None:
    text = archlang.compile(f"block net()(x: [B, 8, H, W]) {{ {body} }}", entry="net").source
    assert " for " not in text.partition("class ")[2]
