"""Depth that repeats costs nothing: not in the text, and not in the work."""

from __future__ import annotations

import re
from pathlib import Path

from archlang.codegen import generate
from archlang.elaborate import elaborate, load
from archlang.report.diagnostic import Source
from archlang.syntax.parser import parse_expression
from archlang.syntax.source import read_file

SPEC = Path(__file__).parent.parent / "specs" / "preresnet.arch"


def compiled(units: int) -> tuple[str, int]:
    """The text, and the number of steps that elaboration took."""
    unit = parse_expression(Source("test", "bottleneck"))
    result = elaborate(load(read_file(SPEC)), "preresnet", {"unit": unit, "depths": [units + 1, 3, 3]})
    return generate(result.program, source_name=SPEC.name), result.steps


def test_the_text_for_ten_and_for_ten_thousand_equal_units_differs_in_one_number() -> None:
    few, many = compiled(10)[0].split("\n"), compiled(10_000)[0].split("\n")
    assert len(few) == len(many)
    different = [(a, b) for a, b in zip(few, many, strict=True) if a != b]
    assert len(different) == 1
    ((a, b),) = different
    assert re.sub(r"\d+", "#", a) == re.sub(r"\d+", "#", b)
    numbers = [(x, y) for x, y in zip(re.findall(r"\d+", a), re.findall(r"\d+", b), strict=True) if x != y]
    assert numbers == [("10", "10000")]


def test_elaboration_takes_as_many_steps_for_ten_thousand_units_as_for_ten() -> None:
    assert compiled(10)[1] == compiled(10_000)[1]
