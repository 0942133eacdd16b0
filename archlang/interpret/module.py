"""A program with its own weights, used like an nn.Module, so that outputs and gradients can be compared with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from archlang.interpret.bind import InterpretError
from archlang.interpret.initial import initial_state
from archlang.interpret.interpreter import Interpreter
from archlang.ir.graph import Program
from archlang.ir.paths import join
from archlang.ir.walk import modules, parameters

__all__ = ["InterpreterModule"]


class InterpreterModule:
    """Call it as the generated module is called. Not an nn.Module: tensors live in the flat dictionary `tensors`."""

    def __init__(self, program: Program, dtype: Any = None, *, verify: bool = True) -> None:
        self.program = program
        self.interpreter = Interpreter(program, verify=verify)
        self.training = True
        self.tensors: dict[str, Any] = {}
        self._keys: dict[str, str] = {}  # every key of the state dict -> the key under which the tensor is kept
        self._parameters: set[str] = set()
        self._register(initial_state(program, dtype))
        self._register_externs(dtype)

    def _register(self, state: Mapping[str, Any]) -> None:
        for entry in parameters(self.program):
            first = entry.alias_of or entry.key
            if entry.decl.persistent:
                self._keys[entry.key] = first
            if entry.alias_of is not None:
                continue
            tensor = state[entry.key].detach()
            self.tensors[entry.key] = tensor
            if entry.decl.kind == "parameter":
                self._parameters.add(entry.key)
                tensor.requires_grad_(entry.decl.trainable)

    def _register_externs(self, dtype: Any) -> None:
        for module in modules(self.program):
            if module.child.op == "extern":
                made = self.interpreter.externs.build(module.path, module.child.attrs)
                if not hasattr(made, "state_dict"):
                    continue
                made.to(dtype)
                own = dict(made.named_parameters())
                persistent = made.state_dict()
                for name, tensor in (own | dict(made.named_buffers())).items():
                    key = join(module.path, name)
                    self.tensors[key] = tensor
                    if name in own:
                        self._parameters.add(key)
                    if name in persistent:
                        self._keys[key] = key

    # -- as an nn.Module -------------------------------------------------------------------------------------------
    def __call__(self, *inputs: Any) -> Any:
        return self.interpreter.run(inputs, self.tensors, self.training)

    def train(self, mode: bool = True) -> InterpreterModule:
        """Sets the phase."""
        self.training = mode
        return self

    def eval(self) -> InterpreterModule:
        """Sets the phase to evaluation."""
        return self.train(False)

    def to(self, dtype: Any) -> InterpreterModule:
        """Casts every floating tensor; parameters become new leaves without gradients."""
        for key, tensor in self.tensors.items():
            if tensor.is_floating_point():
                self.tensors[key] = tensor.detach().to(dtype).requires_grad_(tensor.requires_grad)
        return self

    def double(self) -> InterpreterModule:
        """Casts to float64."""
        import torch

        return self.to(torch.float64)

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Parameters under their first keys."""
        return ((key, tensor) for key, tensor in self.tensors.items() if key in self._parameters)

    def parameters(self) -> Iterator[Any]:
        """Parameters, shared ones once."""
        return (tensor for _, tensor in self.named_parameters())

    def zero_grad(self) -> None:
        """Drops the gradients."""
        for tensor in self.parameters():
            tensor.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Detached tensors by key, aliases under each of their keys, without non-persistent buffers."""
        return {key: self.tensors[first].detach() for key, first in self._keys.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copies tensors in; returns the missing and the unexpected keys. Strict: raises InterpretError on either."""
        import torch

        missing = [key for key in self._keys if key not in state]
        unexpected = [key for key in state if key not in self._keys]
        if strict and (missing or unexpected):
            raise InterpretError(f"missing keys {missing}, unexpected keys {unexpected}")
        with torch.no_grad():
            for key, first in self._keys.items():
                if key not in state:
                    continue
                if state[key].shape != self.tensors[first].shape:
                    shapes = f"{list(state[key].shape)}, not {list(self.tensors[first].shape)}"
                    raise InterpretError(f"`{key}` has shape {shapes}")
                self.tensors[first].copy_(state[key])
        return missing, unexpected
