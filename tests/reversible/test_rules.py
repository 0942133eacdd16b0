"""Rules of soundness, each taken away in turn: the wrong block is then accepted, and its inverse is wrong or has none.

What is refused in general stands in `wrong.txt`; the rules of training have their tests in `test_conditions.py`,
`test_jumps.py` and `test_hypotheses.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from archlang.ir.check import IRError
from archlang.report.diagnostic import ArchError
from archlang.reversible.judge import Judge
from archlang.reversible.prove import Prover
from archlang.reversible.streams import Streams
from tests.codegen.load import network
from tests.reversible.conditions import Pair, assert_same, gradients, state
from tests.reversible.helpers import program, roundtrip

HEAD = "reversible block net(a: [B, 8], b: [B, 8]) {{ {0} }}"
NOTHING: Callable[..., Any] = lambda *_, **__: None  # noqa: E731
RULES = {  # rule -> code, the check that stands for it, a wrong block, a right one
    "1 temporaries die": (
        "ARC0605", (Streams, "reads"),
        "t = a -> f: linear(8); a += b -> g: linear(8); b += t",
        "a += b -> g: linear(8); t = a -> f: linear(8); b += t",
    ),
    "3 views read their parent": (
        "ARC0605", (Streams, "reads"),
        "v = a[:, 0:1]; a += b -> g: linear(8); b += v",
        "a += b -> g: linear(8); v = a[:, 0:1]; b += v",
    ),
    "4 indices, after unrolling": (
        "ARC0604", (Streams, "reads"),
        "p = [a, b]; for i in 0..2 { p[1] += p[i] -> tanh }; a = p[0]; b = p[1]",
        "p = [a, b]; for i in 0..2 { p[1 - i] += p[i] -> tanh }; a = p[0]; b = p[1]",
    ),
    "5 captured reads": (
        "ARC0604", (Streams, "reads"),
        "f = fn(x) => x * tanh(a); a += f(b)",
        "f = fn(x) => x * tanh(b); a += f(b)",
    ),
    "6 factors are not 0": (
        "ARC0607", (Judge, "nonzero"),
        "a *= relu(b)",
        "a *= relu(b) + 1.0",
    ),
    "6 e broadcasts into s": (
        "ARC0608", (Judge, "same_type"),
        "a += b -> unsqueeze(0)",
        "a += b[:, 0:1]",
    ),
    "15 streams are returned": (
        "ARC0606", (Prover, "finish"),
        "a += tanh(b); return a",
        "a += tanh(b); return b, a",
    ),
}  # fmt: skip


def spec(body: str) -> str:
    return HEAD.format("\n".join(["", *body.split("; "), ""]))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, (owner, check), wrong, right = RULES[rule]
    assert roundtrip(spec(right)) < 1e-12
    with pytest.raises(ArchError) as caught:
        program(spec(wrong))
    assert [d.code for d in caught.value.diagnostics if d.severity.name == "ERROR"][:1] == [code]
    monkeypatch.setattr(owner, check, (lambda *_: True) if check == "same_type" else NOTHING)
    try:
        error = roundtrip(spec(wrong))
    except (IRError, KeyError, ValueError, AssertionError, RuntimeError):  # accepted, and it has no inverse
        return
    assert not error < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_6_e_has_the_element_type_of_s(dtype: str) -> None:
    """The refusal names the cast that mends it."""
    text = f"reversible block net(a: {dtype}[B, 8], b: {dtype}[B, 8]) {{ a += E }}"
    with pytest.raises(ArchError) as caught:
        program(text.replace("E", "cast(tanh(b), float64)"))
    (finding,) = caught.value.diagnostics
    assert finding.code == "ARC0608" and f"`cast(..., {dtype})`" in (finding.help or "")
    program(text.replace("E", f"cast(cast(tanh(b), float64), {dtype})"))


@pytest.mark.parametrize("taken_away", [False, True])
def test_9_random_numbers_are_drawn_again(taken_away: bool) -> None:
    pair = Pair(drop=0.4)
    if taken_away:
        pair.ours_module.Evaluation.draw = NOTHING
    found = []
    for net in pair.both:
        torch.manual_seed(3)
        found.append(gradients(net, pair.inputs()))
    if taken_away:
        with pytest.raises(AssertionError):
            assert_same(*found)
    else:
        assert_same(*found)


@pytest.mark.parametrize("taken_away", [False, True])
def test_10_a_replayed_branch_writes_no_buffer(taken_away: bool) -> None:
    pair = Pair()
    if taken_away:
        pair.ours_module.Evaluation.again = lambda _: nullcontext()
    for net in pair.both:
        gradients(net, pair.inputs())
    same = all(torch.allclose(a, b) for a, b in zip(*map(state, pair.both), strict=True))
    assert same == (not taken_away)


def test_2_two_slots_of_one_tensor() -> None:
    """A plain block may start both streams with one tensor, which no one writes; a reversible caller may not."""
    body = "(x, x) -> c: coupling(linear(8), linear(8))"
    use = "use std.reversible: coupling\n"
    net = network(program(f"{use}block net(x: [B, 8]) {{ return {body} }}", "net"))
    x = torch.randn(3, 8, requires_grad=True)
    before = x.detach().clone()
    y, z = net(x)  # the coupling's statements, written out
    a = x + net.c.f(x)  # type: ignore[union-attr, operator]
    b = x + net.c.g(a)  # type: ignore[union-attr, operator]
    (expected,) = torch.autograd.grad(a.sin().sum() + b.cos().sum(), x)
    (found,) = torch.autograd.grad(y.sin().sum() + z.cos().sum(), x)
    torch.testing.assert_close(found, expected)
    assert torch.equal(x.detach(), before)
    with pytest.raises(ArchError) as caught:
        program(
            f"{use}reversible block net(x: [B, 8]) {{ new y = x -> tanh; x, y = {body} }}".replace("; ", "\n"), "net"
        )
    assert caught.value.diagnostics[0].code == "ARC0606"
