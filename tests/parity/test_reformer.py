"""Reformer against transformers: local attention in chunks, shared-QK attention within one chunk and by hashing."""

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


def reference(kinds: list[str], grid: tuple[int, int], chunk: int, causal: bool, **more: Any) -> nn.Module:
    code = package("transformers")
    config = code.ReformerConfig(
        attn_layers=kinds, axial_pos_shape=grid, is_decoder=causal, local_attn_chunk_length=chunk,
        lsh_attn_chunk_length=chunk, max_position_embeddings=grid[0] * grid[1], use_cache=False, **SMALL, **more,
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
    compare(kinds, grid, chunk, causal)


@pytest.mark.parametrize(
    ("causal", "hashes", "buckets"), [(False, 1, None), (True, 3, None), (False, 2, [2, 4]), (True, 2, [4, 2])]
)
def test_hashing(causal: bool, hashes: int, buckets: list[int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sequences of several chunks, with the same random rotations."""
    real = torch.randn

    def drawn(*shape: Any, **options: Any) -> Tensor:
        found = real(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        return found.to(options.get("dtype") or torch.get_default_dtype())

    def begin() -> None:
        monkeypatch.setattr(torch, "randn", drawn)
        monkeypatch.setattr(Tensor, "normal_", lambda x: x.copy_(drawn(x.shape)))

    more = {"num_hashes": hashes, "num_buckets": buckets}
    ours = {"hashes": hashes, "buckets": buckets or []}
    compare(["lsh", "local", "lsh"], (4, 6), 4, causal, begin, ours, **more)


def compare(
    kinds: list[str], grid: tuple[int, int], chunk: int, causal: bool, begin: Any = None,
    params: dict[str, Any] | None = None, **more: Any,
) -> None:  # fmt: skip
    torch.manual_seed(0)
    theirs = reference(kinds, grid, chunk, causal, **more)
    for name, parameter in theirs.named_parameters():
        if name.endswith(("weight", "bias")) and float(parameter.detach().std()) == 0:
            nn.init.uniform_(parameter, 0.5, 1.0)
    ours = instantiate(
        archlang.compile(
            SPECS / "reformer.arch", "reformer", kinds=kinds, vocabulary=30, grid=[*grid], widths=[4, 12], heads=2,
            head_size=8, hidden=24, chunk=chunk, causal=causal, drop=0.0, attn_drop=0.0, **(params or {}),
        )
    )  # fmt: skip
    ours.load_state_dict(theirs.state_dict(), strict=True)
    if begin is not None:
        begin()
    ids = torch.randint(30, (2, grid[0] * grid[1]))
    with torch.no_grad():
        assert difference(ours.double().eval()(ids), theirs.double().eval()(ids).last_hidden_state) < 1e-10
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
