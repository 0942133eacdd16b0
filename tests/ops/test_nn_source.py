"""The text that layer entries emit passes ruff and mypy --strict, and helpers are formatted at 88 columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from nn_cases import CASES
from render import all_helpers, apply, text

import archlang.ops  # noqa: F401
from archlang.ops.base import registry

IMPORTS = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def helpers() -> dict[str, str]:
    sources: dict[str, str] = {}
    for case in CASES:
        op = registry()[case.op]
        attrs, _, _ = apply(op, case.args, case.ins)
        for helper in all_helpers(op.helpers(attrs)):
            assert sources.setdefault(helper.name, helper.source) == helper.source
    return sources


def _user(number: int, case_index: int) -> str:
    case = CASES[case_index]
    op = registry()[case.op]
    attrs, outs, _ = apply(op, case.args, case.ins)
    names = [f"x{i}" for i in range(len(case.ins))]
    result = "torch.Tensor" if len(outs) == 1 else f"tuple[{', '.join(['torch.Tensor'] * len(outs))}]"
    constructor = op.module(attrs)
    return (
        f"class User{number}(nn.Module):\n"
        f"    def __init__(self) -> None:\n"
        f"        super().__init__()\n"
        f"        self.op = {'None' if constructor is None else text(constructor)}\n\n"
        f"    def forward(self, {', '.join(f'{n}: torch.Tensor' for n in names)}) -> {result}:\n"
        f"        y: {result} = {text(op.call(attrs, len(names)), names)}\n"
        f"        return y\n"
    )


def _run(*command: str) -> str:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_helpers_are_formatted(tmp_path: Path) -> None:
    file = tmp_path / "helpers.py"
    file.write_text("\n\n".join([IMPORTS, *helpers().values()]))
    assert not _run("ruff", "format", "--isolated", "--line-length=88", "--check", "--diff", str(file))
    rules = "--select=E,F,W,I,B,UP,SIM,RUF,C4"
    assert not _run("ruff", "check", "--isolated", "--line-length=88", "--target-version=py311", rules, str(file))


@pytest.mark.long
def test_emissions_pass_mypy(tmp_path: Path) -> None:
    first_of = {}
    for i, case in enumerate(CASES):
        first_of.setdefault((case.op, len(case.ins), case.ins[0].rank, *sorted(case.args)), i)
    users = [_user(number, i) for number, i in enumerate(first_of.values())]
    file = tmp_path / "emitted.py"
    file.write_text("\n\n".join([IMPORTS, *helpers().values(), *users]))
    assert not _run("mypy", "--strict", "--python-version=3.11", str(file))
