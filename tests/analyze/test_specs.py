"""The published networks: figures against what torch counts and saves."""

from __future__ import annotations

import pytest
import torch

from archlang.analyze import cost
from archlang.loading import instantiate
from archlang.shapes.dim import evaluate
from tests.analyze.measure import saved
from tests.analyze.networks import FILES, LIGHT, compiled, entries, example, macs_on_meta, parameters, peak, small


def test_every_file_has_a_light_design() -> None:
    assert set(LIGHT) == {path.name for path in FILES}


@pytest.mark.parametrize(("file", "entry"), entries())
def test_parameters_and_macs(file: str, entry: str) -> None:
    spec = compiled(file, entry)
    sizes = small(spec.program, batch=3, extent=max(LIGHT[file][1], 64))
    found = cost(spec.program, sizes)
    with torch.device("meta"):
        module = instantiate(spec)
    counts = found.parameters
    assert (counts.parameters, counts.trainable, counts.buffers) == parameters(module)
    assert found.macs == macs_on_meta(spec, sizes)
    assert found.tree.parameters == counts.parameters


@pytest.mark.parametrize("file", list(LIGHT))
def test_saved_bytes(file: str) -> None:
    spec = compiled(file, LIGHT[file][0])
    sizes = small(spec.program, extent=LIGHT[file][1])
    module = instantiate(spec).train()
    found, _ = saved(lambda: module(*example(spec.program, sizes)), [*module.parameters(), *module.buffers()])
    predicted = cost(spec.program, sizes)
    assert predicted.uncounted == ()
    assert predicted.saved == found.total


@pytest.mark.parametrize("file", list(LIGHT))
def test_peak_of_inference(file: str) -> None:
    spec = compiled(file, LIGHT[file][0])
    sizes = small(spec.program, extent=LIGHT[file][1])
    assert cost(spec.program, sizes).peak.known == peak(spec.program, example(spec.program, sizes))


@pytest.mark.parametrize("file", list(LIGHT))
def test_formulas_give_the_numbers(file: str) -> None:
    program = compiled(file, LIGHT[file][0]).program
    formulas = cost(program)
    for batch, extent in ((2, 96), (5, 128)):
        sizes = small(program, batch, extent)
        numbers = cost(program, sizes)
        for name in ("macs", "flops", "saved"):
            assert evaluate(getattr(formulas, name), sizes) == getattr(numbers, name)
        assert evaluate(formulas.work.traffic, sizes) == numbers.work.traffic
        assert formulas.peak.at(sizes) == numbers.peak
        if formulas.critical.options:
            assert formulas.critical.at(sizes) == numbers.critical
        else:  # branches at sizes that no comparison of forms puts in order
            assert file.startswith("inception")
