"""Plans beside what is customary: never more work with the same memory."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import pytest

import archlang
from archlang.budget import Budget
from archlang.budget.customary import Customary

SPECS = Path(__file__).parents[2] / "specs"
DECODER = {"width": 256, "depth": 48, "heads": 8, "kv_heads": 4, "hidden": 1024, "vocabulary": 1000}


def budget(spec: str, entry: str, sizes: dict[str, int], params: dict[str, int]) -> Budget:
    return Budget(archlang.compile(SPECS / spec, entry, **params).program, sizes)


@pytest.mark.parametrize(
    ("spec", "entry", "sizes", "params", "count"),
    [
        ("resnet.arch", "resnet152", {"B": 1, "H": 224, "W": 224}, {}, 50),
        ("llama.arch", "llama", {"B": 1, "T": 512}, DECODER, 48),
    ],
)
def test_the_curve_dominates(spec: str, entry: str, sizes: dict[str, int], params: dict[str, int], count: int) -> None:
    ours = budget(spec, entry, sizes, params)
    customary = Customary(ours)
    assert len(customary.blocks) == count
    within = cache(ours.within)  # to store the last segment often needs no more memory
    for segments in (count, round(math.sqrt(count))):
        for last_stored in (False, True):
            usual = customary.segments(segments, last_stored)
            found = within(usual.peak)
            assert found is not None
            assert found.peak <= usual.peak
            assert found.again < usual.again


def test_branches_of_reversible_blocks_are_checkpoints_of_their_own() -> None:
    """The results of a coupling's branches are not wanted again where both streams are kept: neither branch's last
    layer is evaluated, at the memory in which checkpoints of whole blocks leave out one of the two."""
    text = """
    use std.reversible: coupling
    block f(x) { return x -> a: linear(8) -> relu -> b: linear(8) }
    block net(x: [B, 8], y: [B, 8]) { return (x, y) -> body: chain([coupling(f(), f()) for _ in 0..12]) }
    """
    ours = Budget(archlang.compile(text, "net").program, {"B": 10})
    tensor, work = 4 * 10 * 8, 10 * 8 * 8
    peak, again = (12 * 2 + 3) * tensor, 12 * 3 * work  # of checkpoints of whole blocks
    found = ours.within(peak)
    assert found is not None and found.peak <= peak
    assert found.again <= 12 * 2 * work < again


def test_what_is_customary_is_counted_as_it_is() -> None:
    """Of equal residual blocks that keep all inside, by hand."""
    text = """
    block unit(x) { return x + (x -> a: linear(8) -> relu -> b: linear(8)) }
    block net(x: [B, 8]) { return x -> body: chain([unit() for _ in 0..6]) -> head: linear(4) }
    """
    ours = Budget(archlang.compile(text, "net").program, {"B": 10})
    tensor, work = 4 * 10 * 8, 10 * 8 * 8
    customary = Customary(ours)
    assert ours.stored.kept == 6 * 2 * tensor + tensor  # the input of each layer, what relu gives being that of `b`
    every = customary.segments(6)
    assert every.kept == 6 * tensor + tensor
    assert every.again == 6 * work  # without `b`, whose input is the last that is kept
    assert every.peak == every.kept  # when the last block is rebuilt, the head's input is no more held
    halves = customary.segments(2)
    assert halves.kept == 2 * tensor + tensor
    assert halves.peak == 2 * tensor + 5 * tensor
    assert halves.again == 2 * (2 * 2 * work + work)
