"""The published reversible systems: proved, and their inverse gives back what went in, in float64."""

from __future__ import annotations

import pytest
import torch

from archlang.interpret import InterpreterModule
from archlang.reversible import proved
from archlang.shapes.dim import evaluate
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
