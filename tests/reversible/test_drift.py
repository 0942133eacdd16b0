"""Rounding errors of rebuilt streams: anchors stand where the estimate asks for them, and keep gradients right."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from archlang.analyze import cost
from archlang.api import Compiled
from archlang.certify.drift import Watch, drift, replaced
from archlang.certify.measure import saved
from archlang.cli import main
from archlang.cli.arguments import DTYPES
from archlang.codegen import generate
from archlang.inputs import random_inputs
from archlang.loading import module_of, root_class
from archlang.reversible.conditioning import ROUNDING, regions
from archlang.reversible.derivation import proof_text
from archlang.reversible.kept import DRIFT, blocks_between
from tests.codegen.load import flat, load
from tests.reversible.helpers import program

COLUMNS = """
use std.reversible: column
block level(width: int)(below, above: tensor?) {
    y = below -> conv(width, 3, padding=1) -> tanh
    if above != none { y = y + (above -> conv(width, 1)) }
    return y
}
block net(columns: int = 15)(a: [B, 4, 6, 6], b: [B, 4, 6, 6], stem: [B, 4, 6, 6]) {
    c = [a, b]
    for i in 0..columns { c = (c; stem) -> "col{i}": column([level(4), level(4)]) }
    return c[0], c[1]
}
"""


def texts(columns: int = 15) -> str:
    return generate(program(COLUMNS, "net", columns=columns), source_name="net.arch")


def deviation(module: object, every: int | None) -> float:
    """Of float32 gradients from those of plain autograd in float64, relative to the largest."""
    torch.manual_seed(0)
    net: nn.Module = module.root()  # type: ignore[attr-defined]
    given = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    real = module.rebuild  # type: ignore[attr-defined]

    def gradients(dtype: torch.dtype) -> list[torch.Tensor]:
        net.to(dtype)
        inputs = [t.to(dtype) for t in given]
        loss = sum(t.square().sum() for t in flat(net(*inputs)))
        return [g.double() for g in torch.autograd.grad(loss, list(net.parameters()))]  # type: ignore[arg-type]

    if every is not None:
        module.rebuild = lambda *args, **options: real(*args, **{**options, "every": every})  # type: ignore[attr-defined]
    single = gradients(torch.float32)
    module.rebuild = lambda block, *args, **_: tuple(flat(block(module.Plain(), *args)))  # type: ignore[attr-defined]
    exact = gradients(torch.float64)
    module.rebuild = real  # type: ignore[attr-defined]
    scale = max(float(g.abs().max()) for g in exact)
    return max(float((a - b).abs().max()) for a, b in zip(single, exact, strict=True)) / scale


def test_columns_get_anchors() -> None:
    """RevCol's factor of 0.5 doubles errors at each level; without anchors, 15 columns lose all digits."""
    text = texts()
    found = re.search(r"every=(\d+)", text)
    assert found is not None
    module = load(text)
    with_anchors, without = deviation(module, None), deviation(module, 0)
    assert with_anchors < 1e-3
    assert without > 20 * with_anchors


@pytest.mark.parametrize("columns", [2, 3])
def test_few_columns_need_none(columns: int) -> None:
    assert "every=" not in texts(columns).split("class Net")[1]


def test_rebuilding_can_be_left_out() -> None:
    assert "rebuild" not in generate(program(COLUMNS, "net"), source_name="net.arch", rebuild=False)


def test_anchors_are_told() -> None:
    """In the proof's text, as in the code."""
    found = re.search(r"every=(\d+)", texts())
    assert found is not None
    lines = proof_text(program(COLUMNS, "net", columns=15)).splitlines()
    (line,) = [line for line in lines if line.startswith("training the 15 reversible blocks")]
    places = (
        f"after every {found[1]} blocks in float32, after every 2 blocks in bfloat16, after every 2 blocks in float16"
    )
    assert line.endswith(f"keeps the streams {places}")


# -- other types -------------------------------------------------------------------------------------------------------
BATCHED = """
use std.reversible: coupling
block f(x) { return x -> a: conv(8, 3, padding=1) -> n: batchnorm -> relu -> b: conv(8, 3, padding=1) }
block net(a: [B, 8, 6, 6], b: [B, 8, 6, 6]) { return (a, b) -> body: chain([coupling(f(), f()) for _ in 0..64]) }
"""
DECAY = """
reversible block decay(a, b) {
    a = 0.2 * a + (b -> f: linear(32))
    b = 0.2 * b + (a -> g: linear(32))
}
block net(a: [B, 32], b: [B, 32]) { return (a, b) -> body: chain([decay() for _ in 0..10]) }
"""


def compiled(text: str, dtype: str) -> Compiled:
    found = program(text, "net")
    return Compiled(generate(found, source_name="net.arch", dtype=dtype), found, (), "net", "net.arch")


def without(made: Compiled) -> Compiled:
    """The same without anchors."""
    source, count = re.subn(r"every=\d+", "every=0", made.source)
    assert count == 1
    return replace(made, source=source)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("text", [COLUMNS, BATCHED, DECAY], ids=["columns", "couplings", "decay"])
def test_streams_stay_within_the_bound_of_a_type(text: str, dtype: str) -> None:
    """As measured, in networks of that type; without anchors they do not."""
    made = compiled(text, dtype)
    ours, lost = (drift(m, {"B": 4}, dtype) for m in (made, without(made)))
    assert ours is not None and lost is not None
    assert max(ours.rebuilt.values()) <= DRIFT[dtype]
    assert ours.gradients <= 2 * ours.plain
    worst = max(lost.rebuilt.values())
    assert not worst <= DRIFT[dtype]  # or infinite, and what comes of that


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_autocast(dtype: str) -> None:
    """Streams are float32, what branches add to them is not: errors are smaller than the estimate, and not in float32's
    bound."""
    errors = {}
    for name, made in (("ours", compiled(COLUMNS, dtype)), ("none", without(compiled(COLUMNS, dtype)))):
        file = module_of(made)
        torch.manual_seed(0)
        net, watch = root_class(file)(), Watch(file)
        given = random_inputs(made.program, {"B": 4})
        with replaced(file, "change", watch):
            with torch.autocast("cpu", getattr(torch, dtype)):
                results = flat(net(*given))
            watch.back = True
            sum(t.square().sum() for t in results).backward()  # type: ignore[union-attr]
        errors[name] = max(watch.errors)
    assert errors["ours"] <= DRIFT[dtype] / 10
    assert errors["none"] > DRIFT[dtype]


@pytest.mark.parametrize("text", [COLUMNS, BATCHED, DECAY], ids=["columns", "couplings", "decay"])
def test_anchors_are_as_far_apart_as_they_can(text: str) -> None:
    for dtype, bound in DRIFT.items():
        (region,) = regions(program(text, "net"))
        every, allowed = blocks_between(region, dtype), bound / ROUNDING[dtype]
        assert region.anchored(every) <= allowed or every == 1
        assert every == 0 or region.anchored(every + 1) > allowed


def test_a_network_that_is_reversible_as_a_whole_has_anchors_too() -> None:
    """Its gradients are lost in float32 without."""
    made = compiled(DECAY, "float32")
    ours, lost = (drift(m, {"B": 4}) for m in (made, without(made)))
    assert ours is not None and lost is not None
    assert ours.gradients < 1e-5 < 1e-2 < lost.gradients


def test_the_cost_model_counts_them() -> None:
    for dtype in DRIFT:
        made = compiled(COLUMNS, dtype)
        module = root_class(module_of(made))()
        found, _ = saved(lambda m=module: m(*random_inputs(made.program, {"B": 2})), [*module.parameters()])  # type: ignore[misc]  # noqa: B023
        assert cost(made.program, {"B": 2}, dtype=dtype).saved == found.total


def test_types_are_those_with_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of command lines, whose anchors are those of the generator."""
    assert tuple(DRIFT) == DTYPES
    (tmp_path / "net.arch").write_text(COLUMNS)
    spec = str(tmp_path / "net.arch")
    for dtype in DTYPES:
        assert main(["compile", spec, "--dtype", dtype]) == 0
        assert capsys.readouterr().out == compiled(COLUMNS, dtype).source
        assert main(["cost", spec, "--dtype", dtype, "--at", "B=2", "--format", "json"]) == 0
        held = cost(program(COLUMNS, "net"), {"B": 2}, dtype=dtype).saved
        assert json.loads(capsys.readouterr().out)["saved_bytes"] == held
    with pytest.raises(ValueError, match="float8"):
        compiled(COLUMNS, "float8")
