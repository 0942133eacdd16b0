"""Extern blocks that declare what undoes them, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.certify.certificate import certify
from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.report.diagnostic import ArchError
from tests.codegen.load import load

HERE = "tests.reversible.externs"
TURN = f"""
extern pure block turn(features: int)(x: [B, D]) -> [B, D] = "{HERE}:Turns" {{
    inverse = "{HERE}:Turns.back"
    params = features * features
    macs = B * D * D
    saved = 4 * B * D
}}
extern pure block cube(scale: float)(x: [B, D], y: [B, D]) -> ([B, D], [B, D]) = "{HERE}:cubed" {{
    inverse = "{HERE}:rooted"; macs = 0; saved = 8 * B * D
}}
"""
NETS = {
    "a method": "reversible block net(x: [B, 8]) { x = x -> t: turn(8) }",
    "a function": "reversible block net(a: [B, 4], b: [B, 4]) { a, b = (a, b) -> cube(2.0) }",
    "in a reversible block": """
        reversible block step(a, b) {
            a, b = (a, b) -> cube(0.5)
            b += a -> f: linear(4)
            x = concat([a, b]) -> t: turn(8)
            a, b = x -> halves
        }
        block net(a: [B, 4], b: [B, 4]) { return (a, b) -> steps: chain([step for _ in 0..3]) }
    """,
    "backwards": "block net(x: [B, 8]) { m = turn(8)\n y = x -> m -> relu\n return y -> ~m }",
}


def inputs(program: Any) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [[3, *v.type.shape[1:]] for port in program.root.inputs for v in port.values]
    return [torch.randn(*map(int, s), generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("name", NETS)
def test_declared_inverses(name: str) -> None:
    """Generated code and the interpreter agree forwards and backwards, and training rebuilds through the extern."""
    program = archlang.compile(TURN + NETS[name], "net").program
    torch.manual_seed(0)
    module = load(generate(program, source_name="net")).root().double()
    kept = load(generate(program, source_name="net", rebuild=False)).root().double()
    plain = InterpreterModule(program, torch.float64)
    for other in (kept, plain):
        other.load_state_dict(module.state_dict())
    given = inputs(program)
    ours, theirs = module(*given), plain(*given)
    pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (ours, theirs)), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in pairs)
    gradients = []
    for net in (module, kept):
        leaves = [x.clone().requires_grad_() for x in given]
        results = net(*leaves)
        sum(r.square().sum() for r in (results if isinstance(results, tuple) else (results,))).backward()
        gradients.append([p.grad for p in (*leaves, *net.parameters())])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    if name == "backwards":
        return
    with torch.no_grad():
        results = ours if isinstance(ours, tuple) else (ours,)
        back = module.inverse(*results)
        other = plain.interpreter.inverse([*results], plain.tensors, sizes={"B": 3})
    for found in (back, other):
        found = found if isinstance(found, (tuple, list)) else (found,)
        assert all(torch.allclose(a, b, rtol=0, atol=1e-8) for a, b in zip(found, given, strict=True))


def test_the_proof_says_what_it_trusts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from archlang.cli import main

    (tmp_path / "net.arch").write_text(TURN + NETS["in a reversible block"], encoding="utf-8")
    assert main(["check", "--proof", str(tmp_path / "net.arch")]) == 0
    printed = capsys.readouterr().out
    assert f"given that `{HERE}:rooted` undoes `{HERE}:cubed`, as is declared" in printed
    assert f"given that `{HERE}:Turns.back` undoes `{HERE}:Turns`, as is declared (`t`)" in printed
    assert f"undone by  a, b = (a, b) -> {HERE}:rooted" in printed


def test_stated_costs_are_counted() -> None:
    text = (
        TURN
        + """
        block net(x: [B, 8]) { return x -> t: turn(8) -> fc: linear(4) }
        verify net() {
            params == 8 * 8 + 8 * 4 + 4
            macs == 8 * 8 + 8 * 4
            flops == 2 * macs_of.macs
        }""".replace("flops == 2 * macs_of.macs", "train_memory == 4 * (8 + 8)")
    )
    assert [d.code for d in archlang.check(text)] == ["ARC0420"]  # of `cube`, which is not used
    found = cost(archlang.compile(text, "net").program, {"B": 2})
    assert found.uncounted == () and found.macs == 2 * (64 + 32) and found.parameters.parameters == 64 + 36
    assert found.saved == 4 * 2 * (8 + 8)
    assert found.active == 100 and [(b.name, b.parameters) for b in found.tree.children] == [("t", 64), ("fc", 36)]


def test_what_is_not_stated_is_not_known() -> None:
    text = f'extern block t(n: int)(x: [B, D]) -> [B, D] = "{HERE}:Turns" {{ macs = B * D * D }}\n'
    text += "block net(x: [B, 8]) { return x -> t: t(8) }\nverify net() { macs == 64 }\nverify net() { params == 64 }"
    (finding,) = archlang.check(text)
    assert finding.code == "ARC0805" and "the weights of `t`" in finding.message
    assert cost(archlang.compile(text, "net").program).uncounted == (f"extern {HERE}:Turns",)


@pytest.mark.parametrize(
    ("facts", "code", "message"),
    [
        ("inverses = 1", "ARC0334", "no fact `inverses`"),
        ("macs = 1; macs = 2", "ARC0334", "stated twice"),
        ("macs = 0.5", "ARC0334", "`macs` is multiply-accumulates of a call, not a float"),
        ("saved = -1", "ARC0334", "`saved` is bytes"),
        ("params = B", "ARC0305", "`params` is a number, and this is B"),
        ("inverse = 3", "ARC0334", "`inverse` is what undoes it"),
        ('inverse = "m:f"', "ARC0334", "is not pure"),
    ],
)
def test_facts_that_are_none(facts: str, code: str, message: str) -> None:
    text = f'extern block e(x: [B, D]) -> [B, D] = "m:E" {{ {facts} }}\nblock net(x: [B, 8]) {{ return x -> e: e }}'
    with pytest.raises(ArchError) as caught:
        archlang.compile(text, "net")
    (finding,) = caught.value.diagnostics
    assert finding.code == code and message in finding.message


def test_without_a_declared_inverse_nothing_undoes_it() -> None:
    text = f'extern pure block e(x: [B, D]) -> [B, D] = "{HERE}:Doubles"\n'
    with pytest.raises(ArchError) as caught:
        archlang.compile(text + "reversible block net(x: [B, 8]) { x = x -> e: e }", "net")
    assert caught.value.diagnostics[0].code == "ARC0603"


def test_numeric_checks_of_what_is_declared() -> None:
    """Inverses are tried, and stated figures compared with torch's; what is wrong is found at its place."""
    net = "block net(x: [B, 8]) { return x -> t: turn(8) -> fc: linear(4) }"
    sound = certify(archlang.compile(TURN + net, "net"), 2)
    assert sound.found == [] and [one.error < 1e-12 for one in sound.undone] == [True]
    assert {f.name: (f.predicted, f.measured) for f in sound.figures if not f.at}["parameters"] == (100, 100)
    for old, new, code in (
        ("Turns.back", "Turns.wrong", "ARC0855"),
        ("params = features * features", "params = features", "ARC0854"),
        ("saved = 4 * B * D", "saved = 8 * B * D", "ARC0854"),
    ):
        wrong = certify(archlang.compile(TURN.replace(old, new) + net, "net"), 2)
        assert {d.code for d in wrong.found} == {code}, old
        if code == "ARC0855":
            assert [d.span.text for d in wrong.found if d.span is not None] == ["t: turn(8)"]
