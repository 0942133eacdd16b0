"""The connection schemes of the library: each computes its equation, over any layers."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archlang
from archlang.analyze import cost

USES = (
    "use std.schemes: residual, pre_activation, padded_residual, hierarchical, dual_path, sparse_dense\n"
    "use std.schemes: fractal, fractal_column, drop_join\n"
)


def net(body: str, inputs: str = "x: [B, 8, 5, 5]") -> nn.Module:
    text = f"{USES}block net({inputs}) {{\n{textwrap.dedent(body)}\n}}\n"
    module: nn.Module = archlang.build(text, entry="net").double()
    return module


def image(channels: int = 8, batch: int = 2) -> Tensor:
    return torch.randn(batch, channels, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def equal(ours: Tensor, theirs: Tensor) -> bool:
    return bool(torch.allclose(ours, theirs, rtol=0, atol=1e-12))


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_residual(scale: float) -> None:
    m: Any = net(f"return x -> r: residual(conv(8, 1), {scale})")
    assert equal(m(image()), image() + scale * m.r.f(image()))


def test_residual_of_tokens() -> None:
    m: Any = net("return t -> r: residual(linear(6))", "t: [B, T, 6]")
    t = torch.randn(2, 3, 6, dtype=torch.float64)
    assert equal(m(t), t + m.r.f(t))


def test_pre_activation() -> None:
    m: Any = net("return x -> r: pre_activation(c: conv(8, 3, padding=1) -> relu, n: batchnorm)").eval()
    assert equal(m(image()), image() + torch.relu(m.r.c(m.r.n(image()))))
    m = net("return x -> r: pre_activation(c: conv(4, 1, 2) -> relu, n: batchnorm, p: conv(4, 1, 2))").eval()
    h = m.r.n(image())
    assert equal(m(image()), m.r.p(h) + torch.relu(m.r.c(h)))


def test_padded_residual() -> None:
    m: Any = net("return x -> r: padded_residual(c: conv(12, 1, 2) -> relu, avgpool(2, 2, ceil_mode=true))")
    y = torch.relu(m.r.c(image()))
    pooled = nn.functional.avg_pool2d(image(), 2, 2, ceil_mode=True)
    assert equal(m(image())[:, :8], (y[:, :8] + pooled)) and equal(m(image())[:, 8:], y[:, 8:])


@pytest.mark.parametrize("linked", [True, False])
def test_hierarchical(linked: bool) -> None:
    layers = "[a: conv(2, 1), b: conv(2, 1), c: conv(2, 1)]"
    m: Any = net(f"return x -> r: hierarchical({layers}, linked={str(linked).lower()})")
    one, two, three, four = image().chunk(4, 1)
    a = m.r.a(one)
    b = m.r.b(two + a if linked else two)
    c = m.r.c(three + b if linked else three)
    assert equal(m(image()), torch.cat([a, b, c, four], 1))


def test_dual_path() -> None:
    m: Any = net("return x -> a: dual_path(f: conv(7, 1), 5, p: conv(9, 1)) -> b: dual_path(f: conv(6, 1), 5)")
    paths, y = m.a.p(image()), m.a.f(image())
    h = torch.cat([paths[:, :5] + y[:, :5], paths[:, 5:], y[:, 5:]], 1)
    y = m.b.f(h)
    assert equal(m(image()), torch.cat([h[:, :5] + y[:, :5], h[:, 5:], y[:, 5:]], 1))


def test_dual_path_of_tokens() -> None:
    m: Any = net("return t -> a: dual_path(f: linear(4), 3, dim=-1)", "t: [B, T, 6]")
    t = torch.randn(2, 3, 6, dtype=torch.float64)
    y = m.a.f(t)
    assert equal(m(t), torch.cat([t[..., :3] + y[..., :3], t[..., 3:], y[..., 3:]], -1))


@pytest.mark.parametrize("base", [2, 3])
def test_sparse_dense(base: int) -> None:
    """Layer l, counted from one, sees the outputs l - 1, l - b, l - b^2, ...: by brute force."""
    count = 9
    m: Any = net(f"return x -> s: sparse_dense([conv(3, 1) for _ in 0..{count}], base={base})")
    outputs = [image()]
    for number in range(1, count + 2):
        seen = [outputs[number - base**i] for i in range(count) if base**i <= number]
        fed = torch.cat(seen, 1)
        if number <= count:
            outputs.append(getattr(m.s, str(number - 1))(fed))
    assert equal(m(image()), fed)


UNIT = "chain([conv(8, 3, padding=1, bias=false), batchnorm, relu])"


def whole(columns: int, p: float) -> Any:
    body = f"return (x; column) -> f: fractal({columns}, fn() => {UNIT}, fn() => drop_join({p}, {columns}))"
    return net(body, "x: [B, 8, 5, 5]; column: i64[B]")


def chosen(column: int, batch: int = 2) -> Tensor:
    return torch.full((batch,), column)


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
def test_size_of_a_fractal(columns: int) -> None:
    text = f"{USES}block net(x: [B, 8, 5, 5]) {{ return x -> f: fractal({columns}, fn() => conv(8, 1)) }}\n"
    found = cost(archlang.compile(text, entry="net").program)
    assert found.parameters.parameters == (2**columns - 1) * (8 * 8 + 8)
    assert found.depth == 2 ** (columns - 1)


def test_fractal() -> None:
    m: Any = net("return x -> f: fractal(3, fn() => conv(8, 1))")
    f = m.f
    half = (f.first.layer(image()) + f.first.second.layer(f.first.first.layer(image()))) / 2
    ends = [f.layer(image()), f.second.layer(half), f.second.second.layer(f.second.first.layer(half))]
    assert equal(m(image()), (ends[0] + ends[1] + ends[2]) / 3)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_fractal_on_one_column_is_the_column(column: int) -> None:
    fractal = whole(3, 0.5).train()
    alone = net(f"return x -> f: fractal_column({column}, fn() => {UNIT})").train()
    state = fractal.state_dict()
    alone.load_state_dict({key: state[key] for key in alone.state_dict()}, strict=True)
    x = image().requires_grad_()
    expected, result = alone(x), fractal(x, chosen(column))
    assert equal(result, expected)
    (ours,), (theirs,) = (torch.autograd.grad(y.square().sum(), x) for y in (result, expected))
    assert equal(ours, theirs)


def test_global_drop_path_goes_by_sample() -> None:
    fractal = whole(3, 0.5).train()
    for module in fractal.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    x = image(batch=3)
    mixed = fractal(x, torch.tensor([0, 1, 2]))
    for column in range(3):
        assert equal(mixed[column], fractal(x, chosen(column, 3))[column])


def joined(p: float, batch: int) -> Tensor:
    """What a join of three inputs in {1, 2, 4} gives for each sample, in training with local drop-path."""
    m = net(
        f"return drop_join({p}, 3)(a, b, c; column)",
        "a: [B, 1, 1], b: [B, 1, 1], c: [B, 1, 1]; column: i64[B]",
    ).train()
    inputs = [torch.full((batch, 1, 1), value, dtype=torch.float64) for value in (1.0, 2.0, 4.0)]
    result: Tensor = m(*inputs, chosen(-1, batch)).flatten()
    return result


def test_local_drop_path() -> None:
    torch.manual_seed(0)
    batch, p = 20_000, 0.4
    found = joined(p, batch)
    kept: dict[float, float] = dict.fromkeys((1.0, 2.0, 4.0), p**3 / 3)  # where all are dropped, one comes back
    for mask in range(1, 8):
        inputs = [value for i, value in enumerate((1.0, 2.0, 4.0)) if mask >> i & 1]
        mean = sum(inputs) / len(inputs)
        kept[mean] = kept.get(mean, 0.0) + (1 - p) ** len(inputs) * p ** (3 - len(inputs))
    for mean, chance in kept.items():
        assert abs(float((found - mean).abs().lt(1e-9).double().mean()) - chance) < 0.02, mean
    assert abs(sum(kept.values()) - 1) < 1e-9


def test_nothing_is_dropped_at_rate_zero_and_in_evaluation() -> None:
    assert equal(joined(0.0, 4), torch.full((4,), 7 / 3, dtype=torch.float64))
    fractal = whole(3, 0.9).eval()
    with torch.no_grad():
        assert torch.equal(fractal(image(), chosen(0)), fractal(image(), chosen(-1)))
