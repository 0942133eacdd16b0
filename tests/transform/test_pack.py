"""`pack` beside the networks that are packed, and figures beside the sizes of layers that the paper's rule gives."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.report.diagnostic import ArchError
from tests.transform.same import applied, randomised

NET = """
block unit(x) { return x + (x -> conv: conv(8, 3, padding=1, bias=false) -> norm: batchnorm -> relu) }
block net(x: [B, 3, 8, 8]) -> [B, 10] {
    x = (x - 0.5) -> stem: conv(8, 3, padding=1) -> relu -> up: conv_transpose(8, 2, 2, groups=2) -> group: groupnorm(4)
    x = x -> body: chain([unit() for _ in 0..3]) -> dw: conv(8, 3, padding=1, groups=8)
    gate = x -> global_avgpool -> fc: linear(8) -> sigmoid -> reshape([-1, 8, 1, 1])
    x = concat([x * gate, x -> maxpool(3, 1, padding=1)]) -> avgpool(4) -> flatten(1) -> dropout(0.1)
    return x -> head: linear(10)
}
"""
SKIP = """
block net(x: [B, 4, H, W]) -> [B, 6] {
    y = x + (x -> mix: conv_transpose(4, 3, padding=1))
    y = concat([y -> pair: conv(6, 3, groups=2, padding=1), x])
    return y -> global_avgpool -> head: linear(6)
}
"""
FLAT = """
block net(x: [B, 12]) -> [B, 6] {
    return x -> a: linear(16) -> norm: batchnorm -> relu -> b: linear(8) -> relu -> c: linear(6)
}
"""


@pytest.mark.parametrize(
    ("spec", "shape", "result"),
    [(NET, (2, 3, 8, 8), "stack"), (SKIP, (2, 4, 5, 5), "stack"), (FLAT, (3, 12), "stack"), (FLAT, (3, 12), "mean")],
)
def test_whole_members_are_independent_networks(spec: str, shape: tuple[int, ...], result: str) -> None:
    x = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    nets = [randomised(archlang.build(spec), seed) for seed in range(3)]
    module, made = applied(spec, [f'pack(3, result="{result}")'], [x], *nets)
    with torch.no_grad():
        expected = torch.stack([net(x) for net in nets], 1)
        expected = expected.mean(1) if result == "mean" else expected
        torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)
    assert made.result.effects[0].text.startswith("3 members, whole")


def test_members_after_other_transforms() -> None:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    nets = [randomised(archlang.build(NET), seed) for seed in range(2)]
    short, _ = zip(*(applied(NET, ['word("body", [2, 0])'], [x], net) for net in nets), strict=True)
    module, _ = applied(NET, ['word("body", [2, 0])', "pack(2)"], [x], *nets)
    with torch.no_grad():
        torch.testing.assert_close(module(x), torch.stack([m(x) for m in short], 1), rtol=1e-12, atol=1e-12)


RESNET = """
block basic(width: int, stride: int = 1)(x) {
    y = x -> conv1: conv(width, 3, stride, padding=1, bias=false) -> bn1: batchnorm -> relu
          -> conv2: conv(width, 3, padding=1, bias=false) -> bn2: batchnorm
    if stride != 1 { x = x -> shortcut: (conv(width, 1, stride, bias=false) -> batchnorm) }
    return (y + x) -> relu
}
block resnet18(x: [B, 3, 32, 32]) -> [B, 10] {
    x = x -> conv1: conv(64, 3, padding=1, bias=false) -> bn1: batchnorm -> relu
    for s in 0..4 {
        x = x -> "layer{s + 1}": chain([basic(64 * 2 ** s, if i == 0 and s > 0 then 2 else 1) for i in 0..2])
    }
    return x -> global_avgpool -> linear: linear(10)
}
"""


def packed_size(members: int, alpha: int, gamma: int, grouped: tuple[str, ...]) -> int:
    """Parameters of a packed ResNet-18: a convolution has as many of the groups as leave it 64 channels a group."""
    convs = [(64, 64, 3, "conv1"), (64, 64, 3, "conv2")] * 2
    for c in (64, 128, 256):
        convs += [(c, 2 * c, 3, "conv1"), (c, 2 * c, 1, "shortcut"), (2 * c, 2 * c, 3, "conv1")]
        convs += [(2 * c, 2 * c, 3, "conv2")] * 2
    total = 3 * 9 * 64 * alpha + 2 * 64 * alpha
    for narrow, wide, kernel, name in convs:
        subgroups = gamma if name in grouped else 1
        while subgroups > 1 and narrow * alpha // (members * subgroups) < 64:
            subgroups -= 1
        total += narrow * alpha * wide * alpha * kernel**2 // (members * subgroups) + 2 * wide * alpha
    return total + 512 * alpha * 10 + 10 * members


@pytest.mark.parametrize(("members", "alpha", "gamma"), [(4, 2, 2), (2, 4, 4)])
def test_figures(members: int, alpha: int, gamma: int) -> None:
    """The first layer of a block and the head have no groups of gamma: so the paper's ResNet-18 has 8.18 M."""
    layers = '["**.conv2", "**.shortcut.0"]'
    made = archlang.apply(RESNET, f"pack({members}, alpha={alpha}, gamma={gamma}, layers={layers})")
    found = cost(made.program, {}).parameters.parameters
    assert found == packed_size(members, alpha, gamma, ("conv2", "shortcut"))
    assert (members, alpha, gamma) != (4, 2, 2) or round(found / 1e6, 2) == 8.18
    assert str(made.program.root.outputs[0].values[0].type) == f"[B, {members}, 10]"


def test_a_member_depends_on_its_own_weights_alone() -> None:
    """Also where it is narrower than the network, and has groups of its own."""
    module = randomised(archlang.apply(NET, "pack(2, alpha=1, gamma=2, least=1)").build())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = module(x)
        for layer in (module.stem, module.body[1].conv):
            layer.weight[: len(layer.weight) // 2] += 1
        after = module(x)
    assert torch.equal(before[:, 1], after[:, 1]) and not torch.allclose(before[:, 0], after[:, 0])


@pytest.mark.parametrize(
    ("body", "call", "code"),
    [
        ("x -> a: conv(8, 1) -> gdn: gdn", "pack(2, alpha=1)", "ARC0870"),
        ("x -> a: conv(9, 1) -> b: conv(8, 1)", "pack(2, alpha=1)", "ARC0871"),
        ("x -> a: conv(6, 1) -> b: conv(8, 1, groups=2)", "pack(2, alpha=1, gamma=1)", "ARC0871"),
        ("x -> a: conv(8, 1)", "pack(0)", "ARC0861"),
        ("x -> a: conv(8, 1)", 'pack(2, result="sum")', "ARC0861"),
    ],
)
def test_what_cannot_be_packed(body: str, call: str, code: str) -> None:
    with pytest.raises(ArchError) as error:
        archlang.apply("block net(x: [B, 4, 8, 8]) { return " + body + " }\n", call)
    assert [d.code for d in error.value.diagnostics] == [code]
