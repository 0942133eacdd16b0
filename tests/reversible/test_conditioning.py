"""The estimate of how rounding errors grow, against what float32 inverses do."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import archlang
from archlang.interpret import InterpreterModule
from archlang.ir.graph import Program
from archlang.reversible import invert, signals
from archlang.reversible.conditioning import ROUNDING, growth
from archlang.reversible.judge import Judge
from tests.reversible.helpers import flat

COLUMNS = """
block level(width: int)(below, above: tensor?) {
    y = below -> conv: conv(width, 3, padding=1)
    if above != none { y = y + (above -> up: conv(width, 1)) }
    return y -> norm: layernorm2d -> one: conv(width, 3, padding=1) -> gelu -> two: conv(width, 1)
}
reversible block column(alpha: float, levels: [module])(c: tensors; stem) {
    for l in 0..len(c) {
        weight gamma as "alpha{l}": [1, c[l].channels, 1, 1] = alpha, nonzero
        below = if l == 0 then stem else c[l - 1]
        above = if l + 1 < len(c) then c[l + 1] else none
        c[l] = gamma * c[l] + levels[l](below, above)
    }
}
block net(alpha: float, count: int)(c: [B, 3, 8, 8]) -> tensors {
    start = [c -> c0: conv(16, 1), c -> c1: conv(16, 1), c -> c2: conv(16, 1), c -> c3: conv(16, 1)]
    return (start; c) -> body: chain([column(alpha, [level(16) for _ in 0..4]) for _ in 0..count])
}
"""


def columns(alpha: float, count: int) -> Program:
    return archlang.compile(COLUMNS, alpha=alpha, count=count).program


def measured(program: Program) -> float:
    """Relative error of the chain's streams, rebuilt in float32 from its float32 results."""
    from archlang.interpret.interpreter import _Run

    torch.manual_seed(0)
    module = InterpreterModule(program).eval()
    node = next(n for n in program.root.nodes if n.op == "call")
    assert node.callee is not None and node.path is not None
    x = torch.randn(2, 3, 8, 8)
    run = _Run(module.interpreter, module.tensors, False)
    with torch.no_grad():
        starts = [torch.nn.functional.conv2d(x, module.tensors[f"c{i}.weight"]) for i in range(4)]
        env = {"B": 2}
        prefix = "body"
        results = run.graph(node.callee, env, prefix, {}, [*starts, x])
        from archlang.reversible import invert

        back = run.graph(invert(node.callee), env, prefix, {}, [*results, x])
    return max(float((a - b).norm() / b.norm()) for a, b in zip(flat(back), starts, strict=True))


@pytest.mark.parametrize(("alpha", "count"), [(0.5, 4), (0.5, 10), (0.5, 15), (1.0, 15), (2.0, 15)])
def test_the_estimate_is_of_the_right_size(alpha: float, count: int) -> None:
    program = columns(alpha, count)
    (one,) = growth(program)
    estimate, real = one.total * ROUNDING["float32"], measured(program)
    assert real / 100 < estimate < 100 * real, (estimate, real)


def test_published_columns_cannot_be_undone_and_unit_factors_can() -> None:
    (half,), (unit,) = growth(columns(0.5, 15)), growth(columns(1.0, 15))
    assert half.total * ROUNDING["float32"] > 1
    assert unit.total * ROUNDING["float32"] < 1e-4
    assert half.per_block > 3 > unit.per_block


def test_a_fresh_irevnet_is_warned_of() -> None:
    program = archlang.compile("specs/irevnet.arch", "irevnet301").program
    (calibrated,), (fresh,) = growth(program), growth(program, calibrated=False)
    assert calibrated.blocks == fresh.blocks == 100
    assert calibrated.total < 1e4
    assert fresh.total > 1e10


COUPLINGS = """
use std.reversible: coupling
block branch(x) { return x -> norm: layernorm -> one: linear(32) -> gelu -> two: linear(32) }
block net(count: int)(a: [B, 32], b: [B, 32]) {
    return (a, b) -> body: chain([coupling(branch(), branch()) for _ in 0..count])
}
"""
DECAY = """
reversible block decay(a, b) {
    a = 0.2 * a + (b -> f: linear(32))
    b = 0.2 * b + (a -> g: linear(32))
}
block net(count: int)(a: [B, 32], b: [B, 32]) { return (a, b) -> body: chain([decay() for _ in 0..count]) }
"""


@pytest.mark.parametrize(
    ("text", "params"),
    [(COUPLINGS, {}), (DECAY, {}), *((COLUMNS, {"alpha": alpha}) for alpha in (0.8, 1.0, 1.2))],
    ids=["couplings", "decay", "0.8", "1.0", "1.2"],
)
@pytest.mark.parametrize("count", [20, 100])
def test_a_long_run_is_not_less_than_block_by_block(
    text: str, params: dict[str, float], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = archlang.compile(text, entry="net", count=count, **params).program
    (estimate,) = growth(program)
    monkeypatch.setattr(signals, "STEPS", count)
    (followed,) = growth(program)
    most = 1e30  # nothing is left long before
    assert 1 <= min(estimate.total, most) / min(followed.total, most) < 2.5
    vanish = text is DECAY and count == 100  # the streams, and with them what is relative to their sizes
    for every in () if vanish else (1, 3, 8, count):
        long, short = (min(one.anchored(every), most) for one in (estimate, followed))
        assert 0.9 <= long / short < 2.5, every


def steps_of(count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the prover judges a step, how many nodes inverses have, how many rules an estimate applies."""
    found = {"judged": 0, "rules": 0}

    def counted(name: str, function: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            found[name] += 1
            return function(*args, **kwargs)

        return wrapper

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "judge", counted("judged", Judge.judge))
        patch.setattr(signals.Signals, "rule", counted("rules", signals.Signals.rule))
        program = archlang.compile(COUPLINGS, entry="net", count=count).program
        growth(program)
        found["inverse"] = sum(len(invert(g).nodes) for g in program.graphs if g.proof is not None)
    return found


def test_a_long_run_costs_what_a_short_one_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    ten, thousand, most = (steps_of(count, monkeypatch) for count in (10, 1000, 50_000))
    for name in ("judged", "inverse"):
        assert ten[name] == thousand[name] == most[name] > 0
    assert thousand["rules"] < 4 * ten["rules"]
    assert most["rules"] < 16 * thousand["rules"]  # anchors are looked for, in as many tries as the count has bits
