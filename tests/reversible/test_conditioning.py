"""The estimate of how rounding errors grow, against what float32 inverses do."""

from __future__ import annotations

import time

import pytest
import torch

import archlang
from archlang.interpret import InterpreterModule
from archlang.ir.graph import Program
from archlang.reversible.conditioning import ROUNDING, growth
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


def test_a_long_run_costs_what_a_short_one_costs() -> None:
    few, many = columns(1.0, 50), columns(1.0, 5000)
    times = []
    for program in (few, many):
        start = time.process_time()
        growth(program)
        times.append(time.process_time() - start)
    assert times[1] < 4 * times[0]
