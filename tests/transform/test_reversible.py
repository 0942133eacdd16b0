"""Transforms of blocks that can be undone: the proof is derived again, and holds in numbers; or the report says that
it is gone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import archlang
from archlang.certify.measure import saved
from archlang.codegen import generate
from archlang.report.diagnostic import ArchError
from archlang.reversible import rebuildable
from archlang.unparse import to_arch
from tests.transform.same import applied, randomised

SPEC = """
block branch(width: int)(x) {
    y = x -> conv1: conv(width, 3, padding=1, bias=false) -> norm: batchnorm -> relu
    return y -> conv2: conv(width, 3, padding=1)
}
reversible block step(width: int)(a, b) {
    a += b -> f: branch(width)
    c = a -> g: branch(width)
    b = exp(tanh(c)) * b
}
reversible block mix(a, b) {
    weight s: [4, 1, 1] = 0.5, nonzero
    a = s * a + (b -> one: conv(4, 1) -> tanh)
    b -= a -> two: conv(4, 1) -> sigmoid
    return b, a
}
reversible block widen(a, b) {
    a += b -> f: branch(4)
    new c = a -> g: branch(4)
    return a, b, c
}
block coder(x) {
    a, b = split(x, [4, 4], 1)
    a, b = (a, b) -> steps: chain([step(4) for _ in 0..5])
    a, b = (a, b) -> "mixed.0": mix() -> "mixed.1": mix() -> "mixed.2": mix()
    return concat([a, b])
}
block net(x: [B, 8, H, W]) -> [B, 8, H, W] { return x -> codec: coder() }
block auto(x: [B, 8, H, W]) -> [B, 8, H, W] {
    codec = coder()
    return x -> codec -> between: conv(8, 1) -> ~codec
}
block wide(x: [B, 8, H, W]) {
    a, b = split(x, [4, 4], 1)
    a, b, c = (a, b) -> widen: widen()
    return concat([a, b, c])
}
"""
X = torch.randn(2, 8, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
KEPT = [
    'word("codec.steps", [3, 0, 0, 4])',
    'word("codec.mixed", [2, 1, 1])',
    'prefix("codec.steps", 2)',
    "substitute(relu, gelu)",
    'substitute("codec.steps.2.f", tanh)',
    'pick("**.norm", 0)',
    'substitute("codec.steps.1.**.conv1", avgpool(3, 1, padding=1))',
    "narrow(0.5)",
]


def gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Of the input and of all parameters, in training with statistics of the batch."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    module.train()
    module(x).square().sum().backward()
    module.eval()
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in module.parameters() if p.grad is not None)]


def blocks(program: object) -> set[str]:
    """The reversible blocks that training can take back."""
    back = rebuildable(program)  # type: ignore[arg-type]
    return {graph.block for graph in program.graphs if id(graph) in back and graph.reversible}  # type: ignore[attr-defined]


def storing(made: archlang.Applied, module: nn.Module) -> nn.Module:
    """The same network in the same state, which stores what its backward pass reads."""
    text = generate(made.program, source_name="net.arch", rebuild=False)
    found: dict[str, object] = {"__name__": "storing"}
    exec(compile(text, "storing.py", "exec"), found)
    plain: nn.Module = found["Net"]().double().eval()  # type: ignore[operator]
    plain.load_state_dict(module.state_dict(), strict=True)
    return plain


def stored(module: nn.Module) -> int:
    """Bytes that one training step keeps for its backward pass."""
    module.train()
    record, _ = saved(lambda: module(X.clone().requires_grad_()), [*module.parameters(), *module.buffers()])
    module.eval()
    return record.total


@pytest.mark.parametrize("call", KEPT)
def test_the_proof_is_derived_again(call: str) -> None:
    """Trained without stored activations, with the gradients of the network that stores them; undone in float64."""
    net = randomised(archlang.build(SPEC, "net"))
    module, made = applied(SPEC, [call], [X], net, entry="net")
    assert "no longer reversible" not in made.result.effects[0].text
    assert blocks(made.program) == {"step", "mix"}
    plain = storing(made, module)
    assert stored(module) < 0.6 * stored(plain)
    for a, b in zip(gradients(module, X), gradients(plain, X), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9 * float(b.abs().max()))
    with torch.no_grad():
        found = [m for m in module.modules() if type(m).__name__.startswith(("Step", "Mix"))]
        assert len(found) >= 4
        for block in found:
            width = next(m for m in block.modules() if isinstance(m, nn.Conv2d)).in_channels
            a, b = torch.randn(2, 2, width, 5, 5, dtype=torch.float64)
            torch.testing.assert_close(block.inverse(*block(a, b)), (a, b), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("call", KEPT[:7])
def test_what_runs_backwards_elsewhere_does_so_afterwards(call: str) -> None:
    """A decoder that is the encoder's inverse stays it, with the encoder's weights."""
    net = randomised(archlang.build(SPEC, "auto"))
    module, _ = applied(SPEC, [call, 'substitute("between", identity)'], [X], net, entry="auto")
    with torch.no_grad():
        torch.testing.assert_close(module(X), X, rtol=1e-9, atol=1e-9)
    single, _ = applied(SPEC, [call], [X], randomised(archlang.build(SPEC, "net")), entry="net")
    assert {key for key in module.state_dict() if key.startswith("codec.")} == single.state_dict().keys()


def test_streams_that_are_started() -> None:
    net = randomised(archlang.build(SPEC, "wide"))
    module, made = applied(SPEC, ["substitute(relu, tanh)"], [X], net, entry="wide")
    (block,) = (graph for graph in made.program.graphs if graph.block == "widen")
    assert block.proof is not None and block.proof.grade == "injective"
    with torch.no_grad():
        a, b = torch.randn(2, 2, 4, 5, 5, dtype=torch.float64)
        torch.testing.assert_close(module.widen.inverse(*module.widen(a, b)), (a, b), rtol=1e-9, atol=1e-9)


def test_a_spec_of_the_result_is_reversible_again() -> None:
    made = archlang.apply(SPEC, 'word("codec.steps", [3, 0, 0, 4])', entry="net")
    assert blocks(archlang.compile(to_arch(made.program)).program) == {"step", "mix"}


def test_what_is_gone_is_said() -> None:
    spec = """
    reversible block step(a, b) {
        a += b -> f: conv(4, 1) -> tanh
        b += a -> g: conv(4, 1)
    }
    block net(x: [B, 8, H, W]) {
        a, b = split(x, [4, 4], 1)
        a, b = (a, b) -> steps: chain([step() for _ in 0..3])
        return concat([a, b])
    }
    """
    text = archlang.apply(spec, 'at("steps.1.b")', entry="net").result.effects[0].text
    assert text.endswith("; `step` is no longer reversible, and trains with stored activations")


def test_what_cannot_run_backwards_any_longer_is_refused() -> None:
    for call in ('at("codec.steps.1")', 'substitute("codec.mixed.1", crossed())'):
        spec = SPEC + "block crossed(a, b) { return relu(a), b }\n"
        with pytest.raises(ArchError) as error:
            made = archlang.apply(spec, call, entry="auto")
            raise AssertionError(made.source)
        assert [d.code for d in error.value.diagnostics] == ["ARC0866"], call
