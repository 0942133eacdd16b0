"""Extern blocks: a user's own modules and functions, imported when they are run.

An `extern` node's attributes are `target`, "package.module:Name", and `args`, (name, value) pairs for its
constructor. A class must make an nn.Module; any other callable is called with the inputs, then the arguments.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from archlang.interpret.bind import InterpretError
from archlang.ir.externs import undoing_method

__all__ = ["Externs", "load_target"]


def load_target(target: str) -> Any:
    """What `package.module:Name` names. Raises InterpretError."""
    module, _, name = target.partition(":")
    try:
        return reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as error:
        raise InterpretError(f"extern `{target}` cannot be imported: {error}") from error


class Externs:
    """The extern modules of a running program, one per path."""

    def __init__(self) -> None:
        self.modules: dict[str, Any] = {}

    def build(self, path: str, attrs: Mapping[str, Any]) -> Any:
        """The instance at a path, made at the first call; a function with its arguments where it is no class."""
        if path not in self.modules:
            target, arguments = load_target(attrs["target"]), dict(attrs.get("args", ()))
            if isinstance(target, type):
                self.modules[path] = target(**arguments)
            else:
                return lambda *ins: target(*ins, **arguments)
        return self.modules[path]

    def undo(
        self, path: str, attrs: Mapping[str, Any], outs: Sequence[Any], state: Mapping[str, Any], training: bool
    ) -> Any:
        """Calls what is declared to undo the extern: a method of its class, or a function that gets its arguments."""
        import torch

        method = undoing_method(attrs)
        if method is None:
            return load_target(attrs["inverse"])(*outs, **dict(attrs.get("args", ())))
        made = self.build(path, attrs)
        holder = torch.nn.ModuleList([made.train(training)])
        holder.forward = lambda *given: getattr(made, method)(*given)
        names = [name for name, _ in (*made.named_parameters(), *made.named_buffers())]
        given = {f"0.{name}": state[f"{path}.{name}"] for name in names if f"{path}.{name}" in state}
        return torch.func.functional_call(holder, given, tuple(outs))

    def run(
        self, path: str, attrs: Mapping[str, Any], ins: Sequence[Any], state: Mapping[str, Any], training: bool
    ) -> Any:
        """Calls the extern on its inputs, with the tensors of `state` under its path in place of its own."""
        import torch

        made = self.build(path, attrs)
        if not isinstance(made, torch.nn.Module):
            return made(*ins)
        made.train(training)
        names = [name for name, _ in (*made.named_parameters(), *made.named_buffers())]
        given = {name: state[f"{path}.{name}"] for name in names if f"{path}.{name}" in state}
        return torch.func.functional_call(made, given, tuple(ins))
