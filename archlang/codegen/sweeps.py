"""Initialisation that all layers of a kind share: one loop over the network's modules in the root's constructor.

Otherwise every class would repeat the rule. Sound only where the loop meets nothing but the layers that asked for it:
all layers of that torch class in the program have the rule, and no module hides further layers inside itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from archlang.codegen.construct import initialisation, module_class
from archlang.codegen.exprs import Py
from archlang.ir.graph import Child, Graph, Program

__all__ = ["Sweep", "sweeps"]

_SWEPT = ("weight", "bias")


@dataclass(frozen=True, slots=True)
class Sweep:
    """`code`, with a hole for the weight, on every `torch_class`'s `weight`; `optional`: some have none."""

    torch_class: str
    weight: str
    code: Py
    optional: bool


@dataclass
class _Found:
    codes: list[Py | None] = field(default_factory=list)
    graphs: set[int] = field(default_factory=set)


def sweeps(program: Program) -> list[Sweep]:
    """The rules worth a loop: those that two blocks or more would repeat."""
    found: dict[tuple[str, str], _Found] = {}
    layers: dict[str, int] = {}
    for graph, child in _layers(program):
        torch_class = module_class(child)
        plain = torch_class is not None and torch_class.startswith("nn.")
        if torch_class is None or not plain or any("." in d.name for d in child.weights):
            return []
        layers[torch_class] = layers.get(torch_class, 0) + 1
        for decl in child.weights:
            if decl.name in _SWEPT:
                here = found.setdefault((torch_class, decl.name), _Found())
                here.codes.append(None if decl.init is None else initialisation(decl))
                here.graphs.add(id(graph))
    result: list[Sweep] = []
    for (torch_class, weight), here in found.items():
        code = here.codes[0]
        if code is None or any(c != code for c in here.codes) or len(here.graphs) < 2:
            continue
        optional = len(here.codes) < layers[torch_class] or (weight == "bias" and torch_class.startswith("nn.Conv"))
        result.append(Sweep(torch_class, weight, code, optional))
    return result


def _layers(program: Program) -> Iterator[tuple[Graph, Child]]:
    """Op modules with weights, and whatever else may hold some."""
    for graph in program.graphs:
        for child in graph.children.values():
            if child.weights or child.op == "extern":
                yield graph, child
