"""Measured rounding errors of rebuilt streams: they grow as the factors say, and gradients stay right."""

from __future__ import annotations

import archlang
from archlang.certify.certificate import Certificate
from archlang.certify.drift import Drift, drift
from archlang.certify.report import as_dict, as_text

CHAIN = """
use std.reversible: coupling
reversible block damped(f: module)(a, b) {
    a = 0.25 * a + (b -> f)
    b = 0.25 * b + a
}
block f(x) { return x -> l: linear(8) -> DROP tanh }
block net(a: [B, 8], b: [B, 8]) { return (a, b) -> body: chain([BLOCK for _ in 0..8]) }
"""


def measured(block: str, drop: str = "") -> Drift:
    text = CHAIN.replace("BLOCK", block).replace("DROP", drop)
    found = drift(archlang.compile(text, "net"), {"B": 64})
    assert found is not None
    return found


def test_sums_keep_their_digits() -> None:
    found = measured("coupling(f(), f())")
    assert list(found.rebuilt) == [1, 2, 4, 8, 16]
    assert 0 < found.rebuilt[16] < 1e-5
    assert found.gradients < 3 * found.plain < 1e-5


def test_small_factors_lose_them() -> None:
    """A factor of 1/4 costs two bits a step back."""
    factors, sums = measured("damped(f())"), measured("coupling(f(), f())")
    last = max(factors.rebuilt)
    assert factors.rebuilt[last] > 100 * sums.rebuilt[16]
    assert list(factors.rebuilt.values()) == sorted(factors.rebuilt.values())


def test_random_networks() -> None:
    """Other masks in float64 would make all of it wrong."""
    found = measured("coupling(f(), f())", "dropout(0.5) ->")
    assert found.gradients < 1e-5


def test_the_report() -> None:
    found = measured("coupling(f(), f())")
    certificate = Certificate("net", "net.arch", drift=found)
    lines = as_text(certificate).splitlines()
    assert lines[2] == "  in float32 at B = 64, relative errors"
    assert lines[3].startswith("    rebuilt streams, by steps back  1: ") and ", 16: " in lines[3]
    assert as_dict(certificate)["drift"]["rebuilt"]["16"] == found.rebuilt[16]
    plain = archlang.compile("block net(x: [B, 8]) { return x -> linear(8) }", "net")
    assert drift(plain, {"B": 2}) is None
