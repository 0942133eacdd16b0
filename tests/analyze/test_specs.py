"""The published networks: figures against what torch counts and saves. New files in specs/ are covered by being there.

The first and the last design of each file have their parameters compared; the first one has operations and saved bytes
compared, too, on tensors without data (a second or two), and runs, where that takes no more than about a second.
`archc verify --numeric specs` compares all figures of all designs.
"""

from __future__ import annotations

import re

import pytest
import torch

from archlang.analyze import cost
from archlang.analyze.cost import Cost
from archlang.certify.measure import Fake, saved
from archlang.certify.sample import usual
from archlang.inputs import random_inputs
from archlang.ir.walk import counts
from archlang.loading import instantiate
from archlang.shapes.dim import evaluate
from scripts import specs_table
from tests.analyze.networks import FILES, SPECS, compiled, entries, macs_on_meta, parameters, peak

FIRST = [next(e for e in entries() if e[0] == path.name) for path in FILES]
LAST = [[e for e in entries() if e[0] == path.name][-1] for path in FILES]
TABLE = specs_table.rows()
RUNS = 3 * 10**8  # MACs, and
HOLDS = 2**26  # bytes for the backward pass, up to which a network is run on the CPU


def smallest(file: str, entry: str) -> tuple[dict[str, int], Cost]:
    """Small sizes that are valid in both phases, and the figures there."""
    program = compiled(file, entry).program
    sizes = next(iter(usual(program)), {})
    return sizes, cost(program, sizes)


UNCOUNTED = {"inverse_flow.arch"}  # a layer that runs backwards
VIEWS = {"maxim.arch"}  # at the least sizes one block is all of the smallest map: cutting that up copies nothing


@pytest.mark.long
def test_every_file_has_a_design_and_nearly_all_are_counted() -> None:
    assert len(FIRST) == len(FILES)
    assert {file for file, entry in FIRST if smallest(file, entry)[1].uncounted} == UNCOUNTED


@pytest.mark.parametrize(("file", "entry"), dict.fromkeys([*FIRST, *LAST]))
def test_parameters(file: str, entry: str) -> None:
    spec = compiled(file, entry)
    with torch.device("meta"):
        module = instantiate(spec)
    found = counts(spec.program)
    assert (found.parameters, found.trainable, found.buffers) == parameters(module)
    assert in_table(file, entry, found.parameters), "run `python scripts/specs_table.py`"


def in_table(file: str, entry: str, parameters: int) -> bool:
    """Whether the table in specs/README.md gives the right number of entries, smallest and largest one."""
    cell = TABLE[file.removesuffix(".arch")].split(" | ")[2]
    names = specs_table.entries(specs_table.read(SPECS / file).module)
    if len(names) == 1:
        return cell == f"`{entry}`"
    ends = re.findall(r"`(\w+)` \((.+?)\)", cell)
    least, here, most = (amount(text) for text in (ends[0][1], specs_table.short(parameters), ends[1][1]))
    right = [text == specs_table.short(parameters) for name, text in ends if name == entry]
    return cell.startswith(f"{len(names)}: ") and least <= here <= most and all(right)


def amount(text: str) -> float:
    """The number that is printed as `25.6 M`."""
    digits, _, unit = text.partition(" ")
    return float(digits) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[unit]


@pytest.mark.parametrize(("file", "entry"), FIRST)
def test_macs_and_saved_bytes(file: str, entry: str) -> None:
    spec = compiled(file, entry)
    sizes, found = smallest(file, entry)
    assert found.tree.parameters == found.parameters.parameters
    if found.uncounted:  # and `archc cost` says so
        pytest.skip(f"not counted: {', '.join(map(str, found.uncounted))}")
    assert found.macs == macs_on_meta(spec, sizes)
    with torch.device("meta"):
        module = instantiate(spec)
    assert found.saved == Fake(module).saved_by_module(spec.program, sizes)[""]


@pytest.mark.parametrize(("file", "entry"), FIRST)
def test_a_real_run(file: str, entry: str) -> None:
    spec = compiled(file, entry)
    sizes, found = smallest(file, entry)
    assert isinstance(found.macs, int) and isinstance(found.saved, int)
    if found.macs > RUNS or found.saved > HOLDS:
        pytest.skip(f"{found.macs:,} MACs and {found.saved:,} bytes are much for a test")
    module = instantiate(spec).train()
    inputs = random_inputs(spec.program, sizes)
    measured, _ = saved(lambda: module(*inputs), [*module.parameters(), *module.buffers()])
    assert found.saved == measured.total
    assert found.peak.known == peak(spec.program, inputs)


@pytest.mark.parametrize(("file", "entry"), FIRST)
def test_formulas_give_the_numbers(file: str, entry: str) -> None:
    program = compiled(file, entry).program
    formulas = cost(program)
    for i, sizes in enumerate(usual(program)):
        numbers = cost(program, sizes)
        for name in ("macs", "flops", "saved"):
            assert evaluate(getattr(formulas, name), sizes) == getattr(numbers, name)
        moved = evaluate(formulas.work.traffic, sizes)
        assert moved > numbers.work.traffic if i == 0 and file in VIEWS else moved == numbers.work.traffic
        if formulas.peak.options:
            assert formulas.peak.at(sizes) == numbers.peak
        if formulas.critical.options:
            assert formulas.critical.at(sizes) == numbers.critical
        else:  # branches at sizes that no comparison of forms puts in order: then that is said
            assert "too many ways" in str(formulas.critical)
