"""Imports generated text as a module, and compares what its network returns with other results."""

from __future__ import annotations

import ast
import types
from typing import Any

import torch

from archlang.codegen import generate
from archlang.ir.graph import Program


def load(text: str) -> Any:
    """The namespace of the generated file; its last nn.Module is the root class."""
    module = types.ModuleType("generated")
    exec(compile(text, "generated.py", "exec"), module.__dict__)
    names = [n.name for n in ast.parse(text).body if isinstance(n, ast.ClassDef)]
    made = [getattr(module, name) for name in names]
    module.root = [c for c in made if issubclass(c, torch.nn.Module)][-1]  # type: ignore[attr-defined]
    return module


def network(program: Program) -> torch.nn.Module:
    net = load(generate(program, source_name="net.arch")).root()
    assert isinstance(net, torch.nn.Module)
    return net


def inputs(shapes: Any) -> list[Any]:
    torch.manual_seed(0)
    return [[torch.randn(s) for s in shape] if isinstance(shape, list) else torch.randn(shape) for shape in shapes]


def flat(result: Any) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [t for part in result for t in flat(part)]
