"""`stitch` beside the parts of both networks, run by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import archlang
from archlang.loading import module_of
from archlang.report.diagnostic import ArchError
from tests.transform.same import randomised

SPEC = """
block unit(width: int)(x) { return x + (x -> conv: conv(width, 3, padding=1) -> norm: batchnorm -> relu) }
block small(x: [B, 3, H, W]) -> [B, 10] {
    x = x -> stem: conv(8, 4, 4)
    for s in 0..2 {
        x = x -> "stages.{s}": chain([unit(8 + 8 * s) for _ in 0..3]) -> "down.{s}": conv(16 + 8 * s, 2, 2)
    }
    return x -> global_avgpool -> head: linear(10)
}
block large(x: [B, 3, H2, W2]) -> [B, 10] {
    x = x -> stem: conv(12, 4, 4)
    for s in 0..2 {
        x = x -> "stages.{s}": chain([unit(12 + 12 * s) for _ in 0..5]) -> "down.{s}": conv(24 + 12 * s, 2, 2)
    }
    return x -> global_avgpool -> head: linear(10)
}
block tokens(width: int, depth: int)(x: [B, 3, H, W]) -> [B, 10] {
    x = x -> patch: conv(width, 4, 4) -> flatten(2) -> transpose(1, 2)
    x = x -> blocks: chain([(layernorm -> linear(width)) for _ in 0..depth])
    return reduce_mean(x, 1) -> head: linear(10)
}
"""
X = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def stitched(call: str, entry: str, *trained: nn.Module, **given: int) -> nn.Module:
    """The network, its parts in the states of the trained ones, and its new layer at random."""
    made = archlang.apply(SPEC, call, entry=entry, **given)
    module = randomised(made.build(), seed=5)
    states = [m.state_dict() for m in trained]
    state, written = made.convert(*states), module_of(made).convert_state_dict(*states)
    assert written.keys() == state.keys() and all(torch.equal(written[key], state[key]) for key in state)
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected and all(key.startswith("stitch.") for key in missing) and missing
    return module


def test_images() -> None:
    a, b = (randomised(archlang.build(SPEC, entry), seed) for seed, entry in enumerate(("small", "large")))
    module = stitched('stitch(large, "stages.0.1", "stages.0.2")', "small", a, b)
    with torch.no_grad():
        x = module.stitch(a.stages[0][:2](a.stem(X)))
        x = b.down[1](b.stages[1](b.down[0](b.stages[0][3:](x))))
        torch.testing.assert_close(module(X), b.head(x.mean((2, 3))), rtol=1e-12, atol=1e-12)
    assert isinstance(module.stitch, nn.Conv2d) and module.stitch.weight.shape == (12, 8, 1, 1)


def test_tokens_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "other.arch").write_text(SPEC, encoding="utf-8")
    a = randomised(archlang.build(SPEC, "tokens", width=8, depth=2), 0)
    made = archlang.apply(SPEC, 'stitch(tokens(12, 4), "blocks.0", "blocks.1")', entry="tokens", width=8, depth=2)
    b = randomised(archlang.build(SPEC, "tokens", width=12, depth=4), 1)
    module = stitched('stitch(tokens(12, 4), "blocks.0", "blocks.1")', "tokens", a, b, width=8, depth=2)
    with torch.no_grad():
        x = a.blocks[0](a.patch(X).flatten(2).transpose(1, 2))
        x = b.blocks[2:](module.stitch(x))
        torch.testing.assert_close(module(X), b.head(x.mean(1)), rtol=1e-12, atol=1e-12)
    file = tmp_path / "other.arch"
    call = f'stitch("{file}:small", "stages.1", "down.0", layer=conv(16, 3, padding=1))'
    assert "other" not in made.source
    again = archlang.apply(SPEC, call, entry="small")
    assert again.result.sources == ("a.*", "b.*") and again.build().stitch.weight.shape == (16, 16, 3, 3)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ('stitch(large, "stages.0.1", "down.0")', "ARC0865"),  # another resolution
        ('stitch(large, "stages.0.1", "stages.0.2.conv")', "ARC0869"),  # a sum goes round it
        ('stitch(large, "stages.0.1", "head")', "ARC0865"),
        ('stitch(unit(8), "stages.0.1", "conv")', "ARC0320"),  # no design
        ('stitch("none.arch", "stages.0.1", "conv")', "ARC0861"),
        ('stitch(large, "stages.0.1", "stages.0.9")', "ARC0862"),
        ('stitch(large, "stages.0.1", "stages.0.2", layer=conv(9, 1))', "ARC0868"),
    ],
)
def test_what_cannot_be_stitched(call: str, code: str) -> None:
    with pytest.raises(ArchError) as error:
        archlang.apply(SPEC, call, entry="small")
    assert [d.code for d in error.value.diagnostics] == [code]
