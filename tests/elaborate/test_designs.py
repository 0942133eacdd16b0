"""The designs of a file are elaborated with one memory: each is what it would be alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archlang.elaborate import designs, elaborate, load
from archlang.elaborate.entry import elaborate_design
from archlang.ir.graph import Program
from archlang.ir.text import to_text
from archlang.syntax.source import read_bytes, read_file

SPECS = Path(__file__).resolve().parents[2] / "specs"
TWINS = """\
block net(width: int)(x: [B, 3, H, W]) { return x -> conv: conv(width, 3) -> relu }
block one() = net(8)
block two() = net(8)
block bad(x: [B, 3, H, W]) { return x -> conv: conv(width, 3) }
block worse(x: [B, 3, H, W]) { return x -> conv: conv(width, 3) }
verify one() on [2, 3, 8, 8] { params >= 1 }
"""


def shown(program: Program) -> str:
    """The text, but for the numbers in the graphs' names, which depend on what was built before."""
    return re.sub(r"(?<=[a-z0-9])_[0-9]+\b", "", to_text(program))


@pytest.mark.parametrize("name", ["resnet", "unet", "revnet", "mobilenet_v2"])
def test_each_design_is_what_it_is_alone(name: str) -> None:
    module = load(read_file(SPECS / f"{name}.arch"))
    for design in designs(module):
        alone = elaborate(module, design.block) if design.verify is None else elaborate_design(module, design.verify)
        assert design.done is not None
        assert shown(design.done.program) == shown(alone.program)
        names = [graph.name for graph in design.done.program.graphs]
        assert len({*names}) == len(names)
        assert design.done.program.root.block == alone.program.root.block


def test_designs_that_are_equal_keep_their_names_and_mistakes() -> None:
    found = designs(load(read_bytes(TWINS.encode())))
    assert [d.block for d in found] == ["one", "two", "bad", "worse", "one()"]
    assert [d.done and d.done.program.root.block for d in found] == ["one", "two", None, None, "net"]
    assert [len(d.findings) for d in found] == [0, 0, 1, 1, 0]
