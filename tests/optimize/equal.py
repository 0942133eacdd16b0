"""A program beside what the optimiser makes of it: both on the interpreter, the state converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from archlang.codegen import generate
from archlang.inputs import random_inputs, violated
from archlang.interpret.module import InterpreterModule
from archlang.ir.check import check
from archlang.ir.graph import Program
from archlang.ir.paths import join
from archlang.ir.walk import modules
from archlang.ops.base import Context, registry
from archlang.optimize import Optimized, optimize, overwriting
from archlang.optimize.base import known_passes

__all__ = [
    "Given", "Undrawn", "as_written", "compared", "deviation", "exact", "inputs_of", "loaded", "tensors", "trained",
]  # fmt: skip

_DRAWS = (
    torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.random_, torch.nn.init.normal_,
    torch.nn.init.uniform_, torch.nn.init.kaiming_uniform_,
)  # fmt: skip
STATISTICS, COUNT = ("running_mean", "running_var"), "num_batches_tracked"


class Undrawn(TorchFunctionMode):
    """Tensors that are filled at random are filled with zeros, which is faster: others are loaded over them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            with torch.no_grad():
                return (args or tuple(kwargs.values()))[0].zero_()
        return func(*args, **kwargs or {})


def trained(program: Program) -> InterpreterModule:
    """The interpreter in float64, with statistics at random, and so the weights that are given one number for all
    entries (scales, shifts, layers that begin as zeros), as training leaves them. Other buffers are constants."""
    torch.manual_seed(0)
    module = InterpreterModule(program, torch.float64).eval()
    learned = dict(module.named_parameters())
    with torch.no_grad():
        for key, tensor in module.tensors.items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and (key in learned or key.endswith(STATISTICS)):
                _draw(tensor)
    return module


def _draw(tensor: torch.Tensor) -> None:
    """Vectors are drawn beside 1; what is constant in more dimensions, like the weights of a layer."""
    if tensor.dim() <= 1 or (tensor.numel() and tensor.min() == tensor.max()):
        inputs = prod(tensor.shape[1:])
        if inputs == 1:
            tensor.uniform_(0.5, 1.5)
        else:
            tensor.normal_(0, inputs**-0.5)


def observe(module: InterpreterModule, inputs: Sequence[Any]) -> None:
    """Draws statistics beside those that batch norms see of these inputs. With others, a deep network leaves the range
    in which its gates and activations are made to work, and amplifies roundings.

    The variance is the mean of all channels: of few positions, that of one may be next to nothing.
    """
    kept = {key: tensor.clone() for key, tensor in module.tensors.items() if key.endswith(STATISTICS)}
    with torch.no_grad():
        for key in kept:
            module.tensors[key].zero_()
        torch.manual_seed(1)
        module.train()(*inputs)
        module.eval()
        for norm in modules(module.program):
            mean, var, count = (module.tensors.get(join(norm.path, name)) for name in (*STATISTICS, COUNT))
            if mean is None or var is None or count is None:
                continue
            momentum = norm.child.attrs["momentum"]
            seen = float(count > 0) if momentum is None else 1 - (1 - momentum) ** float(count)
            count.zero_()
            if not seen:  # not run in training
                mean.copy_(kept[join(norm.path, "running_mean")])
                var.copy_(kept[join(norm.path, "running_var")])
                continue
            var.copy_(torch.empty_like(var).uniform_(0.5, 2) * max(float(var.mean()) / seen, 1e-6))
            mean.copy_(mean / seen + torch.empty_like(mean).normal_(0, 0.3) * var.sqrt())


def loaded(program: Program, state: Mapping[str, torch.Tensor]) -> InterpreterModule:
    """The interpreter in float64 with a state of its own."""
    with Undrawn():
        module = InterpreterModule(program, torch.float64).eval()
    module.load_state_dict(state)
    return module


def tensors(result: Any) -> list[torch.Tensor]:
    """All tensors of what a module returns."""
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in tensors(part)]


def deviation(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest entry of a result; NaN and infinities have to stay."""
    found = 0.0
    for x, y in zip(tensors(a), tensors(b), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        if x.is_floating_point():
            finite = x.isfinite()
            assert torch.equal(x[~finite].nan_to_num(), y[~finite].nan_to_num()) and y[finite].isfinite().all()
            x, y = x[finite], y[finite]
            difference = float((x - y).abs().max()) if x.numel() else 0.0
            found = max(found, difference / max(float(x.abs().max()) if x.numel() else 0.0, 1e-300))
        else:
            assert torch.equal(x, y)
    return found


class Given:
    """A program, trained weights for it and its results, to compare others with. State and results are made once."""

    def __init__(self, program: Program, sizes: Mapping[str, int]) -> None:
        self.program, self.sizes = program, sizes
        module = trained(program)
        normalised = any(key.endswith(STATISTICS) for key in module.tensors)
        if normalised and violated(program.root, sizes, "train") is None:
            observe(module, inputs_of(program, sizes))
        self.state = module.state_dict()
        self.expected = self.results(module)

    def results(self, module: Callable[..., Any]) -> list[torch.Tensor]:
        """What a module gives for the usual inputs."""
        inputs = inputs_of(self.program, self.sizes)
        with torch.no_grad():
            torch.manual_seed(1)
            return tensors(module(*inputs))

    def after(self, made: Optimized) -> list[torch.Tensor]:
        """The results of what the optimiser has made, on the interpreter."""
        return self.results(loaded(made.program, made.convert(self.state)))

    def moved(self, draws: int = 3) -> float:
        """How far the results move where every weight is rounded to one of its neighbours or stays, at random."""
        return max(deviation(self.expected, self.results(loaded(self.program, self._beside(i)))) for i in range(draws))

    def _beside(self, seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)

        def beside(x: torch.Tensor) -> torch.Tensor:
            towards = torch.randint(-1, 2, x.shape, generator=generator)
            return torch.where(towards == 0, x, x.nextafter(towards * x.new_tensor(torch.inf)))

        return {key: beside(x) if x.is_floating_point() else x for key, x in self.state.items()}

    def written(self, made: Optimized) -> list[torch.Tensor]:
        """The results of the module that is written for it."""
        deployed = overwriting(made)
        text = generate(deployed.program, source_name="net.arch", changes=deployed.changes)
        file: dict[str, Any] = {"__name__": "written"}
        exec(compile(text, "written.py", "exec"), file)
        classes = [c for c in file.values() if isinstance(c, type) and c.__module__ == "written"]
        with Undrawn():
            module = [c for c in classes if issubclass(c, torch.nn.Module)][-1]().double().eval()
        module.load_state_dict(made.convert(self.state), strict=True)
        return self.results(module)


def compared(program: Program, sizes: Mapping[str, int], names: Sequence[str] | None = None) -> tuple[float, Optimized]:
    """How far the optimised program's results are from the program's, and the optimised program, which is checked."""
    made = optimize(program, names=names)
    check(made.program, registry(), Context)
    given = Given(program, sizes)
    return deviation(given.expected, given.after(made)), made


def as_written(made: Optimized, program: Program, sizes: Mapping[str, int]) -> bool:
    """Whether the module that is written for an optimised program gives the interpreter's results, bit for bit."""
    given = Given(program, sizes)
    return deviation(given.after(made), given.written(made)) == 0


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
