"""Networks that are trained in one form and deployed in another, which is what the optimiser makes of the first."""

from __future__ import annotations

import copy

import pytest
import torch

import archlang
from archlang.analyze import cost
from archlang.ir.graph import Program
from archlang.ir.walk import executed
from archlang.optimize import optimize
from tests.analyze.networks import SPECS, compiled
from tests.optimize.equal import compared, trained
from tests.references import package


def deployed(file: str, entry: str) -> Program:
    return optimize(compiled(file, entry).program).program


def steps(**ops: int) -> int:
    """How many ops a network takes, counted by hand."""
    return sum(ops.values())


@pytest.mark.parametrize(
    ("file", "entry", "nodes"),
    [
        ("resnet.arch", "resnet50", steps(conv=53, relu=1 + 16 * 3, add=16, maxpool=1, avgpool=1, linear=1)),
        ("mobilenet_v2.arch", "mobilenet_v2", steps(conv=52, relu6=1 + 1 + 16 * 2 + 1, add=10, avgpool=1, linear=1)),
        ("repvgg.arch", "repvgg_a0", steps(conv=22, relu=22, avgpool=1, linear=1)),
        ("sesr.arch", "sesr_m5", steps(sub=1, conv=7, prelu=5, add=2, depth_to_space=1, clamp=1)),
        # in a unit: a part as it is, 3x3 and 7x7 in one, a line with a bias between; concat; the mixer and its sum
        (
            "repnext.arch",
            "repnext_m1",
            steps(stem=3, units=23 * (1 + 1 + 2 + 1 + 3 + 1), halvings=3 * (2 + 1 + 3 + 1), avgpool=1, linear=1),
        ),
    ],
)
def test_steps(file: str, entry: str, nodes: int) -> None:
    assert executed(deployed(file, entry)) == nodes


def test_linear_blocks_collapse() -> None:
    """SESR-M5 at twice the resolution: 13,520 weights of convolutions, and 3.115 GMACs to 1280x720."""
    program = deployed("sesr.arch", "sesr_m5")
    figures = cost(program, {"B": 1, "H": 360, "W": 640})
    assert figures.parameters.parameters == 13_520 + 5 * 16  # and the slopes
    assert figures.macs == 13_520 * 360 * 640
    assert compared(compiled("sesr.arch", "sesr_m5").program, {"B": 2, "H": 11, "W": 14})[0] < 1e-12


@pytest.mark.parametrize(
    ("file", "entry", "sizes"),
    [
        ("repvgg.arch", "repvgg_a0", {"B": 1, "H": 32, "W": 32}),
        ("repnext.arch", "repnext_m0", {"B": 1, "H": 64, "W": 32}),
        ("unireplknet.arch", "unireplknet_a", {"B": 1, "H": 32, "W": 32}),
        ("replknet.arch", "replknet31b", {"B": 1, "H": 32, "W": 32}),
    ],
)
def test_training_form_and_deployed_form(file: str, entry: str, sizes: dict[str, int]) -> None:
    """As many parameters as the author's merged form, but for zeros in kernels; no batch norm; the same results."""
    if entry == "replknet31b":  # too large to run here
        program = deployed(file, entry)
    else:
        found, made = compared(compiled(file, entry).program, sizes)
        assert found < 1e-12
        program = made.program
    assert "batchnorm" not in {node.op for graph in program.graphs for node in graph.nodes}
    by_hand = archlang.compile(SPECS / file, entry, merged=True).program
    zeros = 1.01 if file == "repnext.arch" else 1
    assert cost(program, {}).parameters.parameters <= zeros * cost(by_hand, {}).parameters.parameters


def test_repvgg_as_timm_merges_it() -> None:
    """Weight by weight, in float64."""
    program = compiled("repvgg.arch", "repvgg_a0").program
    made = optimize(program)
    state = trained(program).state_dict()
    reference = package("timm").create_model("repvgg_a0").double().eval()
    reference.load_state_dict(state)
    merged = package("timm.utils").reparameterize_model(copy.deepcopy(reference)).state_dict()
    ours = {
        key.replace("conv_kxk", "reparam_conv").replace("stages.3.", "stages.3.0."): tensor
        for key, tensor in made.convert(state).items()
    }
    assert ours.keys() == merged.keys()
    for key, tensor in merged.items():
        assert torch.allclose(ours[key], tensor, rtol=1e-12, atol=1e-13), key
    assert sum(".reparam_conv.weight" in key for key in ours) == 1 + sum([2, 4, 14, 1])
