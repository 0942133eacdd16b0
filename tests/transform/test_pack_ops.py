"""Packed transformers, and norms over channels: whole members are the networks packed, narrow ones keep apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import archlang
from archlang.report.diagnostic import ArchError
from tests.transform.same import applied, randomised

BODIES = {  # a network of [B, 3, 8, 8] images
    "channels": """
        y = x -> norm: layernorm2d -> stem: conv(8, 3, padding=1) -> n1: layernorm2d -> act: prelu(8)
        y = y + (y -> n2: instancenorm(affine=true) -> conv: conv(8, 3, padding=1) -> gelu)
        return y -> n3: groupnorm(2) -> global_avgpool -> head: linear(10)
    """,
    "attention": """
        weight position: [1, 4, 12] = normal(0.02)
        weight token: [1, 1, 12] = normal(0.02)
        y = (x -> patch: conv(12, 4, 4) -> flatten(2) -> transpose(1, 2)) + position
        y = concat([expand(token, [-1, -1, -1]) + 0 * y[:, :1], y])
        y = y + (y -> n1: layernorm -> attn: attention(3, qkv_bias=true))
        y = y + (y -> n2: rmsnorm -> fc1: linear(24) -> gelu -> fc2: linear(12, bias=false))
        weight scale: [12] = 0.1
        y = y + scale * (y -> n3: layernorm(bias=false) -> mha: multihead_attention(2))
        return y[:, 0] -> head: linear(10)
    """,
    "heads of one's own": """
        y = x -> patch: conv(12, 4, 4) -> flatten(2) -> transpose(1, 2)
        q, k, v = [y -> "{n}": linear(12) -> rearrange("b t (h d) -> b h t d", h=3) for n in ["q", "k", "v"]]
        a = softmax(einsum("b h q d, b h k d -> b h q k", q, k), dim=-1)
        return (a @ v) -> rearrange("b h t d -> b t (h d)") -> reduce_mean(1) -> o: linear(10)
    """,
    "tokens mixed": """
        y = x -> patch: conv(6, 4, 4) -> flatten(2) -> transpose(1, 2)
        y = y + (y -> norm: layernorm -> transpose(1, 2) -> fc1: linear(9) -> gelu -> fc2: linear(4) -> transpose(1, 2))
        scale = 1 / (1 + reduce_mean(abs(y), -1, keepdim=true))
        return (y * scale) -> reduce_mean(1) -> head: linear(10)
    """,
    "one channel": """
        y = x -> conv: conv(1, 3, padding=1) -> relu -> norm: batchnorm
        here = arange(8, like=y)
        y = concat([y, y * cast(here, "float", like=y)])
        y = concat([x[:, :1], y]) -> after: batchnorm
        return y -> last: conv(2, 1) -> sigmoid
    """,
    "one member at a time": """
        y = x -> conv: conv(8, 3, padding=1)
        gate = softmax(y, 1) * reduce_mean(y, 1, keepdim=true)
        a, b = y -> chunk(2, 1)
        y = concat([a * b, gate]) -> channel_shuffle(2) -> pixel_shuffle(2) -> out: conv(4, 1)
        return normalize(y, dim=1) -> flatten(2) -> transpose(1, 2) -> layernorm(elementwise_affine=false)
            -> token: linear(5) -> glu(1)
    """,
    "weights that are no channels'": """
        weight slope: [] = 0.5
        weight temperature: [2, 1, 1] = normal(0.5)
        weight rows: [4] = values([1, 2, 3, 4])
        weight never: [1, 8, 1, 1] = values([1, 2, 3, 4, 5, 6, 7, 8])
        y = (x -> conv: conv(8, 3, padding=1) -> act: prelu) * slope + slope
        y = (y -> tall: conv(8, 1) -> after: prelu) * 2**slope + ((rows * slope)[:3] -> reshape([1, 1, 3, 1]))[:, :, :1]
        t = y -> maxpool(4) -> flatten(2) -> transpose(1, 2)
        q, k, v = [t -> "{n}": linear(8) -> rearrange("b t (h d) -> b h t d", h=2) for n in ["q", "k", "v"]]
        a = softmax(einsum("b h q d, b h k d -> b h q k", normalize(q, dim=-1), normalize(k, dim=-1)) * temperature, -1)
        return (a @ v) -> rearrange("b h t d -> b t (h d)") -> softmax(1) -> o: linear(3)
    """,
    "tables of positions": """
        weight table: [9, 2] = trunc_normal(0.02)
        weight shape: [3, 8, 3, 3] = kaiming_normal
        x = convolve(x, shape[:, :3], padding=1) -> relu
        t = x -> patch: conv(8, 4, 4) -> flatten(2) -> transpose(1, 2)
        bias = index_select(table, arange(16, like=table) // 2, 0) -> reshape([4, 4, 2]) -> permute([2, 0, 1])
        q, k, v = [t -> "{n}": linear(8) -> rearrange("b t (h d) -> b h t d", h=2) for n in ["q", "k", "v"]]
        t = sdpa(q -> qn: rmsnorm, k -> kn: layernorm, v, bias) -> rearrange("b h t d -> b t (h d)")
        t = t + (t -> attn: attention(2, qk_norm=true, qkv_bias=true))
        t = t + ((t, t[:, :2], t[:, :2]) -> cross: multihead_attention(2))
        return t -> o: linear(3)
    """,
    "recurrent": """
        t = x -> patch: conv(6, 4, 4) -> act: actnorm -> flatten(2) -> transpose(1, 2)
        y, _h, _c = t -> lstm: lstm(5, bidirectional=true)
        z, _last = y -> gru: gru(4)
        return z -> norm: layernorm(elementwise_affine=false) -> o: linear(3)
    """,
    "elsewhere": """
        y = x -> conv: conv(8, 3, padding=1) -> order: channel_permutation -> one: triangular_conv(3)
        y = y -> wide: linear(8) -> permute([0, 2, 3, 1]) -> turn: conv(8, 1) -> norm: batchnorm -> last: layernorm
        return y -> transpose(0, 1) -> transpose(0, 1) -> rearrange("b (i j) h w -> b i j h w 1", i=2) -> o: linear(3)
    """,
}
SHARED = """
block twice(_ layer: module, width: int)(x) { return x -> layer -> mix: conv(width, 1) -> layer }
block down(_ layer: module)(x) { return x -> maxpool(2) -> layer -> norm: batchnorm }
block head(width: int)(x) { return x -> conv: conv(width, 3, padding=1) -> act: prelu }
block net(x: [B, 3, 8, 8]) {
    let inner = "inner": (conv(3, 3, padding=1) -> relu -> layernorm2d)
    let shared = conv(3, 3, padding=1)
    y = x -> shared -> shared -> once: twice(inner, 3) -> again: twice(inner, 3)
    let top = "top": head(3)
    a = y -> top
    b = y -> maxpool(2) -> top -> down: down(inner)
    c = x -> second: top
    return concat([a, c]) -> global_avgpool, b
}
"""
WORDS = """
block layer(width: int, heads: int)(x: [B, T, D]) -> [B, T, D] {
    x = x + (x -> norm1: layernorm -> attn: attention(heads))
    return x + (x -> norm2: layernorm -> up: linear(2 * width) -> relu -> down: linear(width))
}
block net(width: int = 8)(words: i64[B, T]) -> [B, T, 10] {
    x = words -> table: embedding(20, width)
    return x -> layers: chain([layer(width, 2) for _ in 0..3]) -> norm: layernorm -> head: linear(10)
}
"""


def images() -> torch.Tensor:
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in net.named_parameters()}


def together(spec: str, x: torch.Tensor, count: int, **given: Any) -> None:
    """Whole members are the networks that were packed, and train as they do: gradients are theirs, side by side."""
    nets = [randomised(archlang.build(spec, **given), seed) for seed in range(count)]
    module, made = applied(spec, [f"pack({count})"], [x], *nets, **given)
    found, expected = module(x), torch.stack([net(x) for net in nets], 1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(found.shape, dtype=found.dtype, generator=torch.Generator().manual_seed(2))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    slopes = made.convert(*(net.state_dict() | gradients(net) for net in nets))
    for name, gradient in gradients(module).items():
        torch.testing.assert_close(gradient, slopes[name], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("count", [1, 3])
def test_whole_members(body: str, count: int) -> None:
    together(f"block net(x: [B, 3, 8, 8]) {{\n{body}\n}}", images(), count)


@pytest.mark.parametrize("result", ["stack", "mean"])
def test_layers_that_are_shared(result: str) -> None:
    """By blocks that borrow them, on images of several sizes, on what all members see and on what they gave."""
    x = images()
    nets = [randomised(archlang.build(SHARED, "net"), seed) for seed in range(2)]
    module, _ = applied(SHARED, [f'pack(2, result="{result}")'], [x], *nets, entry="net")
    with torch.no_grad():
        for mine, *each in zip(module(x), *(net(x) for net in nets), strict=True):
            expected = torch.stack(each, 1) if result == "stack" else torch.stack(each, 1).mean(1)
            torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)


def test_phases_and_results_without_a_batch() -> None:
    spec = """
    block net(x: [B, 3, H, W]) {
        weight gate: [] = 0.5
        y = x -> conv: conv(4, 3, padding=1) -> norm: batchnorm
        if training { y = softmax(y * gate, 1) }
        rows = y -> reduce_mean([2, 3])
        if training { rows = transpose(rows, 0, 1) -> transpose(0, 1) }
        return image=y, heat=2 * gate, seen=reduce_mean(x), training rows=rows
    }
    """
    x = images()
    nets = [randomised(archlang.build(spec), seed) for seed in range(3)]
    module, _ = applied(spec, ["pack(3)"], [x], *nets)
    for training in (False, True):
        found = module.train(training)(x)
        each = [net.train(training)(x) for net in nets]
        torch.testing.assert_close(found.image, torch.stack([one.image for one in each], 1), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.heat, torch.stack([one.heat for one in each]), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.seen, each[0].seen)
        if training:
            torch.testing.assert_close(found.rows, torch.stack([one.rows for one in each], 1), rtol=1e-10, atol=1e-10)


def test_whole_members_of_words() -> None:
    together(WORDS, torch.arange(10).reshape(2, 5), 2)


def test_a_vision_transformer() -> None:
    given = {"width": 24, "heads": 3, "depth": 2, "classes": 7}
    x = torch.randn(1, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    nets = [randomised(archlang.build("specs/vit.arch", "vit", **given), seed) for seed in range(2)]
    module, _ = applied("specs/vit.arch", ["pack(2)"], [x], *nets, entry="vit", **given)
    with torch.no_grad():
        expected = torch.stack([net(x) for net in nets], 1)
        torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gamma", [1, 2])
def test_narrow_members_of_a_transformer_keep_apart(gamma: int) -> None:
    """Of half the width; weights of one member move its own results alone."""
    made = archlang.apply(WORDS, f"pack(2, alpha=1, gamma={gamma}, least=1)")
    module = randomised(made.build())
    assert module.layers[0].attn.qkv.weight.shape == (24, 4, 1) and module.table.weight.shape == (20, 8)
    assert module.layers[0].up.weight.shape == (16, 4 // gamma, 1)
    x = torch.arange(10).reshape(2, 5)
    with torch.no_grad():
        before = module(x)
        for weight in (module.layers[1].attn.qkv.weight, module.layers[0].up.weight, module.layers[1].norm1.weight):
            weight[: len(weight) // 2] += 1
        module.table.weight[:, :4] += 1
        after = module(x)
    assert before.shape == (2, 2, 5, 10)
    assert torch.equal(before[:, 1], after[:, 1]) and not torch.allclose(before[:, 0], after[:, 0])


@pytest.mark.parametrize(
    ("body", "call", "said"),
    [
        ("x -> a: conv(8, 1) -> gdn: gdn", "pack(2, alpha=1)", "members must be whole"),
        ("x -> a: conv(8, 1) -> flatten(2) -> lstm: lstm(3)", "pack(2, alpha=1)", "members must be whole"),
        ("(x -> a: conv(8, 1)) -> e: linear(8) -> permute([0, 2, 3, 1]) -> b: conv(4, 1)", "pack(2, alpha=1)", "in 3"),
        (
            "x -> a: conv(12, 1) -> flatten(2) -> transpose(1, 2) -> attn: attention(2) -> out: linear(4)",
            "pack(4, alpha=1)",
            "2 heads",
        ),
        ("x -> a: conv(8, 1) -> pad([0, 0, 0, 0, 2, 2]) -> b: conv(4, 1)", "pack(2, alpha=1)", "channels of its own"),
    ],
)
def test_which_op_and_why(body: str, call: str, said: str) -> None:
    with pytest.raises(ArchError) as error:
        archlang.apply(f"block net(x: [B, 3, 8, 8]) {{ return {body} }}", call)
    (finding,) = error.value.diagnostics
    assert finding.code in ("ARC0870", "ARC0871") and said in finding.message


def test_a_sum_over_channels_of_narrow_members() -> None:
    """How wide a weight is of which no layer makes channels cannot be told."""
    spec = """
    block net(x: [B, 4, 8, 8]) {
        weight w: [8] = ones
        weight v: [8] = ones
        y = x -> a: conv(8, 1) -> flatten(2) -> transpose(1, 2)
        return einsum("b t d, d -> b t", tanh(y), w * v)
    }
    """
    together(spec, torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), 2)
    with pytest.raises(ArchError, match="members must be whole"):
        archlang.apply(spec, "pack(2, alpha=1)")


@pytest.mark.parametrize(
    "layer",
    [
        "conv(3, 1, init=dirac, bias_init=values([1, 2, 3]))",
        "conv(6, 3, groups=3, init=dirac(3), bias=false)",
        "linear(5, init=eye, bias_init=ones)",
        "linear(4, init=orthogonal)",
        "prelu(3, init=values([0.1, 0.2, 0.3]))",
        "layernorm(init=values([1, 2, 3, 4, 5, 6, 7, 8]))",
    ],
)
def test_each_member_starts_as_it_would_alone(layer: str) -> None:
    spec = f"block net(x: [B, 3, 8, 8]) {{ return x -> body: {layer} }}"
    x = images()
    net, module = archlang.build(spec).double().eval(), archlang.apply(spec, "pack(3)").build().double().eval()
    with torch.no_grad():
        found = module(x)
        if "orthogonal" in layer:
            weights = [w for name, w in module.named_parameters() if name.endswith("weight")]
            assert all(torch.allclose(w @ w.T, torch.eye(4, dtype=w.dtype), atol=1e-5) for w in weights)
        else:
            torch.testing.assert_close(found, torch.stack([net(x)] * 3, 1))


@pytest.mark.parametrize("init", ['kaiming_normal(mode="fan_out", nonlinearity="relu")', "xavier_uniform(2)", "none"])
@pytest.mark.parametrize("layer", ["conv(64, 3, ", "conv_transpose(64, 3, ", "linear(64, ", "mha"])
def test_the_spread_of_weights_at_the_start(init: str, layer: str) -> None:
    made = "transpose(1, 2) -> layer: multihead_attention(4, " if layer == "mha" else f"layer: {layer}"
    inputs = "[B, 64, 12]" if layer == "mha" else "[B, 64]" if layer.startswith("linear") else "[B, 64, 12, 12]"
    spec = f"block net(x: {inputs}) {{ return x -> {made}init={init}) }}"
    torch.manual_seed(0)
    one, many = (dict(m.named_parameters()) for m in (archlang.build(spec), archlang.apply(spec, "pack(4)").build()))
    for name, tensor in one.items():
        found = many[name.replace("proj_", "proj.")]
        assert found.numel() == 4 * tensor.numel()
        torch.testing.assert_close(found.std(), tensor.std(), rtol=0.1, atol=1e-6)
