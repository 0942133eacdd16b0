"""Results that no caller reads, and inputs that a block does not read."""

from __future__ import annotations

import pytest

import archlang
from tests.optimize.equal import as_written, compared
from tests.optimize.training import same_step

PAIR = """
block pair(x, y) {
    z = x -> enter: conv(8, 1)
    return z -> relu, z -> out: conv(8, 3, padding=1)
}
block outer(x, y) { return (x, y) -> inner: pair }
"""
SIZES = {"B": 2, "H": 4, "W": 4}
# A body; then, by hand, how many results, convolutions and ops are left in `pair`, and ops in `net`.
BODIES = {
    "a, b = (x, x[:, :2]) -> p: pair\n return a": (1, 1, 2, 1),
    "a, b = (x, x[:, :2]) -> p: pair\n return b": (1, 2, 2, 1),
    "a, b = (x, x[:, :2]) -> p: pair\n c, d = (x, x[:, :2]) -> q: pair\n return a + d": (2, 2, 3, 3),
    "a, b = (x, x[:, :2]) -> p: pair\n c, d = (x, x[:, :2]) -> q: pair\n return a + c": (1, 1, 2, 3),
    "a, b = (x, x[:, :2]) -> p: outer\n return a": (1, 1, 2, 1),  # through two calls
}


@pytest.mark.parametrize("body", BODIES)
def test_ports(body: str) -> None:
    program = archlang.compile(f"{PAIR} block net(x: [B, 8, H, W]) {{ {body} }}", "net").program
    deviation, made = compared(program, SIZES, ["unread-ports", "dead-code"])
    assert deviation == 0 and as_written(made, program, SIZES)
    pair = next(graph for graph in made.program.graphs if graph.block == "pair")
    assert [port.name for port in pair.inputs] == ["x"]
    ops = [node.op for node in pair.nodes]
    assert (len(pair.outputs), ops.count("conv"), len(ops), len(made.program.root.nodes)) == BODIES[body]
    same_step(program, SIZES)


def test_the_only_input_that_tells_a_size_stays() -> None:
    spec = """
    block grid(x, y: [B, C, H, W]) { return x -> unflatten(2, [H, W]) }
    block net(x: [B, 8, H, W]) { return (x -> flatten(2), x) -> g: grid }
    """
    program = archlang.compile(spec, "net").program
    assert not compared(program, SIZES, ["unread-ports", "dead-code"])[1].fired


def test_blocks_that_run_on_their_own_results_keep_their_ports() -> None:
    spec = """
    block two(x, y) { return x -> c: conv(8, 1), x }
    block net(x: [B, 8, H, W]) { return (x, x) -> body: chain([two() for _ in 0..3]) }
    """
    program = archlang.compile(spec, "net").program
    assert not compared(program, SIZES, ["unread-ports", "dead-code"])[1].fired
