"""Branches that write buffers in training: once in a forward, and never where they run again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from tests.codegen.load import flat, load
from tests.reversible.conditions import assert_same, loss, state
from tests.reversible.helpers import program

BRANCH = """
use std.reversible: coupling
block branch(c: int)(x) {
    x = x -> one: conv(c, 3, padding=1) -> norm: batchnorm -> relu -> lip: lipschitz_conv(c, 3) -> act: actnorm
    return x -> two: lipschitz_conv(c, 3, domain=1)
}
"""
INVERSES = {
    "iterated": """
reversible block residual(f: module)(x) { x += f(x) }
block net(x: [B, 4, 5, 6]) {
    return x -> body: chain([residual(lipschitz_conv(4, 3, coeff=0.6) -> elu) for _ in 0..2])
}""",
    "chain": "block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {"
    "    return (a, b) -> body: chain([coupling(branch(4), branch(4)) for _ in 0..2])"
    "}",
    "lent": """
reversible block inner(f: module)(a, b) {
    a += f(b)
    b += a -> conv(4, 1)
}
block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {
    let f = branch(4)
    a, b = (a, b) -> first: inner(f)
    return (a, b) -> second: inner(f)
}""",
}
BACK = """
block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {
    let m = coupling(branch(4), branch(4))
    a, b = (a, b) -> first: m
    c, d = (b, a) -> ~m
    return a, b, c, d
}
"""
REGIONS = {
    "chain": """
block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {
    a, b = (a, b) -> body: chain([coupling(branch(4), branch(4)) for _ in 0..2])
    return (a -> conv(4, 1)), b
}""",
    "shared": """
block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {
    let m = coupling(branch(4), branch(4))
    a, b = (a, b) -> first: m
    a, b = (a, b) -> m
    a = a -> relu
    return (a, b) -> m
}""",
}


def network(text: str) -> tuple[Any, nn.Module, Any]:
    """The file, its network in float64 and in training, and the program."""
    found = program(BRANCH + text, "net")
    torch.manual_seed(0)
    module = load(generate(found, source_name="net.arch"))
    return module, module.root().double(), found


def streams() -> list[Tensor]:
    made = torch.Generator().manual_seed(3)
    return [torch.randn(2, 4, 5, 6, generator=made, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize("name", INVERSES)
def test_inverse_in_training_writes_nothing(name: str) -> None:
    _, net, found = network(INVERSES[name])
    given = streams()[: len(found.root.inputs)]
    net(*given)
    oracle = InterpreterModule(found, torch.float64)
    oracle.load_state_dict(net.state_dict())
    before = state(net)
    back = flat(net.inverse(*given))  # type: ignore[operator]
    theirs = oracle.interpreter.inverse(given, oracle.tensors, True, sizes={"B": 2})
    for a, b in zip(back, flat(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for name, tensor in oracle.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name])
    for a, b in zip(state(net), before, strict=True):
        assert torch.equal(a, b)


def test_modules_run_backwards_in_a_forward() -> None:
    _, net, found = network(BACK)
    oracle = InterpreterModule(found, torch.float64)
    oracle.load_state_dict(net.state_dict())
    for a, b in zip(flat(net(*streams())), flat(oracle(*streams())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert int(net.first.f.norm.num_batches_tracked) == 1  # type: ignore[union-attr,arg-type]
    for name, tensor in oracle.state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], rtol=1e-12, atol=1e-12)


def once(net: nn.Module, given: list[Tensor]) -> list[Tensor | None]:
    loss(net(*given)).backward()
    return [t.grad for t in (*given, *net.parameters())]


def two_forwards(net: nn.Module, given: list[Tensor]) -> list[Tensor | None]:
    first, second = loss(net(*given)), loss(net(*given))
    (first + 2 * second).backward()
    return [t.grad for t in (*given, *net.parameters())]


def retained(net: nn.Module, given: list[Tensor]) -> list[Tensor | None]:
    result = loss(net(*given))
    result.backward(retain_graph=True)
    net(*given)
    result.backward()
    return [t.grad for t in (*given, *net.parameters())]


def twice_differentiated(net: nn.Module, given: list[Tensor]) -> list[Tensor | None]:
    first = torch.autograd.grad(loss(net(*given)), given, create_graph=True)
    return [*torch.autograd.grad(sum(g.pow(2).sum() for g in first), given)]


def compared(module: Any, net: nn.Module, run: Callable[[], list[Tensor | None]]) -> None:
    """The gradients and buffers of regions, and of the same blocks one after the other by autograd."""
    start = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    results, buffers = [], []
    for plain in (False, True):
        net.zero_grad()
        net.load_state_dict(start)
        torch.manual_seed(1)
        if plain:
            module.rebuild = lambda block, *inputs, **_: tuple(
                flat(block(*inputs) if isinstance(block, nn.Module) else block(module.Plain(), *inputs))
            )
        results.append([None if g is None else g.clone() for g in run()])
        buffers.append(state(net))
    assert_same(results[0], results[1], 1e-9)
    for a, b in zip(*buffers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", REGIONS)
@pytest.mark.parametrize("run", [once, two_forwards, retained, twice_differentiated])
def test_gradients(name: str, run: Callable[..., list[Tensor | None]]) -> None:
    """Of regions whose branches read vectors that each forward in training moves, against plain autograd's."""
    module, net, _ = network(REGIONS[name])
    assert "replay=[Carried]" in generate(program(BRANCH + REGIONS[name], "net"), source_name="net.arch")
    compared(module, net, lambda: run(net, [t.requires_grad_() for t in streams()]))


STEPS = """
reversible block mid(m: module)(a, b; k) {
    a, b = (a, b; (k -> h: conv(3, 1))) -> ~m
    a += b -> conv(4, 1)
}
block net(a: [B, 4, 5, 6], b: [B, 4, 5, 6]) {
    k = concat([a, b]) -> k: conv(2, 1)
    a, b = (a, b; k) -> one: mid(inner)
    return (a, b; k) -> two: mid(inner)
}
reversible block inner(a, b; k) {
    a += concat([b, k]) -> f: conv(4, 1) -> BRANCH
    b += a -> g: conv(4, 1) -> BRANCH
}
"""


@pytest.mark.parametrize(("branch", "rebuilt"), [("batchnorm", True), ("lipschitz_conv(4, 1)", False)])
def test_steps_that_run_a_module_backwards(branch: str, rebuilt: bool) -> None:
    """Their weights have gradients; where the way back would not do the same as the step, it is left to autograd."""
    module, net, _ = network(STEPS.replace("BRANCH", branch))
    assert hasattr(module, "rebuild") == rebuilt
    compared(module, net, lambda: once(net, [t.requires_grad_() for t in streams()]))
    assert all(p.grad is not None for p in net.parameters())


def test_blocks_that_are_lent_modules() -> None:
    """Steps look for weights and buffers in their own block: such blocks are left to autograd."""
    module, net, _ = network(INVERSES["lent"])
    assert not hasattr(module, "rebuild")
    compared(module, net, lambda: once(net, [t.requires_grad_() for t in streams()]))
    assert all(p.grad is not None for p in net.parameters())
