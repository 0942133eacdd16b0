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
from archlang.verify.figures import FIGURES, Measured, Unknown

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
        assert design.done is not None
        names = [graph.name for graph in design.done.program.graphs]
        assert len({*names}) == len(names)
        if design.verify is None:
            alone = elaborate(module, design.block)
            assert shown(design.done.program) == shown(alone.program)
            assert design.done.program.root.block == alone.program.root.block


def figures(program: Program) -> list[object]:
    """All that claims say of a design: its figures, and the types of its results."""
    of = Measured(program)
    found: list[object] = []
    for figure in FIGURES.values():
        try:
            found.append(of.value(figure))
        except Unknown as error:
            found.append(str(error))
    sizes = [s for out in program.root.outputs for v in out.values for s in v.type.shape]
    return [*found, *map(of.declared, sizes)]


@pytest.mark.parametrize("name", ["resnet", "unet", "revnet", "mobilenet_v2", "densenet", "vit"])
def test_a_design_at_given_sizes_is_the_open_one_there(name: str) -> None:
    module = load(read_file(SPECS / f"{name}.arch"))
    made = designs(module)
    roots = {id(design.done.program.root) for design in made if design.done and design.verify is None}
    claimed = [design for design in made if design.verify is not None]
    for design in claimed:
        assert design.verify is not None and design.done is not None
        assert figures(design.done.program) == figures(elaborate_design(module, design.verify).program)
    assert any(id(design.done.program.root) in roots for design in claimed if design.done)


def test_sizes_that_an_open_design_refuses_are_refused_in_numbers() -> None:
    text = """
        block net(x: [B, 8, H, W]) -> [B, 8, H, W] { return x + (x -> avgpool(2) -> interpolate(scale_factor=2)) }
        verify net() on [1, 8, 6, 6] { params == 0 }
        verify net() on [1, 8, 6, 7] { params == 0 }
    """
    free, taken, refused = designs(load(read_bytes(text.encode())))
    assert free.done is not None and taken.done is not None and refused.done is None
    assert taken.done.program.root is free.done.program.root
    assert [d.code for d in refused.findings] == ["ARC0350"] and "7 on the left and 6 on the right" in refused.findings[
        0
    ].message


def test_designs_that_are_equal_keep_their_names_and_mistakes() -> None:
    found = designs(load(read_bytes(TWINS.encode())))
    assert [d.block for d in found] == ["one", "two", "bad", "worse", "one()"]
    assert [d.done and d.done.program.root.block for d in found] == ["one", "two", None, None, "net"]
    assert [len(d.findings) for d in found] == [0, 0, 1, 1, 0]
