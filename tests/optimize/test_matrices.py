"""Linear layers around other linear maps, and convolutions that are matrices."""

from __future__ import annotations

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.cli import main
from archlang.interpret.module import InterpreterModule
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


@pytest.mark.parametrize("name", ["split-low-rank", "split-low-rank=x", "fold-batchnorm=3"])
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
