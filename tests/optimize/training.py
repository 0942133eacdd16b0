"""Training steps of a program and of what the optimiser makes of it for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from archlang.interpret.module import InterpreterModule
from archlang.ir.graph import Program
from archlang.optimize import Optimized, optimize
from tests.optimize.equal import inputs_of, loaded, tensors

__all__ = ["same_step"]


def same_step(
    program: Program,
    sizes: Mapping[str, int],
    names: Sequence[str] | None = None,
    state: Mapping[str, torch.Tensor] | None = None,
) -> Optimized:
    """Optimises for training at -O1 and asserts that a step gives the same bits: results, gradients of weights and
    inputs (or that there are none), statistics, and the generator's state afterwards. state: else fresh weights."""
    made = optimize(program, purpose="train", level=1, names=names)
    torch.manual_seed(0)
    before = InterpreterModule(program, torch.float64) if state is None else loaded(program, state)
    after = loaded(made.program, made.convert(before.state_dict()))
    inputs = inputs_of(program, sizes)
    one, two = _step(before, inputs), _step(after, inputs)
    for a, b in zip(one["results"], two["results"], strict=True):
        assert torch.equal(a, b)
    for kind in ("state", "gradients"):
        expected = made.convert(one[kind])
        assert expected.keys() == two[kind].keys()
        for key, tensor in expected.items():
            assert torch.equal(tensor, two[kind][key]), f"{kind} of {key}"
    for a, b in zip(one["inputs"], two["inputs"], strict=True):
        assert torch.equal(a, b)
    assert torch.equal(one["generator"], two["generator"])
    return made


def _step(module: InterpreterModule, inputs: list[Any]) -> dict[str, Any]:
    torch.manual_seed(1)
    leaves = [_leaf(x) for x in inputs]
    results = tensors(module.train()(*leaves))
    floating = [r for r in results if r.is_floating_point()]
    generator = torch.get_rng_state()
    torch.manual_seed(2)
    loss = sum((r * torch.rand_like(r)).sum() for r in floating)
    if isinstance(loss, torch.Tensor) and loss.requires_grad:
        loss.backward()
    return {
        "results": [r.detach() for r in results], "generator": generator,
        "inputs": [_gradient(x) for leaf in leaves for x in (leaf if isinstance(leaf, list) else [leaf])],
        "state": module.state_dict(),
        "gradients": {k: _gradient(module.tensors[module._keys[k]]) for k in module.state_dict()},
    }  # fmt: skip


def _leaf(value: Any) -> Any:
    if isinstance(value, list):
        return [_leaf(v) for v in value]
    return value.clone().requires_grad_() if value.is_floating_point() else value


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's gradient; a lone 7 where it has none."""
    return torch.tensor(7.0) if tensor.grad is None else tensor.grad
