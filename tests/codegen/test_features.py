"""Each feature's text is what the golden file shows, passes the linters, and computes what the interpreter computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.ir.check import check
from archlang.ops.base import Context, registry
from tests.codegen.features import FEATURES
from tests.codegen.load import flat, inputs, network
from tests.codegen.nets import preresnet, resnet


@pytest.mark.parametrize("name", FEATURES)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.py.txt", generate(FEATURES[name][0](), source_name="net.arch"))


@pytest.mark.parametrize("name", FEATURES)
def test_well_formed(name: str) -> None:
    check(FEATURES[name][0](), registry(), Context)


@pytest.mark.parametrize("name", FEATURES)
def test_equals_interpreter(name: str) -> None:
    make, shapes = FEATURES[name]
    program = make()
    net, oracle = network(program), InterpreterModule(program)
    oracle.load_state_dict(net.state_dict())
    xs = inputs(shapes)
    for training in (False, True):
        net.train(training)
        got, expected = flat(net(*xs)), flat(oracle.train(training)(*xs))
        assert len(got) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.long
def test_linters_pass(tmp_path: Path) -> None:
    """ruff check, ruff format at 88 columns, and mypy --strict, over everything generated here at once."""
    texts = {name: generate(make(), source_name="net.arch") for name, (make, _) in FEATURES.items()}
    texts |= {"resnet": generate(resnet(), source_name="r.arch"), "pre": generate(preresnet(), source_name="p.arch")}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    for command in (["ruff", "check", "--isolated"], ["ruff", "format", "--isolated", "--diff"], ["mypy", "--strict"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_bars() -> None:
    assert len(generate(resnet(), source_name="resnet.arch").splitlines()) <= 110
    assert len(generate(preresnet(), source_name="preresnet.arch").splitlines()) <= 130
