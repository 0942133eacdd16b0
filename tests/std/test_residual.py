"""One branch beside one stream: each scheme computes its equation, and starts where its paper says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import archlang
from tests.std.nets import equal, net, randomised, tokens

USES = (
    "use std.residual: post_norm, deep_norm, pre_norm, branch_norm, sandwich, peri_norm, rezero, layer_scale\n"
    "use std.residual: depth_scaled, normalizer_free, highway, laurel, laurel_stack, weighted_sum\n"
    "use std.schemes: residual, parallel\n"
)


def built(scheme: str, inputs: str = "x: [B, T, 8]") -> Any:
    return randomised(net(USES, f"return x -> r: {scheme}", inputs))


def norm(x: Tensor, layer: Any) -> Tensor:
    return F.layer_norm(x, (8,), layer.weight, layer.bias)


def test_post_norm() -> None:
    m, x = built("post_norm(linear(8))"), tokens()
    assert equal(m(x), norm(x + m.r.f(x), m.r.norm))


def test_deep_norm() -> None:
    m, x = built("deep_norm(linear(8), (2 * 6) ** 0.25)"), tokens()
    assert equal(m(x), norm(12**0.25 * x + m.r.f(x), m.r.norm))


def test_pre_norm() -> None:
    m, x = built("pre_norm(linear(8))"), tokens()
    assert equal(m(x), x + m.r.f(norm(x, m.r.norm)))


def test_pre_norm_of_images() -> None:
    m, x = built("pre_norm(conv(8, 3, padding=1), bn: batchnorm)", "x: [B, 8, H, W]"), tokens(2, 8, 5, 5)
    assert equal(m(x), x + m.r.f(m.r.bn(x)))


def test_branch_norm() -> None:
    m, x = built("branch_norm(linear(8))"), tokens()
    assert equal(m(x), x + norm(m.r.f(x), m.r.norm))


def test_sandwich() -> None:
    m, x = built("sandwich(linear(8))"), tokens()
    assert equal(m(x), x + norm(m.r.f(norm(x, m.r.before)), m.r.after))


def test_peri_norm() -> None:
    m, x = built("peri_norm([linear(8) for _ in 0..3])"), tokens()
    y = norm(x, m.r.embedding)
    for i in "123":
        layer = m.r.get_submodule(i)
        y = y + norm(layer.f(norm(y, layer.before)), layer.after)
    assert equal(m(x), norm(y, m.r.final))


def test_rezero_starts_as_the_identity() -> None:
    fresh = net(USES, "return x -> a: rezero([(linear(8) -> tanh), linear(8)]) -> b: rezero([linear(8)])")
    x = tokens().requires_grad_()
    assert torch.equal(fresh(x), x)
    (jacobian,) = torch.autograd.grad(fresh(x).sum(), x)
    assert torch.equal(jacobian, torch.ones_like(x))


def test_rezero() -> None:
    m, x = built("rezero([a: linear(8), b: linear(8)])"), tokens()
    y = x + m.r.resweight * m.r.a(x)
    assert equal(m(x), y + m.r.resweight * m.r.b(y))


@pytest.mark.parametrize(("dim", "branch", "shape"), [(-1, "linear(8)", (2, 5, 8)), (1, "conv(8, 1)", (2, 8, 5, 5))])
def test_layer_scale(dim: int, branch: str, shape: tuple[int, ...]) -> None:
    scheme, inputs = f"layer_scale({branch}, dim={dim})", "x: [B, T, 8]" if dim < 0 else "x: [B, 8, H, W]"
    m, x = built(scheme, inputs), tokens(*shape)
    assert equal(m(x), x + (m.r.f(x).movedim(dim, -1) * m.r.gamma).movedim(-1, dim))
    assert torch.equal(net(USES, f"return x -> r: {scheme}", inputs).r.gamma, torch.full((8,), 1e-5).double())


def test_depth_scaled() -> None:
    m, x = built("depth_scaled([linear(8) for _ in 0..4])"), tokens()
    y = x
    for i in range(4):
        y = y + m.r[i](y) / 2
    assert equal(m(x), y)


def test_normalizer_free() -> None:
    m, x = built("normalizer_free([linear(8) for _ in 0..3], alpha=0.3, variance=1.5)"), tokens()
    y = x
    for i, gain in enumerate(m.r.gains.parameters()):
        y = y + 0.3 * gain * m.r.get_submodule(str(i))(y / (1.5 + i * 0.09) ** 0.5)
    assert equal(m(x), y)


def test_normalizer_free_streams_grow_as_predicted() -> None:
    """With branches that keep the variance and gains of one, it is 1 + depth * alpha^2."""
    width, depth, alpha = 64, 30, 0.5
    m = net(
        USES,
        f"return x -> r: normalizer_free([linear({width}, bias=false) for _ in 0..{depth}], {alpha})",
        "x: [B, 64]",
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for key, p in m.named_parameters():
            p.copy_(torch.ones(()) if "gains" in key else torch.randn(width, width) / width**0.5)
        found = float(m(torch.randn(500, width, dtype=torch.float64)).var())
    assert abs(found / (1 + depth * alpha**2) - 1) < 0.15


@pytest.mark.parametrize(("dim", "branch", "shape"), [(-1, "linear(8)", (2, 5, 8)), (1, "conv(8, 1)", (2, 8, 5, 5))])
def test_highway(dim: int, branch: str, shape: tuple[int, ...]) -> None:
    inputs = "x: [B, T, 8]" if dim < 0 else "x: [B, 8, H, W]"
    m, x = built(f"highway({branch}, dim={dim})", inputs), tokens(*shape)
    t = m.r.gate(x).sigmoid()
    assert equal(m(x), t * m.r.f(x) + (1 - t) * x)


def test_a_highway_that_is_shut_carries_its_input_on() -> None:
    m, x = built("highway(linear(8))"), tokens()
    with torch.no_grad():
        m.r.gate.bias.fill_(-1e9)
        assert torch.equal(m(x), x)
        m.r.gate.bias.fill_(1e9)
        assert torch.equal(m(x), m.r.f(x))


LAUREL = {
    "rw": "weighted=true",
    "bounded": "weighted=true, bounded=true",
    "lr": "rank=3",
    "pa": "rank=3, own=false, previous=2",
    "rw_lr": "rank=3, weighted=true",
    "lr_pa": "rank=3, previous=3",
    "rw_lr_pa": "rank=3, weighted=true, previous=2",
}


@pytest.mark.parametrize("name", LAUREL)
def test_laurel(name: str) -> None:
    m, x = built(f"laurel_stack([linear(8) for _ in 0..4], {LAUREL[name]})"), tokens()
    previous = {"pa": 2, "lr_pa": 3, "rw_lr_pa": 2}.get(name, 0)
    seen = [x]
    for i in range(4):
        layer, f, now = m.r.get_submodule(str(i)), m.r.branches[i], seen[-1]
        earlier = seen[max(0, i - previous) : i]
        read = sum(g * e for g, e in zip(getattr(layer, "gamma", []), earlier, strict=True))
        if name != "pa":
            read = read + now
        skip = now + (layer.right(layer.left(read)) if "lr" in name or earlier else 0)
        a, b = (layer.mix.softmax(0) if name == "bounded" else layer.mix) if hasattr(layer, "mix") else (1, 1)
        seen.append(a * f(now) + b * skip)
    assert equal(m(x), seen[-1])


@pytest.mark.parametrize("name", ["rw", "lr", "pa", "rw_lr", "lr_pa", "rw_lr_pa"])
def test_laurel_starts_as_a_residual_connection(name: str) -> None:
    m, x = net(USES, f"return x -> r: laurel_stack([linear(8) for _ in 0..4], {LAUREL[name]})"), tokens()
    y = x
    for f in m.r.branches:
        y = y + f(y)
    assert equal(m(x), y)


def test_laurel_of_images() -> None:
    m, x = built("laurel(conv(8, 1), rank=2, dim=1)", "x: [B, 8, H, W]"), tokens(2, 8, 5, 5)
    assert equal(m(x), x + m.r.right(m.r.left(x)) + m.r.f(x))


JOINS = {
    "add": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "fn(xs) => concat(xs, dim=-1)": lambda a, b: torch.cat([a, b], -1),
    "fn(xs) => stack(xs, dim=-2)": lambda a, b: torch.stack([a, b], -2),
}


@pytest.mark.parametrize("join", JOINS)
def test_branches_side_by_side(join: str) -> None:
    m, x = built(f"parallel([a: linear(8), b: linear(8)], {join})"), tokens()
    assert equal(m(x), JOINS[join](m.r.a(x), m.r.b(x)))


def test_branches_side_by_side_with_learned_weights() -> None:
    m, x = built("parallel([a: linear(8), b: linear(8)], weighted_sum)"), tokens()
    (weights,) = (p for key, p in m.named_parameters() if key.endswith("weights"))
    assert equal(m(x), weights[0] * m.r.a(x) + weights[1] * m.r.b(x))


def test_attention_and_mlp_of_one_norm() -> None:
    """GPT-J's layer: x + attention(norm(x)) + mlp(norm(x))."""
    m, x = built("pre_norm(parallel([a: attention(2), b: (linear(16) -> gelu -> linear(8))]))"), tokens()
    h = norm(x, m.r.norm)
    assert equal(m(x), x + m.r.f.a(h) + m.r.f.b(h))


def test_a_rezero_transformer_starts_as_the_identity() -> None:
    spec = Path(__file__).parents[2] / "specs" / "rezero.arch"
    model = archlang.build(spec, "encoder", depth=6, width=8, heads=2, hidden=16).eval()
    x = torch.randn(5, 2, 8)
    assert torch.equal(model(x), x)


def test_a_peri_norm_stream_grows_by_one_a_branch() -> None:
    """Each branch adds a vector of norm sqrt(width), whatever it computes; after pre-norm, no such bound holds."""
    depth, width = 12, 64
    branch = f"linear({width}, bias=false, init=normal(std=1.0))"
    uses = f"use std.residual: sandwich, pre_norm\nfn f() => {branch}"
    torch.manual_seed(0)
    x = torch.randn(50, width, dtype=torch.float64)
    unit = x / x.norm(dim=-1, keepdim=True) * width**0.5
    for scheme, bounded in (("sandwich", True), ("pre_norm", False)):
        m = net(uses, f"return x -> r: chain([{scheme}(f()) for _ in 0..{depth}])", f"x: [B, {width}]")
        grown = m(unit).detach().norm(dim=-1) / width**0.5
        assert bool((grown <= 1 + depth).all()) == bounded
        assert not bounded or abs(float(grown.square().mean()) / (1 + depth) - 1) < 0.3
