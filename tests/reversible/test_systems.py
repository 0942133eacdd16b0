"""The published reversible systems, in float64: proved, inverted, and trained without stored activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.reversible import proved
from archlang.shapes.dim import evaluate
from tests.codegen.load import load
from tests.reversible.helpers import difference, flat, program, shape_at
from tests.reversible.systems import SYSTEMS

SIZES = {"B": 2, "T": 6, "D": 4, "H": 4, "W": 4, "h": 2, "w": 2}


@pytest.mark.parametrize("name", SYSTEMS)
def test_inverse(name: str) -> None:
    """With normalisations calibrated on the batch: without, an i-RevNet of this size already loses its input."""
    found = program(SYSTEMS[name], "net")
    root = found.root
    proof = proved(root)
    assert proof is not None and proof.steps
    torch.manual_seed(0)
    module = InterpreterModule(found, torch.float64)
    sizes = {symbol: evaluate(found.given.get(symbol, SIZES.get(symbol, 0)), SIZES) for symbol in root.symbols}
    inputs = [[torch.randn(shape_at(v.type.shape, sizes), dtype=torch.float64) for v in p.values] for p in root.inputs]
    given = [made if port.kind == "tensors" else made[0] for port, made in zip(root.inputs, inputs, strict=True)]
    streams = flat([made for port, made in zip(root.inputs, inputs, strict=True) if not port.context])
    context = flat([made for port, made in zip(root.inputs, inputs, strict=True) if port.context])
    with torch.no_grad():
        module.train()
        for _ in range(40 if any(key.endswith("running_mean") for key in module.tensors) else 0):
            module(*given)
        outputs = module.eval()(*given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        back = module.interpreter.inverse([*outputs, *context], module.tensors, sizes=sizes)
    back = back if isinstance(back, tuple) else (back,)
    for ours, theirs in zip(flat([*back]), streams, strict=True):
        assert difference(ours, theirs) < 1e-10


@pytest.mark.parametrize("name", SYSTEMS)
def test_gradients(name: str) -> None:
    """Of generated code, whose backward pass rebuilds the streams, against plain autograd through the same modules."""
    found = program(SYSTEMS[name], "net")
    module = load(generate(found, source_name="net.arch"))
    net = module.root().double().train()
    sizes = {symbol: evaluate(found.given.get(symbol, SIZES.get(symbol, 0)), SIZES) for symbol in found.root.symbols}
    torch.manual_seed(0)
    given = []
    for port in found.root.inputs:
        given.append(torch.randn(shape_at(port.values[0].type.shape, sizes), dtype=torch.float64, requires_grad=True))
    every = [*net.parameters(), *given]
    state = {key: value.clone() for key, value in net.state_dict().items()}
    rebuilt = module.rebuild

    def gradients() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        net.load_state_dict(state)
        torch.manual_seed(1)
        results = flat_results(net(*given))
        loss = sum((t * t.detach().cos()).sum() for t in results)
        assert isinstance(loss, torch.Tensor)
        found = torch.autograd.grad(loss, every)
        return list(found), [b.clone() for b in net.buffers()]

    def plain(inner: Any, *args: Any, **options: Any) -> Any:
        return tuple(flat_results(inner(*args) if isinstance(inner, nn.Module) else inner(module.Plain(), *args)))

    ours, buffers = gradients()
    calls = []
    module.rebuild = lambda *args, **options: (calls.append(args[0]), plain(*args, **options))[1]
    theirs, expected = gradients()
    module.rebuild = rebuilt
    assert calls
    for a, b in zip(ours, theirs, strict=True):
        assert float((a - b).norm()) <= 1e-12 * float(b.norm()) + 1e-13 * max(float(g.abs().max()) for g in theirs)
    for a, b in zip(buffers, expected, strict=True):
        assert torch.equal(a, b)


def flat_results(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [t for item in result for t in flat_results(item)]
