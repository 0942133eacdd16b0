"""Reformer against transformers: local attention in chunks, and shared-QK attention within one chunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archlang
from archlang.loading import instantiate
from tests.parity.oracles import SPECS, difference
from tests.references import package

SMALL = {
    "vocab_size": 30, "hidden_size": 16, "axial_pos_embds_dim": (4, 12), "num_attention_heads": 2,
    "attention_head_size": 8, "feed_forward_size": 24, "hidden_dropout_prob": 0.0,
    "local_attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def reference(kinds: list[str], grid: tuple[int, int], chunk: int, causal: bool) -> nn.Module:
    code = package("transformers")
    config = code.ReformerConfig(
        attn_layers=kinds, axial_pos_shape=grid, is_decoder=causal, local_attn_chunk_length=chunk,
        lsh_attn_chunk_length=chunk, max_position_embeddings=grid[0] * grid[1], use_cache=False, **SMALL,
    )  # fmt: skip
    model: nn.Module = code.ReformerModel(config)
    return model


@pytest.mark.parametrize(
    ("kinds", "grid", "chunk", "causal"),
    [
        (["local", "local"], (4, 6), 4, False),
        (["local", "local"], (4, 6), 4, True),
        (["local", "lsh"], (2, 4), 8, False),
        (["lsh", "lsh"], (2, 4), 8, True),
    ],
)
def test_reformer(kinds: list[str], grid: tuple[int, int], chunk: int, causal: bool) -> None:
    torch.manual_seed(0)
    theirs = reference(kinds, grid, chunk, causal)
    for name, parameter in theirs.named_parameters():
        if name.endswith(("weight", "bias")) and float(parameter.detach().std()) == 0:
            nn.init.uniform_(parameter, 0.5, 1.0)
    ours = instantiate(
        archlang.compile(
            SPECS / "reformer.arch", "reformer", kinds=kinds, vocabulary=30, grid=[*grid], widths=[4, 12], heads=2,
            head_size=8, hidden=24, chunk=chunk, causal=causal, drop=0.0, attn_drop=0.0,
        )
    )  # fmt: skip
    ours.load_state_dict(theirs.state_dict(), strict=True)
    ids = torch.randint(30, (2, grid[0] * grid[1]))
    with torch.no_grad():
        assert difference(ours.eval()(ids), theirs.eval()(ids).last_hidden_state) < 1e-5
    gradients = [trained(model, ids) for model in (ours, theirs)]
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[1].items():
        assert difference(gradients[0][key], gradient) < 1e-10, key


def trained(model: Any, ids: Tensor) -> dict[str, Tensor]:
    """Gradients of a step in float64; the reference's own reversible backward pass is among what is compared."""
    output = model.double().train()(ids)
    output = output if isinstance(output, Tensor) else output.last_hidden_state
    generator = torch.Generator().manual_seed(1)
    (output * torch.randn(output.shape, generator=generator, dtype=output.dtype)).sum().backward()
    return {key: parameter.grad for key, parameter in model.named_parameters()}
