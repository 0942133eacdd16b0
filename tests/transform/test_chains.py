"""`shallow`, `word` and `prefix` beside networks written by hand, and beside specs that say the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import archlang
from archlang.ir.text import graph_text, to_text
from tests.transform.same import applied, randomised

SPEC = """
block unit(width: int)(x) {
    return x + (x -> conv1: conv(width, 3, padding=1) -> norm: batchnorm -> relu -> conv2: conv(width, 3, padding=1))
}
block twice(width: int)(x) {
    y = x + (x -> first: conv(width, 1) -> relu)
    return y + (y -> second: conv(width, 1))
}
block net(layers: int = 5)(x: [B, 3, H, W]) -> [B, 5] {
    x = x -> stem: conv(8, 3, padding=1)
    x = x -> body: chain([unit(8) for _ in 0..layers])
    for i in 0..3 { x = x + (x -> "side.{i}": conv(8, 1)) }
    x = x -> "deep": chain([twice(8) for _ in 0..2])
    x = x -> a: unit(8) -> b: unit(8) -> down: conv(12, 1)
    return x -> global_avgpool -> head: linear(5)
}
"""
X = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def trained() -> nn.Module:
    return randomised(archlang.build(SPEC))


def branch(unit: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return unit.conv2(torch.relu(unit.norm(unit.conv1(x))))


def rest(net: nn.Module, x: torch.Tensor, begin: str = "side") -> torch.Tensor:
    """What follows the body, as the spec has it."""
    if begin == "side":
        for layer in net.side:
            x = x + layer(x)
    if begin != "deep":
        for layer in net.deep:
            y = x + torch.relu(layer.first(x))
            x = y + layer.second(y)
    for unit in (net.a, net.b):
        x = x + branch(unit, x)
    return net.head(net.down(x).mean((2, 3)))


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def by_hand(net: nn.Module, word: list[int]) -> torch.Tensor:
    x = net.stem(X)
    for letter in word:
        x = x + branch(net.body[letter], x)
    return rest(net, x)


def test_the_networks_by_hand_are_the_specs() -> None:
    with torch.no_grad():
        close(by_hand(trained(), [0, 1, 2, 3, 4]), trained()(X))


@pytest.mark.parametrize("word", [[0, 1, 1, 3, 2], [4], [2, 2, 2, 0], [0, 1, 2, 3, 4]])
def test_word(word: list[int]) -> None:
    net = trained()
    module, made = applied(SPEC, [f'word("body", {word})'], [X], net)
    with torch.no_grad():
        close(module(X), by_hand(net, word))
    keys = {key for key in net.state_dict() if not key.startswith("body.") or int(key.split(".")[1]) in word}
    assert module.state_dict().keys() == keys
    assert ("the same function" in made.result.effects[0].text) == (word == [0, 1, 2, 3, 4])


def test_a_word_over_labels() -> None:
    net = trained()
    module, _ = applied(SPEC, ['word(["a", "b"], [1, 1, 0])'], [X], net)
    with torch.no_grad():
        x = net.stem(X)
        for i in range(5):
            x = x + branch(net.body[i], x)
        x = net.deep(sided(net, x))
        for unit in (net.b, net.b, net.a):
            x = x + branch(unit, x)
        close(module(X), net.head(net.down(x).mean((2, 3))))


def sided(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    for layer in net.side:
        x = x + layer(x)
    return x


def test_prefix_is_the_shallower_spec() -> None:
    net = trained()
    module, made = applied(SPEC, ['prefix("body", 2)'], [X], net)
    other = randomised(archlang.build(SPEC, layers=2))
    other.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(module(X), other(X))
    graphs = [made.program.graphs, archlang.compile(SPEC, layers=2).program.graphs]
    assert [graph_text(g) for g in graphs[0][:-1]] == [graph_text(g) for g in graphs[1][:-1]]


def test_shallow_chain() -> None:
    net = trained()
    module, _ = applied(SPEC, ['shallow("body")'], [X], net)
    with torch.no_grad():
        x = net.stem(X)
        close(module(X), rest(net, x + sum(branch(unit, x) for unit in net.body)))
    assert module.state_dict().keys() == net.state_dict().keys()


def test_shallow_layers_of_two_sums() -> None:
    net = trained()
    module, _ = applied(SPEC, ['shallow("deep")'], [X], net)
    with torch.no_grad():
        x = net.stem(X)
        for unit in net.body:
            x = x + branch(unit, x)
        x = sided(net, x)
        total = x
        for layer in net.deep:
            y = torch.relu(layer.first(x))
            total = total + y + layer.second(x + y)
        close(module(X), rest(net, total, "deep"))


def test_shallow_sums_beside_the_layers() -> None:
    net = trained()
    module, _ = applied(SPEC, ['shallow("side")'], [X], net)
    with torch.no_grad():
        x = net.stem(X)
        for unit in net.body:
            x = x + branch(unit, x)
        close(module(X), rest(net, x + sum(layer(x) for layer in net.side), "sided"))


def test_one_transform_after_the_other() -> None:
    net = trained()
    module, made = applied(SPEC, ['word("body", [0, 3, 3])', 'shallow("body")', 'prefix("deep", 1)'], [X], net)
    with torch.no_grad():
        x = net.stem(X)
        x = x + branch(net.body[0], x) + branch(net.body[3], x) + branch(net.body[3], x)
        x = sided(net, x)
        y = x + torch.relu(net.deep[0].first(x))
        close(module(X), rest(net, y + net.deep[0].second(y), "deep"))
    assert len(made.result.effects) == 3


def test_the_given_program_stays() -> None:
    before = archlang.compile(SPEC)
    archlang.apply(SPEC, 'shallow("body")')
    assert to_text(before.program) == to_text(archlang.compile(SPEC).program)


def test_one_instance_of_several() -> None:
    """A graph that two instances run is copied for the one that changes."""
    spec = """
    block unit(x) { return x + (x -> conv: conv(4, 1)) }
    block stage(x) { return x -> body: chain([unit() for _ in 0..3]) }
    block net(x: [B, 4, H, W]) { return x -> stages: chain([stage() for _ in 0..4]) }
    """
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    net = randomised(archlang.build(spec))
    module, _ = applied(spec, ['word("stages.2.body", [2, 0])', 'word("stages", [0, 2, 3])'], [x], net)
    with torch.no_grad():
        y = x
        for s, layers in ((0, [0, 1, 2]), (2, [2, 0]), (3, [0, 1, 2])):
            for i in layers:
                y = y + net.stages[s].body[i].conv(y)
        close(module(x), y)
