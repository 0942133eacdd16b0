"""A program beside what the optimiser makes of it: both on the interpreter, the state converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from archlang.codegen import generate
from archlang.inputs import random_inputs
from archlang.interpret.module import InterpreterModule
from archlang.ir.check import check
from archlang.ir.graph import Program
from archlang.ops.base import Context, registry
from archlang.optimize import Optimized, optimize, overwriting
from archlang.optimize.base import known_passes

__all__ = ["as_written", "compared", "deviation", "exact", "inputs_of", "tensors", "trained"]


def trained(program: Program) -> InterpreterModule:
    """The interpreter in float64, with statistics and one-dimensional weights as training leaves them: at random."""
    torch.manual_seed(0)
    module = InterpreterModule(program, torch.float64).eval()
    with torch.no_grad():
        for key, tensor in module.tensors.items():
            if not tensor.is_floating_point():
                continue
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() <= 1:
                tensor.uniform_(0.5, 1.5)
    return module


def tensors(result: Any) -> list[torch.Tensor]:
    """All tensors of what a module returns."""
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


def deviation(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest entry of a result; NaN has to be where NaN was."""
    found = 0.0
    for x, y in zip(tensors(a), tensors(b), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        if x.is_floating_point():
            assert torch.equal(x.isnan(), y.isnan())
            x, y = x[~x.isnan()], y[~y.isnan()]
            difference = float((x - y).abs().max()) if x.numel() else 0.0
            found = max(found, difference / max(float(x.abs().max()) if x.numel() else 0.0, 1e-300))
        else:
            assert torch.equal(x, y)
    return found


def compared(program: Program, sizes: Mapping[str, int], names: Sequence[str] | None = None) -> tuple[float, Optimized]:
    """How far the optimised program's results are from the program's, and the optimised program, which is checked."""
    made = optimize(program, names=names)
    check(made.program, registry(), Context)
    before, after = trained(program), InterpreterModule(made.program, torch.float64).eval()
    after.load_state_dict(made.convert(before.state_dict()))
    inputs = inputs_of(program, sizes)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = before(*inputs)
        torch.manual_seed(1)
        found = after(*inputs)
    return deviation(expected, found), made


def as_written(made: Optimized, program: Program, sizes: Mapping[str, int]) -> bool:
    """Whether the module that is written for an optimised program gives the interpreter's results, bit for bit."""
    state = made.convert(trained(program).state_dict())
    deployed = overwriting(made)
    text = generate(deployed.program, source_name="net.arch", changes=deployed.changes)
    file: dict[str, Any] = {"__name__": "written"}
    exec(compile(text, "written.py", "exec"), file)
    modules = [c for c in file.values() if isinstance(c, type) and c.__module__ == "written"]
    module = [c for c in modules if issubclass(c, torch.nn.Module)][-1]().double().eval()
    module.load_state_dict(state, strict=True)
    interpreter = InterpreterModule(made.program, torch.float64).eval()
    interpreter.load_state_dict(state)
    results = []
    with torch.no_grad():
        for run in (module, interpreter):
            inputs = inputs_of(program, sizes)
            torch.manual_seed(1)
            results.append(tensors(run(*inputs)))
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(*results, strict=True))


def inputs_of(program: Program, sizes: Mapping[str, int]) -> list[Any]:
    """Random inputs, floating ones in float64; the same at every call."""
    torch.manual_seed(2)
    return [_double(x) for x in random_inputs(program, sizes)]


def _double(value: Any) -> Any:
    if isinstance(value, list):
        return [_double(v) for v in value]
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def exact() -> list[str]:
    """The passes for inference that change no bit."""
    return [name for name, p in known_passes().items() if p.equivalence == "exact" and "inference" in p.purposes]
