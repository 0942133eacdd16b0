"""`convert_state_dict` of generated files: a trained network's state becomes the deployed one's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import archlang
from archlang.cli import main
from archlang.codegen import generate
from archlang.optimize import optimize
from tests.optimize.equal import as_written, compared, deviation, trained

SPEC = """
block unit(width: int)(x) {
    y = x -> conv: conv(width, 3, padding=1) -> norm: batchnorm -> relu -> dropout(0.2)
    up = x -> up: (conv_transpose(width, 3, padding=1, groups=4, bias=false) -> batchnorm)
    return y + up
}
block net()(x: [B, 8, H, W]) -> [B, 5] {
    x = x -> body: chain([unit(8) for _ in 0..4])
    x = x -> wide: unit(16)
    aux = x -> aux: conv(3, 1) -> global_avgpool
    return x -> global_avgpool -> fc: linear(20) -> norm: batchnorm -> head: linear(5), training aux
}
"""


def written(tmp_path: Path, *options: str) -> dict[str, Any]:
    """The definitions of the file that `archc compile` writes."""
    spec, out = tmp_path / "net.arch", tmp_path / "net.py"
    spec.write_text(SPEC, encoding="utf-8")
    assert main(["compile", str(spec), "-o", str(out), *options]) == 0
    found: dict[str, Any] = {"__name__": "net"}
    exec(compile(out.read_text(encoding="utf-8"), str(out), "exec"), found)
    return found


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for key, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if tensor.dim() < 2 or "var" in key else tensor.normal_()
    return module.double().eval()


def test_names_that_are_those_of_others_before() -> None:
    """With the chain of one gone, `body.0.0.1` is `body.0.1`, and that is `body.1`."""
    text = """
    block pair(x) { return x -> "0": conv(4, 1) -> tanh -> "1": conv(4, 3, padding=1) }
    block outer(x) { return (x -> "0": pair() -> relu) -> "1": conv(4, 1) }
    block net(x: [B, 4, H, W]) { return x -> body: chain([outer() for _ in 0..1]) }
    """
    program = archlang.compile(text, "net").program
    assert compared(program, {"B": 2, "H": 5, "W": 5})[0] <= 1e-12
    made = optimize(program)
    assert any(change.function == "move" for changes in made.changes.values() for change in changes)


def test_a_trained_state_carries_over(tmp_path: Path) -> None:
    plain = randomised(written(tmp_path)["Net"]())
    found = written(tmp_path, "--for", "inference", "--with-convert")
    deployed = found["Net"]().double().eval()
    deployed.load_state_dict(found["convert_state_dict"](plain.state_dict()), strict=True)
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)) for m in deployed.modules())
    assert not hasattr(deployed, "aux")
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        assert deviation(plain(x), deployed(x)) < 1e-12


def test_the_file_is_as_linters_want_it(tmp_path: Path) -> None:
    written(tmp_path, "-O2", "--with-convert")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--isolated", "net.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_training_keeps_both_modes() -> None:
    """Exact passes for training leave what acts in training alone."""
    program = archlang.compile(SPEC).program
    made = optimize(program, purpose="train", level=1)
    ops = [node.op for graph in made.program.graphs for node in graph.nodes]
    assert "dropout" in ops and "batchnorm" in ops


@pytest.mark.parametrize("options", [("--passes", "fold-batch"), ("--for", "train", "--passes", "fold-batchnorm")])
def test_a_pass_that_is_none(tmp_path: Path, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "net.arch"
    spec.write_text(SPEC, encoding="utf-8")
    assert main(["optimize", str(spec), *options]) == 2
    assert "there is no pass" in capsys.readouterr().err


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "net.arch"
    spec.write_text(SPEC, encoding="utf-8")
    assert main(["optimize", str(spec), "--explain"]) == 0
    text = capsys.readouterr().out
    assert "fold-batchnorm" in text and "net.arch:3" in text


def test_a_run_that_nothing_reads_is_gone() -> None:
    spec = """
    use std.schemes: parallel
    block net(x: [B, 4, H, W]) {
        y = x
        for i in 0..4 { y = y -> parallel([silu(), conv(4, 1)]) }
        return x -> relu
    }
    """
    program = archlang.compile(spec).program
    made = optimize(program)
    assert not made.program.root.children
    generate(made.program, source_name="net.arch", changes=made.changes)
    assert made.convert(archlang.build(spec).state_dict()) == {}


ALIASES = """
block part(x) {
    weight scale: [1] = 2.0
    y = x -> body: chain([linear(8), dropout(0.5), linear(8), relu()]) -> out: linear(8)
    return x + scale * y
}
block net(x: [B, 8]) {
    shared = first: part()
    again = second: shared
    x = x -> shared -> own: part
    return x -> again
}
"""


def test_a_block_under_two_names_is_left_alone() -> None:
    """What is in it has two keys, too, and both stay what they were."""
    program = archlang.compile(ALIASES, "net").program
    state = trained(program).state_dict()
    made = optimize(program)
    converted = made.convert(state)
    assert {k: v for k, v in converted.items() if "own" not in k}.keys() == {k for k in state if "own" not in k}
    assert as_written(made, program, {"B": 2})
    assert compared(program, {"B": 2})[0] < 1e-12
