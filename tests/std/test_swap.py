"""Every connection scheme in the same two networks: examples/schemes.arch, smaller. benchmarks/schemes.py trains it."""

from __future__ import annotations

import re

import pytest

import archlang
from benchmarks.schemes import NAMES, SPEC, measure

SMALL = {
    "transformer": {"width": 16, "depth": 2, "heads": 2},
    "convnet": {"width": 8, "depths": [2, 2]},
}


def test_the_example_holds() -> None:
    assert archlang.check(SPEC) == []


def test_the_names_are_those_of_the_example() -> None:
    assert set(NAMES) == set(re.findall(r'name == "(\w+)"', SPEC.read_text(encoding="utf-8")))


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name: str, network: str) -> None:
    row = measure(network, name, 4, **SMALL[network])
    assert row.losses[-1] < row.losses[0]
    assert row.parameters > 0 and row.macs > 0 and row.saved > 0


def test_an_unknown_scheme() -> None:
    with pytest.raises(archlang.ArchError, match="there is no scheme `residuals`"):
        archlang.compile(SPEC, "convnet", name="residuals")
