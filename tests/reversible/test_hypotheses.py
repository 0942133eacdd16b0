"""What a proof takes for granted is looked at when an inverse runs: by the interpreter, generated code and regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.reversible.effects import total
from tests.codegen.load import load
from tests.reversible.helpers import program

LAYERS = """
reversible block flow(a) {
    a = a -> n: actnorm -> m: invertible_conv -> u: invertible_conv(lu=true) -> t: triangular_conv
}
block net(a: [B, 4, H, W]) { return a -> f: flow() }
"""
FACTORS = """
reversible block scaled(a, b) {
    a *= b -> sigmoid
    b /= a -> f: linear(4) -> exp
}
block net(a: [B, 4], b: [B, 4]) { return (a, b) -> s: scaled() }
"""
BREAKS: dict[str, Callable[[Tensor], Any]] = {
    "f.n.scale": lambda w: w[:, 2].zero_(),
    "f.m.weight": lambda w: w[1].copy_(w[0] * 1.7 + w[2] - 0.3 * w[3]),  # singular but for rounding
    "f.u.w_s": lambda w: w[1].fill_(-2000.0),
    "f.t.weight": lambda w: w[2, 2, -1, -1].zero_(),
}


def both(text: str) -> tuple[torch.nn.Module, InterpreterModule, dict[str, int]]:
    """The generated network and the interpreter, with the same weights."""
    found = program(text, "net")
    torch.manual_seed(0)
    ours: torch.nn.Module = load(generate(found, source_name="net.arch")).root().double().eval()
    oracle = InterpreterModule(found, torch.float64).eval()
    oracle.load_state_dict(ours.state_dict())
    return ours, oracle, dict.fromkeys(found.root.symbols, 4)


def undo(net: torch.nn.Module, oracle: InterpreterModule, sizes: dict[str, int], *y: Tensor) -> list[str]:
    """What the two inverses refuse with; "" where they give a result, and then the same."""
    said, results = [], []
    for run in (lambda: net.inverse(*y), lambda: oracle.interpreter.inverse(y, oracle.tensors, sizes=sizes)):  # type: ignore[operator]
        try:
            with torch.no_grad():
                results.append(run())
            said.append("")
        except ValueError as error:
            said.append(str(error))
    if not any(said):
        torch.testing.assert_close(*results)
    return said


@pytest.mark.parametrize("key", BREAKS)
def test_weights(key: str) -> None:
    ours, oracle, sizes = both(LAYERS)
    y = torch.randn(4, 4, 4, 4, dtype=torch.float64)
    assert undo(ours, oracle, sizes, y) == ["", ""]
    with torch.no_grad():
        BREAKS[key](ours.state_dict()[key])
    oracle.load_state_dict(ours.state_dict())
    generated, interpreted = undo(ours, oracle, sizes, y)
    path, _, name = key.rpartition(".")
    assert f"`{name}`" in generated
    assert f"`{path}` cannot be undone: `{name}`" in interpreted
    assert torch.isfinite(ours(y)).all()  # forward needs none of it


def test_weights_in_regions() -> None:
    """Rebuilding runs the same inverse."""
    ours, _, _ = both(LAYERS)
    ours.train()
    x = torch.randn(4, 4, 4, 4, dtype=torch.float64, requires_grad=True)
    ours(x).sum().backward()
    with torch.no_grad():
        ours.f.n.scale[:, 1] = 0.0  # type: ignore[union-attr, index]
    y = ours(x)
    with pytest.raises(ValueError, match="`scale`"):
        y.sum().backward()


def test_hypotheses_are_listed() -> None:
    found = program(LAYERS, "net")
    hypotheses, _ = total(found.root.nodes[0].callee or found.root)
    assert [h.partition(" (")[0] for h in hypotheses] == [
        "`scale` has no 0", "it is initialised", "det `weight` is not 0", "`w_s` is finite",
        "the last tap has no 0 on its diagonal",
    ]  # fmt: skip


@pytest.mark.parametrize(("stream", "value"), [(0, 1000.0), (1, -2000.0)])
def test_factors(stream: int, value: float) -> None:
    """sigmoid(-1000) and exp(-1000) round to 0."""
    ours, oracle, sizes = both(FACTORS)
    with torch.no_grad():
        ours.s.f.weight.copy_(-torch.eye(4))  # type: ignore[union-attr, operator]
        oracle.load_state_dict(ours.state_dict())
        x = torch.randn(2, 4, 4, dtype=torch.float64)
        assert undo(ours, oracle, sizes, *ours(*x)) == ["", ""]
        y = [torch.full((4, 4), value if i == stream else 0.5, dtype=torch.float64) for i in range(2)]
        assert all("factor" in text for text in undo(ours, oracle, sizes, *y))
    a, b = (t.requires_grad_() for t in torch.randn(2, 4, 4, dtype=torch.float64))
    results = ours(a, b - 1e3)
    with pytest.raises(ValueError, match="factor"):
        sum(t.sum() for t in results).backward()  # type: ignore[union-attr]


def test_bounded_factors_cost_nothing() -> None:
    """What interval arithmetic keeps away from 0 is not looked at."""
    text = generate(program(FACTORS.replace("sigmoid", "tanh -> exp").replace("-> exp\n", "-> tanh -> exp\n"), "net"),
                    source_name="net.arch")  # fmt: skip
    assert "require_nonzero" not in text
    assert "require_nonzero" in generate(program(FACTORS, "net"), source_name="net.arch")


def test_a_factor_by_promise() -> None:
    """`require_nonzero` makes a factor of anything; it is checked where it is computed."""
    text = "reversible block net(a: [B, 4], b: [B, 4]) { a *= b -> relu -> require_nonzero }"
    found = program(text, "net")
    oracle = InterpreterModule(found, torch.float64).eval()
    a, b = torch.rand(2, 3, 4, dtype=torch.float64) + 0.1
    back = oracle.interpreter.inverse(oracle(a, b), oracle.tensors, sizes={"B": 3})
    torch.testing.assert_close(back[0], a, rtol=1e-14, atol=0)
    for run in (oracle, load(generate(found, source_name="net.arch")).root()):
        with pytest.raises(ValueError, match="factor"):
            run(a, b - 0.5)
