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
from tests.optimize.training import same_step

ROUNDING = 1e-12  # in float64
SIZES = {"B": 2}


def orders(purpose: str, level: int) -> list[list[str]]:
    """The usual order, backwards, each pass before all others, and some at random."""
    known = (p for p in known_passes().values() if purpose in p.purposes and p.level <= level)
    names = [p.name for p in known if p.equivalence != "approximate"]
    first = [[name, *(n for n in names if n != name)] for name in names]
    return [names, names[::-1], *first, *(random.Random(i).sample(names, len(names)) for i in range(4))]


def figures(program: Program, purpose: str, level: int) -> set[tuple[int, int]]:
    """Nodes and parameters that orders end in."""
    found = [optimize(program, purpose=purpose, names=names).program for names in orders(purpose, level)]
    return {(executed(p), cost(p).parameters.parameters) for p in found}


def agreed(program: Program) -> Program:
    """What all orders make of a program, which is tried once."""
    assert len(figures(program, "inference", 2)) == 1
    error, made = compared(program, {name: SIZES[name] for name in program.root.symbols})
    assert error <= ROUNDING and not optimize(made.program).fired
    return made.program


CASES = {  # what is made of x, [B, 8, 6, 8], of y, z and w, and how many nodes of which op are left of it
    # slices of concats
    "concat([concat([x, y]), z])[:, 4:12]": {"concat": 1, "index": 1},
    "concat([concat([x, x]), z])[:, 4:12] - concat([x, x])[:, 4:12] * y": {"concat": 1, "index": 1},
    "concat([concat([x, y]), z])[:, 2:10] * concat([x, y, z])[:, 12:20]": {"concat": 1, "index": 2},
    "concat([x, y])[:, 2:10] * concat([y, z])[:, 4:12]": {"concat": 1, "index": 2},
    "concat([x, y])[:, 2:10] * tanh(concat([x, y, z]))[:, 8:16]": {"concat": 1, "index": 2, "tanh": 2},
    "relu(concat([x, y])[:, 2:10]) * tanh(concat([y, z]))[:, :8]": {"concat": 2, "index": 2, "tanh": 2},
    "concat([w, w])[:, 4:12] * concat([x, w])[:, 4:12]": {"concat": 1, "index": 1},
    # functions that others need, too
    "(relu(x) -> global_maxpool(keepdim=true)) * relu(relu(x))": {"relu": 2, "global_maxpool": 1},
    "relu(x)[:, 0:4] * sigmoid(relu(x))[:, 4:8]": {"relu": 1},
    "maxpool(relu(x), 2) * relu(maxpool(x, 2)) - relu(x)[:, :, ::2, ::2]": {"relu": 1, "maxpool": 1},
    "(interpolate(x, scale_factor=2) -> relu) * (interpolate(x, scale_factor=2) -> tanh)": {"interpolate": 1},
    "(x - 0) * 3 * 0.5": {"mul": 1, "sub": 0},
    # sums that begin alike
    "((x + y) + z) * ((x + y) + w)": {"add": 3},
    "(x + y) * (x + y + z)": {"add": 2},
    "(x + y + z) * ((x + y + z) + w) - (x + y + w)": {"add": 4},
    "maximum(maximum(x, y), z) * maximum(maximum(x, y), w + 0)": {"maximum": 3},
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
    wires = "    y = sigmoid(x)\n    z = tanh(x)\n    w = x * 1\n"
    spec = f"{PARTS}block net(x: [B, 8, 6, 8]) {{\n{wires}    return {text}\n}}"
    made = agreed(archlang.compile(spec, "net").program)
    nodes = [node for graph in made.graphs for node in graph.nodes]
    left = Counter(node.op for node in nodes) + Counter("bias" for node in nodes if node.attrs.get("bias"))
    assert {name: left[name] for name in wanted} == wanted


TRAINED = (  # of x, [B, 8, 6, 8], where gradients are added in an order that counts
    "y = x * 0.3; z = (y -> transpose(1, 2) -> transpose(2, 1)) / 1; return relu(z), z -> conv(4, 1), y + 0.5",
    "y = x * 0.3; z = (y / 1) -> flip([1]) -> flip([1]); return relu(z), tanh(z), y + 0.5",
    "y = x * 0.3; return concat([concat([y, y, y]), y[:, :2]]) -> conv(4, 3)",
    "y = x * 0.3; z = y + 0; return (tanh(x) * z) * tanh(x), relu(y), tanh(y), x + 0.5",
    "y = tanh(x); z = relu(x); return maximum(maximum(x, y), z), maximum(maximum(x, y), z * 0.3)",
    'y = x * 0.3; z = y -> cast("float"); return (y + tanh(x)) + z, z / 3, relu(z)',
)


@pytest.mark.parametrize("text", TRAINED)
def test_orders_agree_in_training(text: str) -> None:
    body = "".join(f"    {line}\n" for line in text.split("; "))
    program = archlang.compile(f"block net(x: [B, 8, 6, 8]) {{\n{body}}}").program
    assert len(figures(program, "train", 1)) == len(figures(program, "train", 2)) == 1
    same_step(program, SIZES)
