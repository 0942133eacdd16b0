"""Linear layers around other linear maps, and convolutions that are matrices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.cli import main
from archlang.interpret.module import InterpreterModule
from archlang.ir.graph import Program
from archlang.optimize import optimize
from tests.analyze.networks import SPECS, compiled
from tests.optimize.equal import compared, deviation, trained
from tests.optimize.test_branches import figures, ops

GRAPH = {"N": 7, "B": 3, "T": 5}


@pytest.mark.parametrize(
    ("body", "linears"),
    [
        ("return (graph @ (x -> linear(8, bias=false))) -> linear(3, bias=false)", 1),
        ("return (graph @ (x -> linear(8))) -> linear(3, bias=false)", 1),  # the bias goes through the graph as before
        ("return (graph @ (x -> linear(8, bias=false))) -> linear(3)", 1),  # after the graph, where its width is less
        ("return (graph @ (x -> linear(8))) -> linear(3)", 2),
        ("return (graph @ (x -> linear(2, bias=false))) -> linear(9)", 2),  # of low rank
        ("return ((x -> linear(7, bias=false)) @ (graph[:7] @ x)) -> linear(3, bias=false)", 2),  # not from the left
        ("return (graph @ relu(x -> linear(8, bias=false))) -> linear(3, bias=false)", 2),
        ("return reduce_mean(x -> linear(8), 0) -> linear(3)", 1),
        ("return reduce_mean(x -> linear(8), 1, keepdim=true) -> linear(3)", 2),
    ],
)
def test_linear_layers_around_a_map_of_other_dimensions(body: str, linears: int) -> None:
    left, _ = figures(f"block net(x: [N, 6], graph: [N, N]) {{\n{body}\n}}", GRAPH)
    assert left["linear"] == linears


def test_a_linear_graph_network() -> None:
    """SGC: all layers are one, of the narrowest width."""
    found, made = compared(compiled("sgc.arch", "linear_gcn").program, {"N": 9})
    assert found < 1e-12
    assert ops(made.program) == {"linear": 1, "matmul": 2}
    sizes = dict.fromkeys(made.program.root.symbols, 2708)
    assert cost(made.program, sizes).macs == 2708 * 1433 * 7 + 2 * 2708**2 * 7


IMAGE = "block net(x: [B, 4, 5, 6]) {{\nreturn {} + {}\n}}"
FLAT = "(x -> reshape([B, 120, 1, 1]) -> conv(120, 1, groups=2) -> reshape([B, 4, 5, 6]))"


@pytest.mark.parametrize(
    ("dense", "conv", "convs"),
    [
        (FLAT, "(x -> conv(4, 3, padding=1, groups=4, bias=false) -> batchnorm)", 1),
        (FLAT, "(x -> conv(4, [3, 5], padding=[2, 4], dilation=2, groups=2)) + x", 1),
        (FLAT, "(x -> conv(4, 3, padding=1))", 2),  # of all channels
        (FLAT, '(x -> conv(4, 3, padding=1, groups=2, padding_mode="reflect"))', 2),
        ("(x -> flatten -> linear(120) -> reshape([B, 4, 5, 6]))", "(x -> conv(4, 3, padding=1))", 0),
        ("(x -> flatten -> linear(48, bias=false) -> reshape([B, 8, 2, 3]))", "(x -> conv(8, 2, 2))", 0),
        ("(x -> flatten -> linear(120) -> reshape([B, 4, 5, 6]))", "(relu(x) -> conv(4, 3, padding=1))", 1),
    ],
)
def test_a_convolution_beside_a_matrix(dense: str, conv: str, convs: int) -> None:
    text = IMAGE.format(dense, conv)
    if "8, 2, 3" in dense:
        text = text.replace("5, 6]) {", "4, 6]) {")
    left, _ = figures(text, {"B": 3})
    assert left["conv"] == convs and not left["batchnorm"]


def test_repmlp() -> None:
    """The deployed form has the parameters of the authors', but for batch norms that they keep."""
    made = optimize(compiled("repmlp.arch", "repmlpnet_t224").program)
    by_hand = optimize(archlang.compile(SPECS / "repmlp.arch", "repmlpnet_t224", merged=True).program)
    assert ops(made.program) == ops(by_hand.program)
    assert cost(made.program, {}).parameters == cost(by_hand.program, {}).parameters


LOW_RANK = """
block net(x: [B, 24, 5, 6]) {
    y = x -> a: conv(32, 3, 2, padding=1, bias=false) -> relu -> b: conv(4, 1) -> c: conv(32, 3, groups=2)
    return y -> flatten -> d: linear(20)
}
"""


def test_split_by_rank() -> None:
    """The error is what the best matrix of that rank leaves out; at full rank of the weights, nothing."""
    program = archlang.compile(LOW_RANK).program
    made = optimize(program, names=["split-low-rank=5"])
    assert [f.note for f in made.fired] == ["`conv` becomes two of rank 5", "`linear` becomes two of rank 5"]
    assert not optimize(made.program, names=["split-low-rank=5"]).fired
    state = trained(program).state_dict()
    converted, errors = made.convert(state), made.errors(state)
    assert set(errors) == {"a.weight", "d.weight"}
    weight, (first, last) = state["d.weight"], (converted["d.0.weight"], converted["d.1.weight"])
    assert float((weight - last @ first).norm() / weight.norm()) == pytest.approx(errors["d.weight"], rel=1e-9)
    for key in errors:  # of that rank already: nothing is lost, and the result is the same
        matrix = state[key].flatten(1)
        state[key] = (torch.randn(len(matrix), 5).double() @ torch.randn(5, matrix.shape[1]).double()).view_as(
            state[key]
        )
    assert max(made.errors(state).values()) < 1e-7
    before, after = (InterpreterModule(p, torch.float64).eval() for p in (program, made.program))
    before.load_state_dict(state)
    after.load_state_dict(made.convert(state))
    x = torch.randn(2, 24, 5, 6).double()
    with torch.no_grad():
        assert deviation(before(x), after(x)) < 1e-11


TRAINED = """
block unit(x) { return x -> conv: conv(24, 3, padding=1, bias=false) -> norm: batchnorm -> relu }
block net(x: [B, 24, H, W]) {
    x = x -> body: chain([unit() for _ in 0..3])
    return x -> global_avgpool -> a: linear(60) -> relu -> b: linear(5)
}
"""


def spectra(program: Program) -> dict[str, torch.Tensor]:
    """A state whose matrices have singular values that fall off, in each layer at another rate."""
    state = trained(program).state_dict()
    for n, key in enumerate([key for key, tensor in state.items() if tensor.dim() > 1]):
        left, values, right = torch.linalg.svd(state[key].flatten(1), full_matrices=False)
        fall = (0.5 + 0.06 * n) ** torch.arange(len(values))
        state[key] = (left * fall @ right).reshape(state[key].shape)
    return state


def test_split_by_tolerance() -> None:
    """Each layer has the least rank, of those of its graph's instances the largest, at which its error is within the
    tolerance, after its norm is folded into it; and what is split once is not split again."""
    program = archlang.compile(TRAINED).program
    state = spectra(program)
    whole = optimize(program).convert(state)
    made = optimize(program, names=["all", "split-low-rank=0.1"], trained=state)
    losses = {loss.key: loss for loss in made.losses(state)}
    assert set(losses) == {*(f"body.{i}.conv.weight" for i in range(3)), "a.weight"}
    converted, needed = made.convert(state), dict[str, int]()
    for key, loss in losses.items():
        first, last = (converted[key.replace("weight", f"{i}.weight")] for i in range(2))
        product = last.flatten(1) @ first.flatten(1)
        assert float((product - whole[key].flatten(1)).norm() / whole[key].norm()) == pytest.approx(
            loss.error, rel=1e-6
        )
        assert loss.error <= 0.1 and len(first) == loss.rank
        values = torch.linalg.svdvals(whole[key].flatten(1))
        assert loss.full == len(values)
        needed[key] = next(r for r in range(len(values)) if values[r:].norm() <= 0.1 * values.norm())
    assert losses["a.weight"].rank == needed.pop("a.weight")
    assert len(set(needed.values())) > 1 and {losses[key].rank for key in needed} == {max(needed.values())}
    before, after = (InterpreterModule(p, torch.float64).eval() for p in (program, made.program))
    before.load_state_dict(state)
    after.load_state_dict(converted)
    x = torch.randn(2, 24, 5, 6).double()
    with torch.no_grad():
        assert 1e-6 < deviation(before(x), after(x)) < 0.5


def test_split_of_a_trained_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, weights = tmp_path / "net.arch", tmp_path / "net.pt"
    spec.write_text(TRAINED, encoding="utf-8")
    state = spectra(archlang.compile(TRAINED).program)
    torch.save({key: t.half() if t.is_floating_point() else t for key, t in state.items()}, weights)
    options = [str(spec), "--passes", "all,split-low-rank=0.1", "--weights", str(weights)]
    assert main(["optimize", *options]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text[text.index("lost ") :].splitlines()[1:]]
    assert [row[0] for row in rows] == ["a.weight", *(f"body.{i}.conv.weight" for i in range(3))]
    assert all(float(row[-1]) <= 0.1 and int(row[1]) < int(row[3]) for row in rows)
    assert main(["optimize", *options, "--format", "json"]) == 0
    losses = json.loads(capsys.readouterr().out)["losses"]
    assert [[loss["key"], str(loss["rank"])] for loss in losses] == [row[:2] for row in rows]
    assert main(["compile", *options, "--with-convert"]) == 0
    file: dict[str, Any] = {"__name__": "net"}
    exec(capsys.readouterr().out, file)
    file["Net"]().double().load_state_dict(file["convert_state_dict"](state), strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--passes", "split-low-rank=0.1"], "--weights CHECKPOINT"),
        (["--passes", "all", "--weights", "net.pt"], "no pass looks at"),
        (["--passes", "split-low-rank=0.1", "--weights", "net.pt"], "net.pt"),
    ],
)
def test_weights_that_are_missing(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", str(SPECS / "resnet.arch"), "-e", "resnet18", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["split-low-rank", "split-low-rank=x", "split-low-rank=0", "split-low-rank=1.5", "fold-batchnorm=3"]
)
def test_numbers_of_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize", str(SPECS / "resnet.arch"), "-e", "resnet18", "--passes", name]) == 2
    assert "takes" in capsys.readouterr().err


PROGRESSIVE = """
block rep_norm(x: [B, T, D]) {
    weight eta: [1] = ones
    y = x -> transpose(1, 2)
    return ((y -> bn: batchnorm) + eta * y) -> transpose(1, 2)
}
block progressive(x: [B, T, D]) {
    buffer gamma: [] = ones
    return gamma * (x -> ln: layernorm) + (1 - gamma) * (x -> rep: rep_norm)
}
block net(x: [B, T, 6]) { return gelu(x) -> norm: progressive -> fc: linear(5) }
"""


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_a_normalisation_that_fades_out(gamma: float) -> None:
    """At the end of its schedule it is part of the linear layer after it; before, the report says how far off."""
    program = archlang.compile(PROGRESSIVE).program
    assert ops(optimize(program).program)["layernorm"] == 1
    made = optimize(program, names=["end-schedules", "all"])
    assert ops(made.program) == {"gelu": 1, "linear": 1}
    state = trained(program).state_dict()
    state["norm.gamma"] = torch.tensor(gamma, dtype=torch.float64)
    assert made.errors(state) == {"norm.gamma": gamma}
    before, after = (InterpreterModule(p, torch.float64).eval() for p in (program, made.program))
    before.load_state_dict(state)
    after.load_state_dict(made.convert(state))
    x = torch.randn(3, 4, 6).double()
    with torch.no_grad():
        assert (deviation(before(x), after(x)) < 1e-12) == (gamma == 0)
