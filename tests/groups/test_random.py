"""Random specs: a random order in every free group changes nothing, and half of each group can be left out."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from archlang.elaborate import elaborate, load
from archlang.groups import find
from archlang.report.diagnostic import Source
from benchmarks import groups, prune
from tests.random_specs.strategy import Spec, specs


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(spec=specs())
def test_groups_of_random_networks(spec: Spec) -> None:
    program = elaborate(load(Source("net.arch", spec.text)), None, {}).program
    assert groups.difference(program, find(program)) < 1e-9
    _, difference = prune.difference(program, 0.5)
    assert difference < 1e-9
