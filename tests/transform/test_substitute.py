"""`substitute` beside the same network written as another spec, and beside modules put in by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import archlang
from archlang.codegen import generate
from archlang.ir.text import graph_text
from tests.transform.same import applied, randomised

SPEC = """
block mixer(ratio: int = 8, reach: int = 5)(x) {
    let g = x.channels // ratio
    parts = split(x, [x.channels - 3 * g, g, g, g], 1)
    return concat([
        parts[0],
        parts[1] -> dwconv_hw: conv(g, 3, padding=1, groups=g),
        parts[2] -> dwconv_w: conv(g, (1, 2 * reach + 1), padding=(0, reach), groups=g),
        parts[3] -> dwconv_h: conv(g, (2 * reach + 1, 1), padding=(reach, 0), groups=g),
    ])
}
block stage(width: int)(x) {
    y = x -> dw: conv(width, 7, padding=3, groups=width) -> norm: batchnorm
    return x + (y -> fc1: conv(2 * width, 1) -> relu -> fc2: conv(width, 1))
}
block wide(width: int)(x) { return x -> fc1: conv(width, 3, padding=1) -> relu }
block net(x: [B, 3, H, W]) -> [B, 5] {
    x = x -> stem: conv(16, 4, 4) -> relu -> stages: chain([stage(16) for _ in 0..4])
    return x -> global_avgpool -> head: linear(5)
}
"""
X = torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Inception(nn.Module):
    """Of 16 channels, 10 stay as they are; a square kernel and two bands go over 2 each (Yu et al., 2023)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        g = width // 8
        self.dwconv_hw = nn.Conv2d(g, g, 3, padding=1, groups=g)
        self.dwconv_w = nn.Conv2d(g, g, (1, 11), padding=(0, 5), groups=g)
        self.dwconv_h = nn.Conv2d(g, g, (11, 1), padding=(5, 0), groups=g)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stay, square, across, along = torch.split(x, [10, 2, 2, 2], 1)
        return torch.cat([stay, self.dwconv_hw(square), self.dwconv_w(across), self.dwconv_h(along)], 1)


def texts(made: archlang.Compiled) -> list[str]:
    return [graph_text(graph) for graph in made.program.graphs]


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [
        ("substitute(relu, gelu)", "-> relu", "-> gelu"),
        ('substitute(relu, leaky_relu(0.2), within="stages")', "1) -> relu", "1) -> leaky_relu(0.2)"),
        ('substitute("stages.*.norm", identity)', "-> norm: batchnorm", "-> identity"),
        ("substitute(batchnorm, groupnorm(4))", "norm: batchnorm", "norm: groupnorm(4)"),
        ('substitute("**.fc1", conv(32, 3, padding=1))', "fc1: conv(2 * width, 1)", "fc1: conv(32, 3, padding=1)"),
        ("substitute(stage, conv(16, 1))", "[stage(16) for _", "[conv(16, 1) for _"),
        ('substitute("stages.*", wide(16))', "[stage(16) for _", "[wide(16) for _"),
    ],
)
def test_is_the_spec_with_the_other_layer(call: str, old: str, new: str) -> None:
    assert old in SPEC
    made, other = archlang.apply(SPEC, call), archlang.compile(SPEC.replace(old, new))
    assert texts(made) == texts(other)
    assert generate(made.program, source_name="<text>") == other.source


def test_what_has_the_same_names_carries_over() -> None:
    net = randomised(archlang.build(SPEC))
    made = archlang.apply(SPEC, "substitute(batchnorm, groupnorm(4))")
    state = made.convert(net.state_dict())
    assert torch.equal(state["stages.1.norm.weight"], net.state_dict()["stages.1.norm.weight"])
    assert not any("running" in key or "batches" in key for key in state)
    made.build().load_state_dict(state, strict=True)


def test_a_depthwise_layer_as_inception_branches() -> None:
    net = randomised(archlang.build(SPEC))
    made = archlang.apply(SPEC, 'substitute("**.dw", mixer())')
    assert made.result.effects[0].text.startswith("`mixer()` in place of 4 layers, with 24 tensors to be trained anew")
    module = randomised(made.build(), seed=3)
    missing, unexpected = module.load_state_dict(made.convert(net.state_dict()), strict=False)
    assert not unexpected and len(missing) == 24 and all(".dw.dwconv_" in key for key in missing)
    for i, stage in enumerate(net.stages):
        mixer = Inception(16).double()
        mixer.load_state_dict(module.stages[i].dw.state_dict(), strict=True)
        stage.dw = mixer
    with torch.no_grad():
        torch.testing.assert_close(module(X), net(X), rtol=1e-12, atol=1e-12)


def test_without_parameters() -> None:
    net = randomised(archlang.build(SPEC))
    module, _ = applied(SPEC, ['substitute("stages.2.dw", avgpool(3, 1, padding=1))'], [X], net)
    net.stages[2].dw = nn.AvgPool2d(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(module(X), net(X), rtol=1e-12, atol=1e-12)


def test_what_a_replacement_needs_of_sizes_is_lifted() -> None:
    spec = "block net(x: [B, 4, H, W]) { return x -> body: chain([conv(4, 1) -> relu for _ in 0..2]) }\n"
    spec += "block down(x) { return interpolate(maxpool(x, 2), scale_factor=2) + x }\n"
    needs = [str(c) for c in archlang.apply(spec, "substitute(relu, down)", entry="net").program.root.constraints]
    other = archlang.compile(spec.replace("-> relu", "-> down"), "net")
    assert needs == [str(c) for c in other.program.root.constraints] and needs


@pytest.mark.parametrize("name", ["act", "half"])
def test_a_replacement_is_called_like_what_is_there(name: str) -> None:
    """A block's name may be that of a module the block borrows, or an attribute of every module: then another path."""
    spec = f"""
    block {name}(x) {{ return x -> conv: conv(8, 1) }}
    block unit(act: module)(x) {{ return x -> act -> relu }}
    block net(x: [B, 8, H, W]) {{
        shared = conv(8, 3, padding=1)
        return x -> shared -> u: unit(shared)
    }}
    """
    made = archlang.apply(spec, f"substitute(relu, {name}())", entry="net")
    model = made.build().double()
    path = {"act": "act_2", "half": "half_"}[name]
    assert sorted(model.state_dict()) == [
        "shared.bias",
        "shared.weight",
        f"u.{path}.conv.bias",
        f"u.{path}.conv.weight",
    ]
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    conv = model.get_submodule(f"u.{path}.conv")
    assert torch.equal(model(x), conv(model.shared(model.shared(x))))
