"""What the optimiser makes of the published networks and of random ones does what they do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

import archlang
from archlang.analyze import cost
from archlang.certify.sample import usual
from archlang.ir.check import check
from archlang.ir.text import to_text
from archlang.ops.base import Context, registry
from archlang.optimize import optimize
from tests.analyze.networks import FILES, SPECS, compiled, entries
from tests.optimize.equal import Given, compared, deviation, exact
from tests.random_specs.strategy import SIZE, Spec, specs

FIRST = [next(e for e in entries() if e[0] == path.name) for path in FILES]
RUNS = 2 * 10**7  # MACs up to which a network is run
ROUNDING = 1e-12  # in float64


# Batch norms that stay in the first network of a file, and why; none in those of other files.
_FIRST = "before an activation, of what a block was given: a residual stream, or a concat that others read"
BATCH_NORMS = {
    "convmixer.arch": (3, "after an activation, and then added to, or read by a residual"),
    "crevnet.arch": (5, _FIRST),
    "densenet.arch": (34, _FIRST),
    "dlsia.arch": (99, "after an activation, before convolutions that pad with zeros"),
    "dpn.arch": (27, _FIRST),
    "efficientdet.arch": (30, "one convolution for all levels, a batch norm for each"),
    "hypernetworks.arch": (10, "after kernels that the network makes"),
    "hyperzzw.arch": (39, "of the input's own statistics"),
    "irevnet.arch": (12, _FIRST),
    "preresnet.arch": (6, _FIRST),
    "pyramidnet.arch": (55, "of a residual stream, before a convolution that pads with zeros"),
    "repmlp.arch": (4, "read by convolutions that pad with zeros, and by others"),
    "resnetv2.arch": (8, _FIRST),
    "revnet.arch": (6, _FIRST),
    "sparsenet.arch": (15, _FIRST),
}


@pytest.mark.parametrize(("file", "entry"), FIRST)
def test_published(file: str, entry: str) -> None:
    program = compiled(file, entry).program
    sizes = next(iter(usual(program)), {})
    macs = cost(program, sizes).macs
    if isinstance(macs, int) and macs <= RUNS:
        found, made = compared(program, sizes)
        assert found <= ROUNDING
        assert compared(program, sizes, exact())[0] == 0
    else:
        made = optimize(program)
        check(made.program, registry(), Context)
    left = sum(node.op == "batchnorm" for graph in made.program.graphs for node in graph.nodes)
    assert left == BATCH_NORMS.get(file, (0, ""))[0]
    again = optimize(made.program)
    assert not again.fired and to_text(again.program) == to_text(made.program)


@given(specs())
@settings(max_examples=20)
def test_random(spec: Spec) -> None:
    program = archlang.compile(spec.text).program
    sizes = {"B": 2, "H": SIZE, "W": SIZE}
    sizes = {name: sizes.get(name, SIZE) for name in program.root.symbols}
    found, made = compared(program, sizes)
    assert found <= ROUNDING
    assert compared(program, sizes, exact())[0] == 0
    assert not optimize(made.program).fired


def test_constants_stay_as_they_are() -> None:
    """Buffers that no training changes bound others from below: with numbers at random, results are no numbers."""
    program = archlang.compile(SPECS / "gdn.arch", "transforms", width=6, latent=8).program
    given = Given(program, usual(program)[0])
    assert all(x.isfinite().all() for x in given.expected)
    assert deviation(given.expected, given.after(optimize(program))) <= ROUNDING


def test_weights_that_begin_as_zeros_count() -> None:
    """What such a layer does would be compared with nothing."""
    program = archlang.compile("block net(x: [B, 4, H, W]) { return x -> conv(8, 3, init=zeros) }").program
    given = Given(program, {"B": 2, "H": 8, "W": 8})
    (result,) = given.expected
    assert result.std() > 0.1 and 1e-17 < given.moved() < 1e-14


def test_infinities_have_to_stay() -> None:
    a, b, nan = (torch.tensor([1.0, x]) for x in (torch.inf, -torch.inf, torch.nan))
    assert deviation(a, a) == deviation(nan, nan) == 0
    for x, y in [(a, b), (a, nan), (nan, a), (a, torch.ones(2)), (torch.ones(2), a)]:
        with pytest.raises(AssertionError):
            deviation(x, y)


def test_statistics_are_those_of_the_network() -> None:
    """Beside others, signals would grow from layer to layer, and gates would be shut."""
    program = archlang.compile("block net(x: [B, 4, H, W]) { return (1000 * x) -> conv(8, 3) -> batchnorm }").program
    (result,) = Given(program, {"B": 2, "H": 8, "W": 8}).expected
    assert 0.5 < result.std() < 2 and result.abs().max() < 20
