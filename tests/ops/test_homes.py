"""The table of which file each op stands in is true, and only files of ops that are asked for are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from archlang.ops.base import Op, register, registry
from archlang.ops.find import homes
from archlang.ops.homes import HOMES

HOMES_FILE = Path(__file__).parents[2] / "archlang" / "ops" / "homes.py"
ASK = """
import sys
from archlang.ops.base import registry
for name in sys.argv[1:]:
    assert registry()[name].name == name
print(" ".join(name for name in sys.modules if name.startswith("archlang.ops.")))
"""


def ask(*names: str) -> set[str]:
    """The modules that a fresh process imports for these ops."""
    line = [sys.executable, "-c", ASK, *names]
    done = subprocess.run(line, check=True, capture_output=True, text=True, timeout=120)
    return set(done.stdout.split())


def test_the_table_is_up_to_date() -> None:
    help = "run `python -m archlang.ops.find > archlang/ops/homes.py`"
    assert HOMES_FILE.read_text(encoding="utf-8") == homes(), help


@pytest.mark.parametrize("step", [1, -1])
def test_every_op_is_found(step: int) -> None:
    assert ask(*list(registry())[::step]) >= set(HOMES.values())


def test_only_what_is_asked_for_is_imported() -> None:
    modules = ask("conv", "relu")
    assert "archlang.ops.conv" in modules
    assert not modules & {"archlang.ops.rnn", "archlang.ops.attention", "archlang.ops.einops"}


def test_a_name_is_taken_before_its_file_is_imported() -> None:
    code = "from archlang.ops.base import Op, register\nregister(type('Mine', (Op,), {'name': 'lstm'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "op 'lstm' is registered twice" in done.stderr
    with pytest.raises(ValueError, match="registered twice"):
        register(type(registry()["relu"]))


def test_the_registry_is_a_mapping() -> None:
    assert len(registry()) == len(list(registry())) == len(dict(registry()))
    assert "relu" in registry()
    assert "no_such_op" not in registry()
    assert registry().get("no_such_op") is None
    assert all(isinstance(op, Op) and op.name == name for name, op in registry().items())
