"""What training keeps of reversible blocks: their results, and what they only read."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.analyze import cost
from tests.codegen.load import load

CHAIN = """
use std.reversible: coupling
block branch(x) {{ return x -> conv(32, 3, padding=1) -> batchnorm -> relu -> conv(32, 3, padding=1) }}
block net(a: [B, 32, 32, 32], b: [B, 32, 32, 32]) {{
    return (a, b) -> chain([coupling(branch(), branch()) for _ in 0..{blocks}])
}}
"""


@pytest.mark.parametrize("blocks", [4, 16, 64])
def test_a_chain_keeps_its_results(blocks: int) -> None:
    program = archlang.compile(CHAIN.format(blocks=blocks), "net").program
    kept, plain = (cost(program, {"B": 32}, rebuild).saved for rebuild in (True, False))
    stream = 32 * 32 * 32 * 32 * 4
    statistics = 2 * 32 * 4
    assert kept == 2 * stream
    # of each branch its input, the convolution's output, and the rectifier's
    assert plain == blocks * 2 * (3 * stream + statistics)


def test_what_is_only_read_is_kept_and_what_follows_starts_anew() -> None:
    text = """
    use std.reversible: coupling
    reversible block step(f: module)(a, b; c) { a += f(b * c); b += f(a) }
    block net(x: [B, 4, 8, 8]) {
        a, b = x -> stem: conv(8, 1) -> halves
        c = x -> other: conv(4, 1)
        a, b = (a, b; c) -> steps: chain([step(conv(4, 1)), step(conv(4, 1))])
        y = concat([a, b]) -> middle: conv(8, 1) -> relu
        a, b = y -> halves -> three: coupling(conv(4, 1), conv(4, 1))
        return a * b
    }
    """
    part = 4 * 8 * 8 * 4
    found = cost(archlang.compile(text, "net").program, {"B": 1}, rebuild=True)
    # x; c; a, b after `steps`; their concatenation; the rectifier's output; a, b after `three`, for the product, too
    assert found.saved == part + part + 2 * part + 2 * part + 2 * part + 2 * part
    assert found.uncounted == ()


def test_what_comes_out_again_unread_does_not_stay() -> None:
    text = """
    reversible block neck(p: tensors) {
        made = [p[i] -> "n{i}": conv(4, 1) for i in 0..len(p)]
        new q = made
    }
    block net(a: [B, 8, 4, 4], b: [B, 8, 4, 4]) {
        p = [a -> ca: conv(8, 1), b -> cb: conv(8, 1)]
        p, f = p -> neck: neck()
        return f[0] + f[1]
    }
    """
    # a, b and both levels, and the first of f; then the first level is gone
    assert cost(archlang.compile(text, "net").program, {"B": 1}).peak.known == (4 * 8 + 4) * 4 * 4 * 4


ANCHORED = """
use std.reversible: column
block level(width: int)(below, above: tensor?) {
    y = below -> conv(width, 3, padding=1) -> tanh
    if above != none { y = y + (above -> conv(width, 1)) }
    return y
}
block net(a: [B, 4, 6, 6], b: [B, 4, 6, 6], stem: [B, 4, 6, 6]) {
    c = [a, b]
    for i in 0..15 { c = (c; stem) -> "col{i}": column([level(4), level(4)]) }
    return c[0], c[1]
}
"""
JUMPS = """
use std.reversible: coupling
block smooth(x) { return x -> one: linear(8) -> tanh }
block jump(x) { return round(x) * (x -> l: linear(8)) }
reversible block mixed(a, b; c) {
    a = a * (1.5 + sin(round(b))) + (b -> l: linear(8)) * c
    b += a -> g: smooth()
    a, b = (a, b) -> inner: coupling(smooth(), jump())
}
block net(a: [B, 8], b: [B, 8], c: [B, 8]) {
    a, b = (a, b) -> body: chain([coupling(jump(), smooth()) for _ in 0..4])
    a, b = (a, b; c) -> last: mixed()
    return (a, b) -> end: coupling(smooth(), smooth())
}
"""


@pytest.mark.parametrize("text", [ANCHORED, JUMPS], ids=["anchors", "jumps"])
def test_what_is_kept_besides_results(text: str) -> None:
    """As many bytes as autograd really keeps of the generated network, weights aside."""
    compiled = archlang.compile(text, "net")
    net = load(compiled.source).root()
    shapes = [[3, *(s for s in p.values[0].type.shape if isinstance(s, int))] for p in compiled.program.root.inputs]
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    found: dict[int, int] = {}

    def keep(t: torch.Tensor) -> torch.Tensor:
        if t.untyped_storage().data_ptr() not in weights:
            found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        results = net(*(torch.randn(shape, requires_grad=True) for shape in shapes))
    counted = cost(compiled.program, {"B": 3}).saved
    assert counted == sum(found.values())
    assert counted > sum(t.nbytes for t in results)
    assert counted < cost(compiled.program, {"B": 3}, rebuild=False).saved
