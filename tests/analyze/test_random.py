"""Random valid specs: figures against what torch counts and saves, and a simulation of memory step by step."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import HealthCheck, given, settings

import archlang
from archlang.analyze import at_peak, cost
from archlang.certify.measure import saved
from archlang.ir.graph import Program
from archlang.loading import instantiate
from archlang.shapes.dim import evaluate
from tests.analyze.networks import macs_on_meta, parameters, peak
from tests.random_specs.strategy import SIZE, Spec, specs

EXAMPLES = 60


def own(module: Any) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def unread(program: Program) -> bool:
    """Whether some node's results are for nobody."""
    for graph in program.graphs:
        read = {id(v) for node in graph.nodes for v in node.inputs} | {id(v) for o in graph.outputs for v in o.values}
        if any(not any(id(v) in read for v in node.outputs) for node in graph.nodes):
            return True
    return False


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(specs())
def test_figures(spec: Spec) -> None:
    compiled = archlang.compile(spec.text, entry="net")
    program = compiled.program
    sizes = {name: 2 if name == "B" else SIZE for name in program.root.symbols}
    found = cost(program, sizes)
    module = instantiate(compiled).train()
    counts = found.parameters
    assert (counts.parameters, counts.trainable, counts.buffers) == parameters(module)
    assert found.tree.parameters == counts.parameters
    assert found.macs == macs_on_meta(compiled, sizes)
    inputs = [torch.randn(2, c, SIZE, SIZE) for c in spec.channels]
    kept, _ = saved(lambda: module(*inputs), own(module))
    if unread(program):  # the generator leaves out operators whose result nobody reads; the graph has them
        assert isinstance(found.saved, int) and found.saved >= kept.total
    else:
        assert found.saved == kept.total
    assert found.peak.known == peak(program, inputs) == sum(size for _, size in at_peak(program, sizes))
    formulas = cost(program)
    if len(formulas.peak.options) == 1:
        assert formulas.peak.options[0] == sum((size for _, size in at_peak(program)), start=0)
    assert evaluate(formulas.saved, sizes) == found.saved
    assert formulas.peak.at(sizes) == found.peak
