"""`at`, `only` and `pick`: bit for bit beside specs of the smaller network, and beside layers run by hand in torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import archlang
from archlang.report.diagnostic import ArchError
from tests.transform.same import applied, randomised

GENERATOR = torch.Generator().manual_seed(1)


@pytest.mark.parametrize("head", [0, 2])
def test_a_nest_pruned_at_a_head(head: int) -> None:
    given = {"entry": "unetpp", "widths": [2, 4, 4, 4, 4]}
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=GENERATOR)
    net = randomised(archlang.build("specs/unetpp.arch", **given))
    module, _ = applied("specs/unetpp.arch", [f"only({head})"], [x], net, **given)
    small = archlang.build("specs/unetpp.arch", **given, levels=head + 1, supervised=False).double().eval()
    small.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(module(x), net(x)[head])
        assert torch.equal(module(x), small(x)[0])
        torch.testing.assert_close(module(x), nest_by_hand(net, x, head + 1), rtol=1e-12, atol=1e-12)


def nest_by_hand(net: torch.nn.Module, x: torch.Tensor, levels: int) -> torch.Tensor:
    """x_{i,j} = node(x_{i,0}, ..., x_{i,j-1}, up(x_{i+1,j-1})), of nodes with i + j <= levels (Zhou et al., 2018)."""

    def node(x: torch.Tensor, name: str) -> torch.Tensor:
        for layer in getattr(net, name).children():
            x = F.conv2d(x, layer.weight, layer.bias, padding=1).relu() if isinstance(layer, torch.nn.Conv2d) else x
        return x

    rows = [[node(x, "x00")]]
    for i in range(1, levels + 1):
        rows.append([node(F.max_pool2d(rows[-1][0], 2), f"x{i}0")])
    for j in range(1, levels + 1):
        for i in range(levels + 1 - j):
            up = getattr(net, f"up{i}{j}")
            grown = F.conv_transpose2d(rows[i + 1][j - 1], up.weight, up.bias, stride=2)
            rows[i].append(node(torch.cat([*rows[i], grown], 1), f"x{i}{j}"))
    score = getattr(net, f"output{levels}")[0]
    return F.conv2d(rows[0][levels], score.weight, score.bias).sigmoid()


@pytest.mark.parametrize("column", [0, 1])
def test_a_column_of_a_fractal_network(column: int) -> None:
    given = {"entry": "fractalnet", "widths": [4, 6], "columns": 2}
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=GENERATOR)
    net = randomised(archlang.build("specs/fractalnet.arch", **given))
    module, made = applied("specs/fractalnet.arch", [f'pick("**.drop_join*", {column - 2})'], [x], net, **given)
    plain = archlang.build("specs/fractalnet.arch", "fractalnet_column", column=column, widths=[4, 6]).double().eval()
    plain.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(module(x), plain(x))
        y = x
        for unit in (net.unit1, net.unit2):  # a column of 2**c layers, then a maximum
            for layer in (unit.layer,) if column == 0 else (unit.first.layer, unit.second.layer):
                y = F.conv2d(y, layer.conv.weight, padding=1)
                y = F.batch_norm(y, layer.bn.running_mean, layer.bn.running_var, layer.bn.weight, layer.bn.bias).relu()
            y = F.max_pool2d(y, 2)
        torch.testing.assert_close(module(x), net.output(y.mean((2, 3))), rtol=1e-12, atol=1e-12)
    counted = made.result.effects[0].text
    assert counted.startswith(f"input {column - 2} in place of {2 if column == 0 else 4} layers")


SPEC = """
block unit(width: int)(x) {
    y = x -> conv: conv(width, 3, padding=1) -> norm: batchnorm
    inner = y -> relu
    return inner + (inner -> side: conv(width, 1)), inner
}
block net(x: [B, 3, H, W]) {
    for i in 0..3 { x, _inner = x -> "layers.{i}": unit(4 + 2 * i) }
    aux = x -> aux: conv(2, 1) -> global_avgpool
    deep = x -> global_avgpool -> head: linear(5)
    return logits=deep, features=x, training aux=aux
}
"""


def by_hand(net: torch.nn.Module, x: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    inner = x
    for unit in net.layers[:count]:
        inner = torch.relu(unit.norm(unit.conv(x)))
        x = inner + unit.side(inner)
    return x, inner


def test_ends() -> None:
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=GENERATOR)
    net = randomised(archlang.build(SPEC))
    whole, early = by_hand(net, x, 3), by_hand(net, x, 2)
    expected = {
        "only(0)": (net.head(whole[0].mean((2, 3))),),
        'only("aux")': (net.aux(whole[0]).mean((2, 3)),),
        'at("layers.1.inner")': early[1:],
        'at("layers.1.norm")': (early[1],),
        'at("layers")': whole,
    }
    for call, results in expected.items():
        module, _ = applied(SPEC, [call], [x], net)
        with torch.no_grad():
            found = module(x)
        found = found if isinstance(found, tuple) else (found,)
        assert len(found) == len(results)
        for a, b in zip(found, results, strict=True):
            a = torch.relu(a) if "norm" in call else a
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    module, _ = applied(SPEC, ['at("layers.1.norm")'], [x], net)
    kept = {"layers.0.conv", "layers.0.norm", "layers.0.side", "layers.1.conv", "layers.1.norm"}
    assert {key.rpartition(".")[0] for key in module.state_dict()} == kept


def test_sizes_that_only_what_is_gone_needs() -> None:
    """The stride of the second layer needs even sizes; the first alone takes any."""
    spec = """
    block net(x: [B, 3, H, W]) {
        y = x -> a: conv(4, 1)
        return y + (y -> maxpool(2) -> b: conv(4, 1) -> interpolate(scale_factor=2))
    }
    """
    assert archlang.compile(spec).program.root.constraints
    assert not archlang.apply(spec, 'at("a")').program.root.constraints


def test_a_second_name_of_a_layer_that_is_gone() -> None:
    """What follows the end has two names, which do not keep it."""
    spec = """
    block unit(x) { return x -> conv: conv(4, 3, padding=1) -> relu }
    block net(x: [B, 3, H, W]) {
        x = x -> stem: conv(4, 1)
        for k in 0..2 {
            shared = "blocks.{2 * k}": unit()
            x = x -> shared -> "blocks.{2 * k + 1}": shared
        }
        return x -> global_avgpool -> head: linear(5)
    }
    """
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=GENERATOR)
    net = randomised(archlang.build(spec, "net"))
    module, _ = applied(spec, ['at("blocks.0")'], [x], net, entry="net")
    assert {key.rpartition(".")[0] for key in module.state_dict()} == {"stem", "blocks.0.conv", "blocks.1.conv"}
    with torch.no_grad():
        y = net.stem(x)
        for _ in range(2):
            y = getattr(net.blocks, "0").conv(y).relu()
        torch.testing.assert_close(module(x), y, rtol=1e-12, atol=1e-12)


def test_what_is_lent_to_a_block_is_no_end() -> None:
    spec = """
    block twice(_ layer: module)(x) { return x -> layer -> layer }
    block net(x: [B, 4]) {
        let inner = "inner": (linear(4) -> relu)
        return x -> twice(inner) -> head: linear(2)
    }
    """
    with pytest.raises(ArchError) as error:
        archlang.apply(spec, 'at("inner.0")', entry="net")
    assert [d.code for d in error.value.diagnostics] == ["ARC0866"]
    with pytest.raises(ArchError) as error:
        archlang.apply(spec, 'word("inner", [0])', entry="net")
    assert [d.code for d in error.value.diagnostics] == ["ARC0866"]
