"""Short forms for reversible blocks: a spec's proof, its inverse run in float64, what a refused one says."""

from __future__ import annotations

from typing import Any

import torch

from archlang.interpret import InterpreterModule
from archlang.ir.check import check
from archlang.ir.graph import Graph, Program
from archlang.ops.base import Context, registry
from tests.elaborate.helpers import done


def program(text: str, entry: str | None = None, **params: Any) -> Program:
    """The elaborated program, checked."""
    found = done(text, entry, **params).program
    check(found, registry(), Context)
    return found


def roundtrip(text: str, entry: str | None = None, *, sizes: dict[str, int] | None = None, **params: Any) -> float:
    """Largest |inverse(forward(x)) - x| relative to max |x|, for the root block in float64."""
    found = program(text, entry, **params)
    torch.manual_seed(0)
    module = InterpreterModule(found, torch.float64).eval()
    env = dict.fromkeys(found.root.symbols, 4) | (sizes or {})
    inputs, streams, context = [], [], []
    for port in found.root.inputs:
        made = [torch.randn(shape_at(v.type.shape, env), dtype=torch.float64) for v in port.values]
        given = made if port.kind == "tensors" else made[0]
        inputs.append(given)
        (context if port.context else streams).append(given)
    with torch.no_grad():
        outputs = module(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        back = module.interpreter.inverse([*outputs, *context], module.tensors, sizes=env)
    back = back if isinstance(back, tuple) else (back,)
    return max(difference(a, b) for a, b in zip(flat(back), flat(streams), strict=True))


def shape_at(shape: Any, env: dict[str, int]) -> tuple[int, ...]:
    from archlang.shapes.dim import evaluate

    return tuple(evaluate(size, env) for size in shape)


def flat(items: Any) -> list[torch.Tensor]:
    return [t for item in items for t in (item if isinstance(item, list) else [item])]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max() / b.abs().max())


def proof_text(graph: Graph) -> list[str]:
    from archlang.ir.text import graph_text

    lines = graph_text(graph).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  proof "))
    return [line.strip() for line in lines[start:]]
