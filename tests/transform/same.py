"""A network beside what a transform makes of it: the state converted, the generated module equal to the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

import archlang
from archlang.interpret.module import InterpreterModule
from archlang.ir.check import check
from archlang.loading import module_of
from archlang.ops.base import Context, registry

__all__ = ["applied", "randomised"]


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """In float64 and evaluation, with all that training changes drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            positive = tensor.dim() < 2 and "bias" not in key
            new = torch.rand(tensor.shape, generator=generator) + 0.5
            tensor.copy_(new if positive else torch.randn(tensor.shape, generator=generator) / 4)
    return module.double().eval()


def applied(
    spec: Any, calls: Sequence[str], inputs: Sequence[torch.Tensor], *trained: nn.Module, **given: Any
) -> tuple[nn.Module, archlang.Applied]:
    """The network after `calls`, with the state of the trained ones.

    Checked on the way: the graph is well-formed, the state loads strictly, the generated `convert_state_dict` makes
    the same of it, and the generated module does to the bit what the interpreter does.
    """
    made = archlang.apply(spec, *calls, **given)
    check(made.program, registry(), Context)
    states = [m.state_dict() for m in trained]
    state = made.convert(*states)
    module = made.build().double().eval()
    module.load_state_dict(state, strict=True)
    written = getattr(module_of(made), "convert_state_dict", dict)(*states)
    assert written.keys() == state.keys() and all(torch.equal(written[key], state[key]) for key in state)
    interpreter = InterpreterModule(made.program, torch.float64).eval()
    interpreter.load_state_dict(state)
    with torch.no_grad():
        results, expected = module(*inputs), interpreter(*inputs)
    if isinstance(results, torch.Tensor):
        results, expected = [results], [expected]
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
    return module, made
