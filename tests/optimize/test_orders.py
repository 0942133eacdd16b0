"""Passes in any order agree: where one of them could take away what another looks for."""

from __future__ import annotations

import random
from collections import Counter

import pytest

import archlang
from archlang.analyze import cost
from archlang.ir.graph import Program
from archlang.ir.walk import executed
from archlang.optimize import known_passes, optimize
from tests.optimize.equal import compared

ROUNDING = 1e-12  # in float64
SIZES = {"B": 2}
NAMES = [p.name for p in known_passes().values() if "inference" in p.purposes and p.equivalence != "approximate"]


def orders() -> list[list[str]]:
    """The usual order, backwards, each pass before all others, and some at random."""
    first = [[name, *(n for n in NAMES if n != name)] for name in NAMES]
    return [NAMES, NAMES[::-1], *first, *(random.Random(i).sample(NAMES, len(NAMES)) for i in range(4))]


def agreed(program: Program) -> Program:
    """What all orders make of a program, which is tried once."""
    found = [optimize(program, names=names).program for names in orders()]
    figures = {(executed(p), cost(p).parameters.parameters) for p in found}
    assert len(figures) == 1, figures
    error, made = compared(program, {name: SIZES[name] for name in program.root.symbols})
    assert error <= ROUNDING and not optimize(made.program).fired
    return made.program


CASES = {  # what is made of x, [B, 8, 6, 8], and how many nodes of which op are left of it
    # slices of concats
    "concat([concat([x, y]), z])[:, 4:12]": {"concat": 1, "index": 1},
    "concat([concat([x, x]), z])[:, 4:12] - concat([x, x])[:, 4:12] * y": {"concat": 1, "index": 1},
    "concat([concat([x, y]), z])[:, 2:10] * concat([x, y, z])[:, 12:20]": {"concat": 1, "index": 2},
    "concat([x, y])[:, 2:10] * concat([y, z])[:, 4:12]": {"concat": 1, "index": 2},
    "concat([x, y])[:, 2:10] * tanh(concat([x, y, z]))[:, 8:16]": {"concat": 1, "index": 2, "tanh": 2},
    "relu(concat([x, y])[:, 2:10]) * tanh(concat([y, z]))[:, :8]": {"concat": 2, "index": 2, "tanh": 2},
    # functions that others need, too
    "(relu(x) -> global_maxpool(keepdim=true)) * relu(relu(x))": {"relu": 2, "global_maxpool": 1},
    "relu(x)[:, 0:4] * sigmoid(relu(x))[:, 4:8]": {"relu": 1},
    "maxpool(relu(x), 2) * relu(maxpool(x, 2)) - relu(x)[:, :, ::2, ::2]": {"relu": 1, "maxpool": 1},
    "(interpolate(x, scale_factor=2) -> relu) * (interpolate(x, scale_factor=2) -> tanh)": {"interpolate": 1},
    # shifts before or after
    "x -> conv(8, 3, padding=1, bias=false) -> batchnorm -> conv(4, 1, bias=false) -> relu": {"bias": 1},
    "x -> conv(8, 3, padding=1) -> dropout(0.1) -> batchnorm -> conv(4, 1) -> relu": {"bias": 1},
    "x -> conv(8, 3) -> batchnorm -> conv(4, 3, padding=1) -> relu": {"bias": 2},
    "x -> conv(8, 1) -> batchnorm -> avgpool(2) -> flatten(2) -> linear(3)": {"bias": 2},
    "concat([x -> conv(4, 1), tanh(x) -> conv(2, 1)]) -> batchnorm -> conv(4, 1)": {"bias": 1, "conv": 3},
    "concat([(x -> conv(4, 1)) + (y -> conv(4, 1)), z]) -> flatten -> linear(3)": {"bias": 1, "conv": 2},
    "x -> first: part -> dropout(0.1) -> batchnorm -> second: part": {"bias": 3, "batchnorm": 0},
}  # fmt: skip
PARTS = """
block part(x) { return x -> conv(8, 1) -> relu -> conv(8, 1, bias=false) }
"""


@pytest.mark.parametrize(("text", "wanted"), CASES.items())
def test_orders_agree(text: str, wanted: dict[str, int]) -> None:
    inputs = "y = sigmoid(x)\n    z = tanh(x)\n" if "y" in text or "z" in text else "\n"
    spec = f"{PARTS}block net(x: [B, 8, 6, 8]) {{\n    {inputs}    return {text}\n}}"
    made = agreed(archlang.compile(spec, "net").program)
    nodes = [node for graph in made.graphs for node in graph.nodes]
    left = Counter(node.op for node in nodes) + Counter("bias" for node in nodes if node.attrs.get("bias"))
    assert {name: left[name] for name in wanted} == wanted
