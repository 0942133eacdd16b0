"""What is written for a plan: the same function, gradients and buffers as plain autograd, and the memory as planned."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.utils.checkpoint import checkpoint

import archlang
from archlang.api import Compiled
from archlang.budget import Budget, Fit
from archlang.budget.course import measure
from archlang.certify.sample import usual
from archlang.codegen import generate
from archlang.inputs import random_inputs
from archlang.loading import instantiate, module_of
from tests.budget.trained import macs, memory, pair, same, slope, step, stored, written
from tests.random_specs.strategy import SIZE, Spec, specs
from tests.reversible.streams import stand_in

SPECS = Path(__file__).parents[2] / "specs"
RESIDUAL = """
block unit(width: int)(x) {
    y = x -> conv1: conv(width, 3, padding=1, bias=false) -> bn1: batchnorm -> relu -> dropout(0.3)
          -> conv2: conv(width, 3, padding=1, bias=false) -> bn2: batchnorm
    return (y + x) -> relu
}
block net(x: [B, 3, H, W]) {
    x = x -> stem: conv(8, 3, padding=1) -> body: chain([unit(8) for _ in 0..9]) -> mid: conv(12, 1)
    return x -> tail: chain([unit(12) for _ in 0..3]) -> global_avgpool -> fc: linear(5)
}
"""
SKIPS = """
block level(width: int)(x) { return x -> conv: conv(width, 3, padding=1) -> norm: groupnorm(2) -> silu }
block net(x: [B, 4, H, W]) {
    a = x -> a: level(8)
    b = a -> b: level(8)
    c = b -> c: level(8)
    d = concat(c, b) -> d: level(8)
    e = concat(d, a) -> e: level(8)
    return (e * x -> scale: conv(8, 1) -> sigmoid)
}
""".replace("(e * x -> scale: conv(8, 1) -> sigmoid)", "e * (x -> scale: conv(8, 1) -> sigmoid)")
AUXILIARY = """
block head(x) { return x -> conv: conv(4, 1) -> relu -> global_avgpool -> fc: linear(3) }
block net(x: [B, 4, H, W]) {
    x = x -> first: chain([(conv(8, 3, padding=1) -> batchnorm -> relu) for _ in 0..4])
    if training { aux = x -> side: head() }
    x = x -> second: chain([(conv(8, 3, padding=1) -> relu) for _ in 0..4])
    return x -> main: head(), training aux=aux
}
"""
REVERSIBLE = """
use std.reversible: coupling
block branch(x) { return x -> conv: conv(8, 3, padding=1) -> bn: batchnorm -> relu -> dropout(0.2) }
block net(a: [B, 8, H, W], b: [B, 8, H, W]) {
    return (a, b) -> body: chain([coupling(branch(), branch()) for _ in 0..8])
}
"""
SHARED = """
block net(x: [B, 6, T]) {
    cell = (linear(16) -> gelu -> linear(6) -> layernorm)
    for _ in 0..5 { x += (x -> transpose(1, 2)) -> c: cell -> transpose(1, 2) }
    return x
}
""".replace("cell = (linear", "c = (linear").replace("-> c: cell ->", "-> c ->")
STAGES = """
block unit()(x) { return x -> a: conv(8, 3, padding=1) -> tanh -> b: conv(8, 3, padding=1) -> tanh }
block net(x: [B, 8, H, W]) {
    return x -> first: chain([unit() for _ in 0..2]) -> second: chain([unit() for _ in 0..2])
             -> third: chain([unit() for _ in 0..2]) -> fourth: chain([unit() for _ in 0..2])
             -> fifth: chain([unit() for _ in 0..2]) -> last: conv(3, 1)
}
"""
BRAID = """
block arm(x) { return x -> conv: conv(8, 3, padding=1) -> bn: batchnorm -> silu }
block net(x: [B, 4, H, W]) {
    a = x -> a0: arm() -> dropout(0.1)
    b = x -> b0: arm() -> dropout(0.2)
    c = x -> c0: arm()
    norm = batchnorm
    a = a -> a1: arm()
    b = b -> b1: arm() -> norm
    c = c -> c1: arm() -> norm
    a = a -> a2: arm() -> global_avgpool
    b = b -> b2: arm() -> global_avgpool
    c = c -> c2: arm() -> global_avgpool
    return (a + b + c) -> dropout(0.3) -> fc: linear(5)
}
"""  # branches, a layer of each in turn
NETS = {
    "residual": RESIDUAL, "skips": SKIPS, "auxiliary": AUXILIARY, "reversible": REVERSIBLE, "shared": SHARED,
    "stages": STAGES, "braid": BRAID,
}  # fmt: skip
SIZES = {"B": 2, "H": 6, "W": 6, "T": 7}
FRACTIONS = (0.0, 0.35, 0.8)


@cache
def net(name: str) -> tuple[Compiled, Budget]:
    compiled = archlang.compile(NETS[name], "net")
    return compiled, budget_of(compiled)


@cache
def fit_of(name: str, fraction: float) -> Fit:
    return at(net(name)[1], fraction)


def budget_of(compiled: Compiled) -> Budget:
    return Budget(compiled.program, {name: SIZES[name] for name in compiled.program.root.symbols})


def at(budget: Budget, fraction: float) -> Fit:
    """The plan for a budget between the least and all stored."""
    memory = int(budget.least.peak + fraction * (budget.stored.peak - budget.least.peak))
    found = budget.within(memory)
    assert found is not None and found.peak <= memory
    return found


def doubles(budget: Budget) -> list[Any]:
    found = random_inputs(budget.program, budget.sizes)
    return [t.double() if t.is_floating_point() else t for t in found]


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("name", NETS)
def test_the_step_is_that_of_plain_autograd(name: str, fraction: float) -> None:
    (compiled, budget), fit = net(name), fit_of(name, fraction)
    assert fit.peak < budget.stored.peak
    plain, planned = pair(compiled, budget, fit)
    inputs = doubles(budget)
    same(step(plain, inputs), step(planned, inputs))
    plain.eval(), planned.eval()
    same(step(plain, inputs), step(planned, inputs))
    with torch.no_grad():
        result = planned(*inputs)
        assert torch.equal(*(r[0] if isinstance(r, tuple) else r for r in (result, plain(*inputs))))


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize("name", NETS)
def test_memory_is_as_planned(name: str, fraction: float) -> None:
    (compiled, budget), fit = net(name), fit_of(name, fraction)
    design = written(compiled, budget, fit)
    kept, peak = memory(instantiate(design), random_inputs(budget.program, budget.sizes))
    assert kept == fit.kept
    assert 0.98 * fit.peak <= peak <= 1.02 * fit.peak


FLOWS = """
block branch(x) { return x -> conv: conv(8, 3, padding=1) -> bn: batchnorm -> relu -> last: conv(8, 1) }
reversible block affine(f: module)(x) {
    a, b = x -> halves
    s, t = a -> net: f -> halves
    b += t
    b *= exp(tanh(s))
    x = concat([a, b])
}
reversible block step(x) {
    x = x -> norm: actnorm -> mix: invertible_conv(lu=true) -> coupling: affine(branch())
    x = x -> last: affine(branch())
}
reversible block level(x) { x = x -> steps: chain([step() for _ in 0..3]) -> more: step() }
block net(x: [B, 8, H, W]) { return x -> first: BLOCK -> second: BLOCK }
"""


@pytest.mark.parametrize("block", ["affine(branch())", "step()", "level()"])
def test_what_undoing_holds(block: str) -> None:
    """Steps that share what computes their operands are undone at once; of blocks in blocks the largest step counts."""
    compiled = archlang.compile(FLOWS.replace("BLOCK", block), "net")
    budget = Budget(compiled.program, {"B": 2, "H": 6, "W": 6})
    course = budget.layouts[0].course
    undone = max((c for c in course.choices if c.what.kind == "undo"), key=lambda c: c.stop - c.start)
    assert (undone.start, undone.stop) == (0, course.parts)
    plan = measure(course, [undone])
    assert memory(instantiate(compiled), random_inputs(budget.program, budget.sizes)) == (plan.kept, plan.peak)


def test_two_streams_hold_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than on one, and no more than is planned for undoing the whole network."""
    compiled = archlang.compile(REVERSIBLE, "net")
    budget = Budget(compiled.program, {"B": 2, "H": 6, "W": 6}, overlap=True)
    undone = max((c for c in budget.layouts[0].course.choices if c.what.kind == "undo"), key=lambda c: c.stop - c.start)
    text = generate(compiled.program, source_name="net.arch", overlap=True)
    made = Compiled(text, compiled.program, (), compiled.entry, compiled.spec)
    net, inputs = instantiate(made), random_inputs(budget.program, budget.sizes)
    _, one = memory(net, inputs)
    stand_in(monkeypatch, module_of(made))
    _, two = memory(net, inputs)
    assert one < two <= undone.extra + sum(budget.layouts[0].course.sizes[t] for t in undone.keeps)


@pytest.mark.parametrize("fraction", (0.0, 0.35))
@pytest.mark.parametrize("name", [name for name in NETS if name != "shared"])
def test_work_is_as_planned(name: str, fraction: float) -> None:
    """Torch counts as many MACs more than in a plain step; fewer where checkpoints lie inside of others."""
    (compiled, budget), fit = net(name), fit_of(name, fraction)
    plain, planned = pair(compiled, budget, fit)
    inputs = doubles(budget)
    more = macs(planned, inputs) - macs(plain, inputs)
    nested = any(choice.what.kind == "again" and choice.what.schedule for choice in fit.plan.choices)
    assert more <= fit.again if nested else more == fit.again


@pytest.mark.parametrize(
    ("spec", "entry", "sizes"),
    [
        ("preresnet.arch", "preresnet20", {"B": 2, "H": 32, "W": 32}),
        ("llama.arch", "llama_small", {"B": 2, "T": 16}),
        ("reversible_unet3d.arch", "reversible", {"B": 2, "D": 8, "H": 8, "W": 8}),
    ],
)
def test_published_networks(spec: str, entry: str, sizes: dict[str, int]) -> None:
    compiled = archlang.compile(SPECS / spec, entry)
    budget = Budget(compiled.program, sizes)
    fit = at(budget, 0.3)
    plain, planned = pair(compiled, budget, fit)
    inputs = doubles(budget)
    same(step(plain, inputs), step(planned, inputs), 1e-7)
    kept, peak = memory(planned.float(), random_inputs(budget.program, sizes))
    assert kept == fit.kept
    assert peak <= 1.02 * fit.peak


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ("griffin.arch", "griffin_small"),  # gradients end at `detach`
        ("magnitude_invariant.arch", "hyper_lenet"),
        ("ladder.arch", "ladder_small"),
    ],
)
def test_published_networks_hold_what_is_planned(spec: str, entry: str) -> None:
    """benchmarks/planner_specs.py does this for a design of each file."""
    compiled = archlang.compile(SPECS / spec, entry)
    budget = Budget(compiled.program, usual(compiled.program)[0])
    for fit in (budget.least, at(budget, 0.3)):
        kept, peak = memory(instantiate(written(compiled, budget, fit)), random_inputs(budget.program, budget.sizes))
        assert kept == fit.kept
        assert abs(peak - fit.peak) <= 0.02 * fit.peak


def test_a_segment_runs_from_one_stage_into_the_next() -> None:
    """The stages that it runs through stand in the forward; the others are calls, and keys are as before."""
    compiled, budget = net("stages")
    crossing = [fit for fit in budget.curve(12) if fit.layout is not budget.layouts[0]]
    assert crossing
    alone = [budget.layouts[0].within(fit.peak) for fit in crossing]
    assert all(one is None or one.again > fit.again for one, fit in zip(alone, crossing, strict=True))
    sources = "".join(written(compiled, budget, fit).source for fit in crossing)
    assert "def second_to_third(self, x: Tensor)" in sources
    assert "self.third[0](self.second[1](x))" in sources
    for fit in crossing:
        plain, planned = pair(compiled, budget, fit)
        inputs = doubles(budget)
        same(step(plain, inputs), step(planned, inputs))
        assert memory(planned.float(), random_inputs(budget.program, budget.sizes)) == (fit.kept, fit.peak)


def test_a_region_inside_of_a_checkpoint() -> None:
    compiled, budget = net("reversible")
    plain, module = instantiate(stored(compiled)).double(), instantiate(compiled).double()
    module.load_state_dict(plain.state_dict())
    inputs = [x.requires_grad_() for x in doubles(budget)]
    torch.manual_seed(0)
    torch.autograd.backward(plain(*inputs), [slope(x) for x in inputs])
    torch.manual_seed(0)
    results = checkpoint(module, *inputs, use_reentrant=False)
    torch.autograd.backward(results, [slope(x) for x in inputs])
    for mine, other in zip(plain.parameters(), module.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-9, atol=1e-9)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_random_specs(spec: Spec) -> None:
    compiled = archlang.compile(spec.text, entry="net")
    budget = Budget(compiled.program, {name: 2 if name == "B" else SIZE for name in compiled.program.root.symbols})
    fit = at(budget, 0.3)
    plain, planned = pair(compiled, budget, fit)
    inputs = [torch.randn(2, c, SIZE, SIZE, dtype=torch.float64) for c in spec.channels]
    same(step(plain, inputs), step(planned, inputs), 1e-7)
    kept, peak = memory(planned.float(), [x.float() for x in inputs])
    assert kept == fit.kept
    assert peak <= 1.02 * fit.peak


def test_the_linter_finds_nothing(tmp_path: Path) -> None:
    for name in NETS:
        compiled, budget = net(name)
        for fit in (budget.least, at(budget, 0.5)):
            (tmp_path / f"{name}_{fit.peak}.py").write_text(written(compiled, budget, fit).source)
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "."], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_backward_pass() -> None:
    """Each backward pass evaluates again, and buffers change once all the same."""
    compiled = archlang.compile(RESIDUAL, "net")
    budget = budget_of(compiled)
    plain, planned = pair(compiled, budget, budget.least)
    inputs = doubles(budget)
    found = []
    for module in (plain, planned):
        torch.manual_seed(0)
        loss = module(*inputs).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        found.append(([p.grad for p in module.parameters()], list(module.buffers())))
    for mine, other in zip(*found, strict=True):
        assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(mine, other, strict=True))


def test_long_runs_have_one_choice_for_several_layers() -> None:
    text = """
    block unit(x) { return x + (x -> a: linear(8) -> relu -> b: linear(8)) }
    block net(x: [B, 8]) { return x -> body: chain([unit() for _ in 0..150]) -> head: linear(4) }
    """
    compiled = archlang.compile(text, "net")
    budget = budget_of(compiled)
    fit = at(budget, 0.3)
    plain, planned = pair(compiled, budget, fit)
    inputs = doubles(budget)
    same(step(plain, inputs), step(planned, inputs))
    assert memory(planned.float(), random_inputs(budget.program, budget.sizes)) == (fit.kept, fit.peak)
    assert len(written(compiled, budget, fit).source.splitlines()) < 150


def test_it_compiles() -> None:
    """Statistics of batches change once there, too."""
    compiled = archlang.compile(RESIDUAL.replace("-> dropout(0.3)", "").replace("0..9", "0..3"), "net")
    budget = budget_of(compiled)
    plain, planned = pair(compiled, budget, budget.least)
    torch._dynamo.reset()
    whole = torch.compile(planned, backend="aot_eager", fullgraph=True)
    inputs = doubles(budget)
    same(step(plain, inputs), step(whole, inputs))


def test_statistics_change_once() -> None:
    compiled = archlang.compile(RESIDUAL, "net")
    budget = budget_of(compiled)
    _, planned = pair(compiled, budget, budget.least)
    step(planned, doubles(budget))
    counters = [b for name, b in planned.named_buffers() if name.endswith("num_batches_tracked")]
    assert counters and all(int(c) == 1 for c in counters)


def test_what_is_not_written_is_not_copied() -> None:
    """Constants, beside statistics: a second evaluation of both holds copies of the latter alone."""
    text = """
    block unit(x) { return x -> mix: invertible_conv(lu=true) -> bn: batchnorm }
    block net(x: [B, 8, H, W]) { return x -> body: chain([unit() for _ in 0..12]) }
    """
    compiled = archlang.compile(text, "net")
    budget = Budget(compiled.program, {"B": 1, "H": 3, "W": 3})
    plain, planned = pair(compiled, budget, budget.least)
    inputs = doubles(budget)
    assert "**once(*layers)" in written(compiled, budget, budget.least).source
    same(step(plain, inputs), step(planned, inputs))
    held = memory(planned.float(), random_inputs(budget.program, budget.sizes))
    assert held == (budget.least.kept, budget.least.peak)


def test_statistics_of_lent_modules_change_once() -> None:
    text = """
    block unit(norm: module)(x) { return x + (x -> a: linear(8) -> norm -> tanh -> b: linear(8)) }
    block net(x: [B, 8]) {
        norm = "norm": batchnorm
        return x -> first: unit(norm) -> second: unit(norm) -> third: unit(norm) -> head: linear(2)
    }
    """
    compiled = archlang.compile(text, "net")
    budget = budget_of(compiled)
    assert "self.norm, **once(" in written(compiled, budget, budget.least).source
    plain, planned = pair(compiled, budget, budget.least)
    inputs = doubles(budget)
    same(step(plain, inputs), step(planned, inputs))


def test_no_segment_keeps_a_graph_that_would_be_gone() -> None:
    """One that begins with `detach` would, as a checkpoint keeps what it takes with all that made it."""
    text = """
    block unit(x) { return x + (x -> a: linear(8) -> tanh -> b: linear(8)) }
    block net(x: [B, 8]) {
        x = x -> first: chain([unit() for _ in 0..4])
        x = detach(x) -> second: unit() -> third: unit() -> fourth: unit()
        return x -> head: linear(2)
    }
    """
    compiled = archlang.compile(text, "net")
    budget = budget_of(compiled)
    for fit in (budget.least, at(budget, 0.4)):
        plain, planned = pair(compiled, budget, fit)
        inputs = doubles(budget)
        same(step(plain, inputs), step(planned, inputs))
        assert memory(planned.float(), random_inputs(budget.program, budget.sizes)) == (fit.kept, fit.peak)


def test_what_all_stored_costs_is_what_the_cost_model_says() -> None:
    for name in NETS:
        compiled, budget = net(name)
        found = archlang.analyze.cost(compiled.program, budget.sizes, rebuild=False)  # type: ignore[attr-defined]
        assert budget.stored.kept == budget.stored.peak == found.saved
        assert budget.schedule(budget.stored) == ()
        assert "checkpoint" not in stored(compiled).source


def test_a_block_that_is_opened_counts_what_it_gives() -> None:
    """Evaluated again as a whole, though its parts have choices of their own."""
    text = "block net(x: [B, 8]) { return x -> f: (linear(8) -> layernorm -> relu) -> g: linear(3) }"
    budget = Budget(archlang.compile(text, "net").program, {"B": 50})
    whole = next(
        c
        for c in budget.layouts[0].course.choices
        if c.what.kind == "again" and c.what.level.units[c.what.first].opened
    )
    assert whole.extra == 2 * 4 * 50 * 8 + 2 * 4 * 50  # what layernorm takes and measures, and what relu gives
