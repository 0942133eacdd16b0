"""Several streams: each scheme computes its equation, and is what its paper proves it to be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import archlang
from archlang.analyze import cost
from tests.std.nets import equal, net, randomised, tokens

USES = (
    "use std.streams: hyper, expanded, manifold_hyper, doubly_stochastic, mudd, ladder, first_value\n"
    "use std.residual: pre_norm\n"
)
BRANCH = "chain([layernorm, linear(16), gelu, linear(8)])"


def pre_norm_chain(branches: list[Any], x: Tensor) -> Tensor:
    for f in branches:
        x = x + f(x)
    return x


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("dynamic", ["true", "false"])
def test_hyper_connections_start_as_pre_norm(n: int, dynamic: str) -> None:
    """Every copy is the stream, so that their sum is n times it: a norm after it sees no factor."""
    m = net(USES, f"return x -> h: expanded([hyper({BRANCH}, {n}, i, {dynamic}) for i in 0..5], {n})")
    x = tokens()
    assert equal(m(x) / n, pre_norm_chain([layer.layer for layer in m.h], x))


def matrix(layer: Any, h: Tensor, i: int) -> tuple[Tensor, Tensor]:
    """alpha [.., n, 1 + n] and beta [.., n] of one layer."""
    z = F.layer_norm(h, (8,), layer.norm.weight, layer.norm.bias)
    a = layer.static_alpha + layer.dynamic_alpha_scale * torch.tanh(z @ layer.dynamic_alpha_fn)
    return a, layer.static_beta + layer.dynamic_beta_scale * torch.tanh(z @ layer.dynamic_beta_fn)


def test_hyper_connections() -> None:
    n = 3
    m = randomised(net(USES, f"return x -> h: expanded([hyper({BRANCH}, {n}, i) for i in 0..4], {n})"))
    x = tokens()
    streams = [x] * n
    for i, layer in enumerate(m.h):
        a, b = matrix(layer, torch.stack(streams, -2), i)
        read = sum(a[..., j, :1] * streams[j] for j in range(n))
        y = layer.layer(read)
        streams = [
            sum(a[..., j, 1 + k : 2 + k] * streams[j] for j in range(n)) + b[..., k : k + 1] * y for k in range(n)
        ]
    assert equal(m(x), sum(streams))


def arranged(alphas: list[list[list[float]]], betas: list[list[float]]) -> tuple[Tensor, list[Any], Tensor]:
    m = net(USES, f"return x -> h: expanded([hyper({BRANCH}, 2, i, false) for i in 0..{len(alphas)}], 2)")
    with torch.no_grad():
        for layer, a, b in zip(m.h, alphas, betas, strict=True):
            layer.static_alpha.copy_(torch.tensor(a))
            layer.static_beta.copy_(torch.tensor(b))
    x = tokens()
    return m(x), [layer.layer for layer in m.h], x


def test_matrices_that_put_layers_in_sequence_or_side_by_side() -> None:
    """Streams that are read, written and kept alike are residual connections, one after the other. If the second of two
    layers reads a stream that the first does not write, they are a parallel block (the paper's duality of both)."""
    found, layers, x = arranged([[[1, 1, 0], [0, 0, 1]]] * 4, [[1, 1]] * 4)
    assert equal(found / 2, pre_norm_chain(layers, x))
    found, (f, g), x = arranged([[[1, 1, 0], [0, 0, 1]], [[0, 1, 0], [1, 0, 1]]], [[1, 0], [1, 0]])
    assert equal(found, 2 * x + f(x) + g(x))


def sinkhorn(m: Tensor, steps: int) -> Tensor:
    m = m.exp()
    for _ in range(steps):
        m = m / m.sum(-2, keepdim=True)
        m = m / m.sum(-1, keepdim=True)
    return m


def test_manifold_constrained_hyper_connections() -> None:
    n = 3
    m = randomised(net(USES, f"return x -> h: expanded([manifold_hyper({BRANCH}, {n}) for _ in 0..3], {n})"))
    x = tokens()
    h = torch.stack([x] * n, -2)
    for layer in m.h:
        z = F.rms_norm(h.flatten(-2), (8 * n,), layer.norm.weight)
        read, write, mix = (
            getattr(layer, f"{k}_bias") + getattr(layer, f"{k}_scale") * getattr(layer, k)(z)
            for k in ("read", "write", "mix")
        )
        mix = sinkhorn(mix.unflatten(-1, (n, n)), 20)
        y = layer.layer((read.sigmoid()[..., None] * h).sum(-2))
        h = torch.einsum("btij,btjd->btid", mix, h) + 2 * write.sigmoid()[..., None] * y[..., None, :]
    assert equal(m(x), h.sum(-2))


def test_manifold_constrained_hyper_connections_start_as_pre_norm() -> None:
    """Apart from what depends on the streams: equal copies stay equal, and the branch's norm sees no factor."""
    n = 4
    m = net(USES, f"return x -> h: expanded([manifold_hyper({BRANCH}, {n}) for _ in 0..3], {n})")
    with torch.no_grad():
        for layer in m.h:
            for scale in (layer.read_scale, layer.write_scale, layer.mix_scale):
                scale.zero_()
    x = 100 * tokens()  # large beside the norm's epsilon
    y = pre_norm_chain([layer.layer for layer in m.h], x)
    assert float((m(x) / n - y).detach().abs().max() / y.detach().abs().max()) < 1e-6


def test_doubly_stochastic_matrices_neither_lose_nor_enlarge() -> None:
    m = net(USES, "return doubly_stochastic(x, 60)", "x: [B, 4, 4]")
    found = m(tokens(50, 4, 4))
    one = torch.ones(50, 4, dtype=torch.float64)
    assert torch.allclose(found.sum(-1), one, atol=1e-9) and torch.allclose(found.sum(-2), one, atol=1e-6)
    assert float(torch.linalg.matrix_norm(found, 2).max()) <= 1 + 1e-6
    assert bool((found > 0).all())


LAYERS = """
block single(x) { return x + (x -> f: chain([layernorm, linear(8)])) }
block qkvr(q, k, v, r) { return r + ((q * k + v) -> f: linear(8)) }
"""


@pytest.mark.parametrize("dynamic", ["true", "false"])
def test_mudd(dynamic: str) -> None:
    depth = 4
    m = randomised(
        net(USES, f"return x -> m: mudd([qkvr() for _ in 0..{depth}], dynamic={dynamic})", blocks=LAYERS), 0.2
    )
    x = tokens()
    outputs, ways = [x], [x] * 4
    for i in range(depth):
        layer = m.m.get_submodule(str(i))
        outputs.append(ways[3] + layer.f(ways[0] * ways[1] + ways[2]))
        sums = 4 if i + 1 < depth else 1
        weights = m.m.get_parameter(f"dense_bs.{i}").expand(2, 5, -1, -1)
        if dynamic == "true":
            made = F.rms_norm(outputs[-1], (8,), eps=1e-6)
            made = F.gelu(made @ m.m.get_submodule(f"dynamic_dense.{i}.w1").weight.T)
            made = made @ m.m.get_submodule(f"dynamic_dense.{i}.w2").weight.T
            weights = weights + made.reshape(2, 5, sums, i + 2)
        ways = [sum(weights[:, :, c, j, None] * o for j, o in enumerate(outputs)) for c in range(sums)]
    assert equal(m(x), ways[0])


@pytest.mark.parametrize(("ways", "layer"), [(1, "single"), (4, "qkvr")])
def test_mudd_starts_as_the_layers_alone(ways: int, layer: str) -> None:
    m = net(USES, f"return x -> m: mudd([{layer}() for _ in 0..4], {ways})", blocks=LAYERS)
    y = tokens()
    for i in range(4):
        y = m.m.get_submodule(str(i))(*[y] * ways)
    assert equal(m(tokens()), y)


@pytest.mark.parametrize("ways", [1, 4])
def test_parameters_of_mudd(ways: int) -> None:
    """Layer i makes C (i + 2) weights from D features by way of as many, and has as many of its own."""
    depth, width = 6, 8
    layer = "single" if ways == 1 else "qkvr"
    body = f"x -> m: mudd([{layer}() for _ in 0..{depth}], {ways})"
    text = f"{USES}{LAYERS}block net(x: [B, T, {width}]) {{ return {body} }}"
    bare = depth * (width * width + width + (2 * width if ways == 1 else 0))
    made = [(ways if i + 1 < depth else 1) * (i + 2) for i in range(depth)]
    found = cost(archlang.compile(text, entry="net").program).parameters.parameters
    assert found - bare == sum(width * k + k * k + k for k in made)


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_ladder(delay: int) -> None:
    """Branch i reads the input and all branches but the `delay` before it: by brute force."""
    m, x = net(USES, f"return x -> l: ladder([linear(8) for _ in 0..5], {delay})"), tokens()
    made: list[Tensor] = []
    for i in range(5):
        made.append(m.l[i](x + sum(made[: max(0, i - delay)])))
    assert equal(m(x), x + sum(made))


def test_a_branch_of_a_ladder_does_not_wait_for_the_one_before() -> None:
    m, x = net(USES, "return x -> l: ladder([linear(8) -> tanh, linear(8) -> tanh])"), tokens()
    assert equal(m(x), x + m.l[0](x) + m.l[1](x))


def test_first_value() -> None:
    blocks = """
    block start(x) {
        v = x -> v: linear(8)
        return x + v, v
    }
    block later(x; value) { return x + value * (x -> f: linear(8)) }
    """
    m, x = net(USES, "return x -> s: first_value([start(), *[later() for _ in 0..3]])", blocks=blocks), tokens()
    v = m.s[0].v(x)
    y = x + v
    for layer in list(m.s)[1:]:
        y = y + v * layer.f(y)
    assert equal(m(x), y)
