"""Results written over inputs in modules for inference: where it is safe, the same bits, and gradients as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import archlang
from archlang.codegen import generate
from archlang.optimize import Optimized, optimize, overwriting
from tests.optimize.equal import as_written, inputs_of, tensors, trained
from tests.optimize.redundant import EXTENT, redundant

BLOCKS = """
block same(x) { return x }
block fresh(x) { return x -> c: conv(8, 1) }
block residual(x) { return x + (x -> c: conv(8, 1)) }
block turned(x) { return last(x + (x -> c: conv(8, 1))) }
fn last(x) => x -> permute([0, 2, 3, 1]) -> contiguous -> permute([0, 3, 1, 2])
block twice(x) {
    y = x -> c: conv(8, 1)
    return y, y
}
"""
# A body, and how many of its ops may write over an input.
BODIES = {
    "x -> a: conv(8, 1) -> relu -> b: conv(8, 1) -> relu6": 2,
    "x -> relu -> a: conv(8, 1)": 0,  # the caller's tensor
    "(x -> a: conv(8, 1)) + x": 1,
    "x * 2 - (x -> a: conv(8, 1))": 1,
    "2 - (x -> a: conv(8, 1))": 0,  # has no such form
    "(x -> a: conv(8, 1)) + (x -> b: conv(1, 1))": 1,
    "(x -> b: conv(1, 1)) + (x -> a: conv(8, 1))": 1,  # over the second one, which has the shape
    "(x -> exp) * x": 0,  # autograd keeps what exp gives
    "(x -> a: conv(8, 1) -> maxpool(3, stride=1, padding=1) -> relu) * x": 1,  # and what a product is made of
    "(x -> a: conv(8, 1))[:, 0:4] -> relu": 0,  # a part of another tensor
    "(x -> a: conv(8, 1) -> reshape([B, 4, 2, H, W])) -> relu": 0,
    "x -> m: same -> relu": 0,
    "x -> m: fresh -> relu": 1,
    "x -> m: chain([fresh() for _ in 0..3]) -> relu": 1,
    "x + (x -> a: conv(8, 1))": 1,
    "last(x) + (x -> a: conv(8, 1))": 0,  # a sum of its own would lie with its channels last
    "(x -> a: conv(8, 1)) + last(x)": 1,
    "x -> m: chain([residual() for _ in 0..3])": 1,
    "(x -> m: chain([residual() for _ in 0..3])) + last(residual(x))": 2,
    "last(x) -> m: chain([residual() for _ in 0..3])": 0,
    "x -> m: chain([turned() for _ in 0..3])": 0,  # the first is given another order than the others
}
RESULTS = {
    "y = x -> a: conv(8, 1)\n return y -> relu, y": 0,
    "y = x -> a: conv(8, 1)\n z = y + x\n return z, y -> relu": 0,
    "y, z = x -> m: twice\n return y -> relu, z": 0,
    "f = relu()\n return f(f(x -> a: conv(8, 1)))": 1,  # not over what the first one gave, which autograd keeps
    "return x -> a: conv(8, 1) -> leaky_relu(-0.1)": 0,  # torch has no gradient for it in place
    "weight g: [8, 1, 1] = ones\n return g + x": 0,
}
SIZES = {"B": 2, "H": EXTENT, "W": EXTENT}


def marked(made: Optimized) -> int:
    return sum("in_place" in node.attrs for graph in overwriting(made).program.graphs for node in graph.nodes)


@pytest.mark.parametrize(("body", "count"), [*((f"return {b}", n) for b, n in BODIES.items()), *RESULTS.items()])
def test_where_it_is_safe(body: str, count: int) -> None:
    program = archlang.compile(f"{BLOCKS} block net(x: [B, 8, H, W]) {{ {body} }}", "net").program
    made = optimize(program, names=["dead-code"])
    assert marked(made) == count
    assert as_written(made, program, SIZES)
    assert marked(optimize(program, purpose="train", level=1)) == 0


def gradients(made: Optimized, state: dict[str, Any], inputs: list[Any]) -> list[torch.Tensor]:
    """Of a module in evaluation: all its results, and the gradients of its weights and inputs."""
    file: dict[str, Any] = {"__name__": "written"}
    exec(generate(made.program, source_name="net.arch"), file)
    module = file["Net"]().double().eval()
    module.load_state_dict(state)
    leaves = [x.clone().requires_grad_() for x in inputs]
    results = tensors(module(*leaves))
    torch.manual_seed(3)
    sum((r * torch.rand_like(r)).sum() for r in results).backward()  # type: ignore[union-attr]
    found = [t.grad for t in (*leaves, *module.parameters()) if t.grad is not None]
    return [*results, *found]


def test_gradients_stay() -> None:
    overwritten = 0
    for seed in range(15):
        program = archlang.compile(redundant(seed), "net").program
        made = optimize(program, names=["dead-code"])
        overwritten += marked(made)
        state = trained(program).state_dict()
        inputs = inputs_of(program, SIZES)
        plain, deployed = (gradients(m, made.convert(state), inputs) for m in (made, overwriting(made)))
        assert len(plain) == len(deployed)
        assert all(torch.equal(a, b) for a, b in zip(plain, deployed, strict=True)), seed
    assert overwritten > 20
