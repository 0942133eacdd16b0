"""Declared inverses of extern blocks, tried: how far from its inputs what undoes a block comes out, in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archlang.analyze.plan import Env, Plans
from archlang.interpret.extern import Externs
from archlang.ir.graph import Attrs, Node, Program, TensorType

__all__ = ["ALLOWED", "Undone", "undone"]

ALLOWED = 1e-6  # of the relative error, by which an inverse counts as one


@dataclass(frozen=True, slots=True)
class Undone:
    """A call of an extern block, and the relative error (of norms) of its inputs as its inverse gives them back; inf
    where that has other shapes."""

    node: Node
    error: float


def undone(program: Program, sizes: Mapping[str, int]) -> list[Undone]:
    """Every declared inverse at the types of its calls, once each: fresh weights, normal inputs. Runs that code."""
    found: dict[Any, Undone] = {}
    for node, attrs, types in _calls(program, sizes):
        key = (attrs["target"], attrs["inverse"], attrs["args"], tuple(map(str, types)))
        if key not in found:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                found[key] = Undone(node, _error(attrs, types))
    return list(found.values())


def _calls(program: Program, sizes: Env) -> Iterator[tuple[Node, Attrs, list[TensorType]]]:
    """Calls of blocks that declare an inverse, with the types of what goes in forwards."""
    for plan in Plans().reached(program.root, sizes):
        for node, attrs in zip(plan.graph.nodes, plan.attrs, strict=True):
            if node.op == "extern" and "inverse" in attrs:
                yield node, attrs, plan.outs(node) if node.inverted else plan.ins(node)


def _error(attrs: Attrs, types: list[TensorType]) -> float:
    externs = Externs()
    made = externs.build("", attrs)
    if isinstance(made, nn.Module):
        made.double()
    given = [_sample(t) for t in types]
    results = externs.run("", attrs, given, {}, training=False)
    results = results if isinstance(results, (tuple, list)) else (results,)
    back = externs.undo("", attrs, results, {}, training=False)
    back = back if isinstance(back, (tuple, list)) else (back,)
    if [b.shape for b in back] != [x.shape for x in given]:
        return float("inf")
    errors = [
        float((b.double() - x.double()).norm() / x.double().norm().clamp(min=1e-30))
        for b, x in zip(back, given, strict=True)
    ]
    return max(errors, default=0.0)


def _sample(kind: TensorType) -> torch.Tensor:
    shape = [int(n) for n in kind.shape]  # type: ignore[arg-type]
    if kind.dtype == "float":
        return torch.randn(shape, dtype=torch.float64)
    dtype = getattr(torch, kind.dtype)
    return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.randint(0, 2, shape).to(dtype)
