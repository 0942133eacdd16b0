"""Rules of soundness, each taken away in turn: the wrong block is then accepted, and gives wrong numbers.

What is refused in general stands in `wrong.txt`; rule 7 has its tests in `test_hypotheses.py`, rule 12 in
`test_jumps.py`, and those of training have more in `test_conditions.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from archlang.codegen import generate
from archlang.ir.check import IRError
from archlang.ir.graph import Proof, Value
from archlang.ops.base import Bijection, Context
from archlang.ops.repeat import Pad
from archlang.records import replace
from archlang.report.diagnostic import ArchError
from archlang.reversible import regions
from archlang.reversible.invert import Backwards
from archlang.reversible.judge import Judge
from archlang.reversible.prove import Prover
from archlang.reversible.streams import Streams
from archlang.shapes.dim import evaluate
from tests.codegen.load import flat, load, network
from tests.reversible.conditions import Pair, assert_same, gradients, loss, source, state
from tests.reversible.helpers import program

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


def error(text: str) -> float:
    """Of the generated inverse: largest |inverse(forward(x)) - x|; infinite where even the shape is another."""
    found = program(text, "net")
    torch.manual_seed(0)
    net = load(generate(found, source_name="net.arch")).root().double()
    given = [torch.randn(*(4, 8, 6)[: p.values[0].type.rank], dtype=torch.float64) for p in found.root.inputs]
    with torch.no_grad():
        back = flat(net.inverse(*flat(net(*given))))
    if [t.shape for t in back] != [t.shape for t in given]:
        return math.inf
    return max(float((a - b).abs().max()) for a, b in zip(back, given, strict=True))


def statements_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inverse that trusts the author: statements from the last to the first, each reading what its names hold."""
    derived = Backwards.value

    def value(walk: Backwards, wanted: Value) -> Value:
        pending = [wanted]
        while pending:
            v = pending.pop()
            if id(v) in walk.makers:
                pending += [i for i in walk.makers[id(v)].inputs if id(i) not in walk.known]
            elif id(v) not in walk.known:
                walk.known[id(v)] = [known for known in walk.known.values() if known.name == v.name][-1]
        return derived(walk, wanted)

    monkeypatch.setattr(Backwards, "value", value)
    monkeypatch.setattr(Backwards, "looked_at", lambda _, factor, step: factor)


def refused(text: str) -> str:
    """The code of the first error."""
    with pytest.raises(ArchError) as caught:
        program(text, "net")
    return next(d.code for d in caught.value.diagnostics if d.severity.name == "ERROR")


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, (owner, check), wrong, right = RULES[rule]
    assert error(spec(right)) < 1e-12
    assert refused(spec(wrong)) == code
    monkeypatch.setattr(owner, check, (lambda *_: True) if check == "same_type" else NOTHING)
    if rule.startswith("15"):  # one stream less: the graph's own check sees that there is no inverse
        with pytest.raises(IRError, match="does not end in the results"):
            program(spec(wrong), "net")
        return
    statements_backwards(monkeypatch)
    assert error(spec(right)) < 1e-12
    assert not error(spec(wrong)) < 1e-3


INJECTIVE = {  # m(~m(y)), which is y where m is a bijection
    "padding": "block net(x: [B, 8], y: [B, 8]) { m = pad([0, 2]); z = x[:, 0:6] -> m; return x, y -> ~m -> m }",
    "new": "reversible block grow(a) { new b = a -> tanh; return a, b }; "
           "block net(x: [B, 8], y: [B, 8]) { m = grow(); a, b = m(x); return (x, y) -> ~m -> m }",
}  # fmt: skip


@pytest.mark.parametrize("name", INJECTIVE)
def test_8_what_is_injective_undoes_only_what_it_gave(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = INJECTIVE[name].replace("; ", "\n")
    assert refused(text) == "ARC0611"
    proofs, pads = Judge.proof, Pad.bijection

    def proof(judge: Judge, outputs: int) -> Proof:
        return replace(proofs(judge, outputs), grade="bijective")

    def pad(*args: Any) -> Bijection | None:
        found = pads(*args)
        return found and replace(found, grade="bijective")

    monkeypatch.setattr(Judge, "proof", proof)
    monkeypatch.setattr(Pad, "bijection", pad)
    x, y = torch.randn(2, 4, 8)
    again, other = network(program(text, "net"))(x, y)
    assert torch.equal(again, x) and (other - y).abs().max() > 1e-3


def test_8_sizes_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the constraint the proof covers sizes at which a row is lost: torch sees it, an inverse could not."""
    text = "reversible block net(a: [B, 2, H, 4]) { return a -> space_to_depth(2) }"
    found = program(text)
    (needed,) = found.root.constraints
    sides = [(evaluate(needed.left, {"H": h}), evaluate(needed.right, {"H": h})) for h in (4, 5)]
    assert [left == right for left, right in sides] == [True, False]
    with pytest.raises(RuntimeError, match="divisible"):
        network(found)(torch.randn(1, 2, 5, 4))
    monkeypatch.setattr(Context, "divides", lambda _, by, size, *why, **where: size // by)
    assert not program(text).root.constraints


def assert_needed(found: list[Any], taken_away: bool) -> None:
    """The two networks agree, and do not where what the rule asks for is taken away."""
    with pytest.raises(AssertionError) if taken_away else nullcontext():
        assert_same(*found)


@pytest.mark.parametrize("taken_away", [False, True])
def test_11_weights_that_changed_are_an_error(taken_away: bool) -> None:
    pair = Pair()
    if taken_away:  # kept by what has no version
        text = source().replace("(*tensors[len(inputs) :], ", "(*(t.data for t in tensors[len(inputs) :]), ")
        assert text != source()
        exec(text[text.index("class Region") : text.index("class Rewind")], pair.ours_module.__dict__)
    found = []
    for net in pair.both:
        given = pair.inputs()
        result = loss(net(*given))
        with torch.no_grad():
            net.body[1].f.two.weight.mul_(1.5)  # type: ignore[operator, index, union-attr]
        if not taken_away or net is pair.plain:
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                result.backward()
            net.body[1].f.two.weight.data.div_(1.5)  # type: ignore[operator, index, union-attr]
            result = loss(net(*given))
        result.backward()
        found.append([given[0].grad])
    assert_needed(found, taken_away)


@pytest.mark.parametrize("taken_away", [False, True])
def test_11_gradients_sum_over_all_uses(taken_away: bool) -> None:
    pair = Pair()
    if taken_away:
        pair.ours_module.Rewind.give = lambda way, key, gradient: way.gradients.__setitem__(key, gradient)
    for net in pair.both:
        net.body[2] = net.body[0]  # type: ignore[operator, index]
    found = [gradients(net, pair.inputs()) for net in pair.both]
    assert_needed(found, taken_away)


EXTERN = """
extern PURE block gate()(x: [B, D]) -> [B, D] = "tests.reversible.externs:NAME"
reversible block net(a: [B, 8], b: [B, 8]) { a += b -> f: gate() }
"""


def test_13_code_of_others_is_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = EXTERN.replace("PURE ", "").replace("NAME", "Counts")
    assert error(EXTERN.replace("PURE", "pure").replace("NAME", "Doubles")) < 1e-12
    assert refused(wrong) == "ARC0612"
    monkeypatch.setattr(Judge, "effects_of_branches", lambda _: [])
    assert error(wrong) > 1e-3


ITERATED = """
reversible block residual(f: module)(x) { x += f(x) }
block net(x: [B, 4, 5, 6]) { return x -> body: residual(lipschitz_conv(4, 3, coeff=0.6) -> elu) }
"""


def test_14_an_iterated_inverse_is_no_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its proof says how far off it may be; training keeps what it would have to rebuild."""
    found = program(ITERATED, "net")
    body = found.root.nodes[0].callee
    assert body is not None and body.proof is not None and body.proof.tolerance is not None
    assert body.proof.grade == "approximate"
    net = network(found).double().eval()
    x = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        off = float((net.body.inverse(net.body(x)) - x).abs().max() / x.abs().max())  # type: ignore[operator, union-attr]
    assert 1e-12 < off < 10 * body.proof.tolerance
    assert not regions.rebuildable(found)
    real = regions.proved
    monkeypatch.setattr(regions, "proved", lambda graph: replace(real(graph), grade="bijective"))
    assert id(body) in regions.rebuildable(found)


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
        pair.ours_module.Draws.draw = NOTHING
    found = []
    for net in pair.both:
        torch.manual_seed(3)
        found.append(gradients(net, pair.inputs()))
    assert_needed(found, taken_away)


@pytest.mark.parametrize("taken_away", [False, True])
def test_10_a_replayed_branch_writes_no_buffer(taken_away: bool) -> None:
    pair = Pair()
    if taken_away:
        pair.ours_module.Again.backward = lambda _: nullcontext()
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
