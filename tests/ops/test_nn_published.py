"""Entries that torch has no class for, against timm's and torchvision's; skipped where those are not installed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from render import apply, call, make_module

import archlang.ops  # noqa: F401
from archlang.ir.graph import TensorType
from archlang.ops.base import Op, registry
from tests.references import package


def made(name: str, shape: tuple[int, ...], **args: Any) -> tuple[Op, dict[str, Any], torch.nn.Module]:
    op = registry()[name]
    attrs, _, _ = apply(op, args, [TensorType(shape)])
    module = make_module(op, attrs)
    assert module is not None
    return op, attrs, module


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "args", [{}, {"qkv_bias": True}, {"qkv_bias": True, "qk_norm": True, "proj_bias": False}, {"attn_head_dim": 5}]
)
def test_attention_is_timms(args: dict[str, Any]) -> None:
    layers = package("timm.layers")
    x = torch.randn(2, 5, 12)
    op, attrs, module = made("attention", (2, 5, 12), num_heads=3, **args)
    theirs = layers.Attention(12, num_heads=3, norm_layer=layers.LayerNorm, **args).eval()
    module.eval().load_state_dict(theirs.state_dict(), strict=True)
    assert list(theirs.state_dict()) == [decl.name for decl in op.weights(attrs)]
    assert close(module(x), theirs(x))


def test_layernorm2d_is_timms() -> None:
    x = torch.randn(2, 6, 5, 4)
    _, _, module = made("layernorm2d", (2, 6, 5, 4))
    theirs = package("timm.layers").LayerNorm2d(6)
    module.load_state_dict(theirs.state_dict(), strict=True)
    assert close(module(x), theirs(x))


@pytest.mark.parametrize("n", range(4, 20, 3))
@pytest.mark.parametrize(("k", "s", "d"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (4, 3, 1)])
def test_tf_same_is_timms(n: int, k: int, s: int, d: int) -> None:
    x = torch.randn(2, 3, n, n + 1)
    _, _, module = made(
        "conv", (2, 3, n, n + 1), out_channels=4, kernel_size=k, stride=s, dilation=d, padding="tf_same"
    )
    theirs = package("timm.layers").Conv2dSame(3, 4, k, stride=s, dilation=d)
    module.load_state_dict(theirs.state_dict(), strict=True)
    assert close(module(x), theirs(x))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mode", ["row", "batch"])
def test_drop_path_is_torchvisions(p: float, mode: str) -> None:
    x = torch.randn(16, 3, 2)
    op, attrs, _ = made("drop_path", (16, 3, 2), p=p, mode=mode)
    theirs = package("torchvision.ops").stochastic_depth
    for seed in range(5):
        torch.manual_seed(seed)
        expected = theirs(x, p, mode, True)
        torch.manual_seed(seed)
        assert close(call(op, attrs, [x], training=True), expected)


def test_drop_path_keeps_the_mean_and_the_rate() -> None:
    x = torch.ones(4000, 2)
    op, attrs, _ = made("drop_path", (4000, 2), p=0.25)
    torch.manual_seed(0)
    y = call(op, attrs, [x], training=True)
    assert set(y.unique().tolist()) == {0.0, (torch.ones(()) / 0.75).item()}
    assert bool((y[:, 0] == y[:, 1]).all())
    assert abs(y.mean().item() - 1) < 0.03
    assert torch.equal(call(op, attrs, [x], training=False), x)
