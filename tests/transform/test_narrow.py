"""`narrow` beside the spec of half the width, and weights cut by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import archlang
from archlang.ir.graph import Program
from archlang.report.diagnostic import ArchError
from tests.transform.same import applied, randomised

SPEC = """
block unit(width: int)(x) {
    y = x -> conv1: conv(2 * width, 3, padding=1, groups=2) -> norm: batchnorm -> relu
    return x + (y -> conv2: conv(width, 1))
}
block net(width: int)(x: [B, 3, 8, 8]) -> [B, 10] {
    x = x -> stem: conv(width, 3, padding=1)
    y = x -> side: conv(width // 2, 1)
    x = concat([x -> body: chain([unit(width) for _ in 0..3]), y]) -> join: conv(width, 1) -> avgpool(4)
    return x -> flatten(1) -> hidden: linear(4 * width) -> relu -> head: linear(10)
}
"""
X = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def steps(program: Program) -> list[object]:
    return [(n.op, n.path, n.count, dict(n.attrs), str(n.outputs[0].type)) for g in program.graphs for n in g.nodes]


def test_is_the_spec_of_half_the_width() -> None:
    net = randomised(archlang.build(SPEC, width=16))
    module, made = applied(SPEC, ["narrow(0.5)"], [X], net, width=16)
    other = archlang.compile(SPEC, width=8)
    assert steps(made.program) == steps(other.program)
    small = archlang.build(SPEC, width=8).double().eval()
    small.load_state_dict(module.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(module(X), small(X))


def test_what_is_kept_of_the_weights() -> None:
    net = randomised(archlang.build(SPEC, width=16))
    big = net.state_dict()
    state = archlang.apply(SPEC, "narrow(0.5)", width=16).convert(big)
    halves = [0, 1, 2, 3, 8, 9, 10, 11]  # the first of each of the two groups of `conv1`
    assert torch.equal(state["stem.weight"], big["stem.weight"][halves])
    assert torch.equal(state["body.1.conv2.bias"], big["body.1.conv2.bias"][halves])
    joined = big["join.weight"][:8, [*halves, 16, 17, 18, 19]]  # of the body, of `side`
    assert torch.equal(state["join.weight"], joined)
    assert torch.equal(state["hidden.weight"], big["hidden.weight"][:32, : 8 * 4])  # 2 x 2 places a channel
    assert torch.equal(state["head.weight"], big["head.weight"][:, :32])


def test_runs_as_torch_does_on_prefixes_of_the_weights() -> None:
    net = randomised(archlang.build(SPEC, width=16))
    module, _ = applied(SPEC, ["narrow(0.5)"], [X], net, width=16)
    halves = [0, 1, 2, 3, 8, 9, 10, 11]  # of each of two groups
    with torch.no_grad():
        x = F.conv2d(X, net.stem.weight[halves], net.stem.bias[halves], padding=1)
        side = F.conv2d(x, net.side.weight[:4, halves], net.side.bias[:4])
        for unit in net.body:
            both = [*range(8), *range(16, 24)]  # the first outputs of each group, of the first inputs
            y = F.conv2d(x, unit.conv1.weight[both, :4], unit.conv1.bias[both], padding=1, groups=2)
            norm = [t[both] for t in (unit.norm.running_mean, unit.norm.running_var, unit.norm.weight, unit.norm.bias)]
            x = x + F.conv2d(F.batch_norm(y, *norm).relu(), unit.conv2.weight[halves][:, both], unit.conv2.bias[halves])
        x = F.conv2d(torch.cat([x, side], 1), net.join.weight[:8, [*halves, *range(16, 20)]], net.join.bias[:8])
        x = F.avg_pool2d(x, 4).flatten(1)
        x = F.linear(x, net.hidden.weight[:32, :32], net.hidden.bias[:32]).relu()
        x = F.linear(x, net.head.weight[:, :32], net.head.bias)
        torch.testing.assert_close(module(X), x, rtol=1e-12, atol=1e-12)


def test_among_other_transforms() -> None:
    net = randomised(archlang.build(SPEC, width=16))
    calls = ['word("body", [2, 0])', "narrow(0.5)", 'shallow("body")']
    module, _ = applied(SPEC, calls, [X], net, width=16)
    middle, _ = applied(SPEC, calls[:2], [X], net, width=16)
    turned, _ = applied(SPEC, ["narrow(0.5)", calls[0]], [X], net, width=16)
    with torch.no_grad():
        assert torch.equal(middle(X), turned(X))
        assert not torch.equal(middle(X), module(X))
    assert {key.split(".")[1] for key in module.state_dict() if key.startswith("body")} == {"0", "2"}


@pytest.mark.parametrize("share", ["0", "1", "1.5"])
def test_no_share(share: str) -> None:
    with pytest.raises(ArchError, match="ARC0861"):
        archlang.apply(SPEC, f"narrow({share})", width=16)


def test_instances_that_are_arranged_differently() -> None:
    """Two equal blocks read joins of other halves: the root says what each keeps."""
    spec = """
    block read(x) { return x -> conv: conv(8, 1) -> relu }
    block net(width: int)(x: [B, 4, 8, 8]) -> [B, 6] {
        a, b, c = x -> a: conv(width, 1), x -> b: conv(3 * width, 1), x -> c: conv(2 * width, 1)
        y = (concat([a, b]) -> one: read) + (concat([c, c]) -> two: read)
        return y -> global_avgpool -> head: linear(6)
    }
    """
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    net = randomised(archlang.build(spec, width=8))
    module, _ = applied(spec, ["narrow(0.5)"], [x], net, width=8)
    big, small = net.state_dict(), module.state_dict()
    assert torch.equal(small["one.conv.weight"], big["one.conv.weight"][:4, [*range(4), *range(8, 20)]])
    assert torch.equal(small["two.conv.weight"], big["two.conv.weight"][:4, [*range(8), *range(16, 24)]])
