"""Depth that repeats costs nothing, and the text depends on the program alone."""

from __future__ import annotations

import difflib
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import FrameType

from archlang.codegen import generate
from tests.codegen.nets import preresnet

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import hashlib
from archlang.codegen import generate
from tests.codegen.features import FEATURES
from tests.codegen.nets import resnet
texts = [generate(make(), source_name="net.arch") for make, _ in FEATURES.values()]
print(hashlib.sha256("".join([*texts, generate(resnet(), source_name="r.arch")]).encode()).hexdigest())
"""


def test_text_differs_in_one_number() -> None:
    few, many = (generate(preresnet(n), source_name="p.arch").splitlines() for n in (10, 10_000))
    changed = [line[1:] for line in difflib.unified_diff(few, many, n=0, lineterm="")][2:]
    for line in changed:
        assert "range(" in line or "units=" in line or line.startswith("@"), line
    assert [line.replace("range(9)", "range(9999)").replace("units=10,", "units=10000,") for line in few] == many


def test_work_does_not_depend_on_the_count() -> None:
    def calls(units: int) -> int:
        program, count = preresnet(units), 0

        def counted(frame: FrameType, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(counted)
        try:
            generate(program, source_name="p.arch")
        finally:
            sys.setprofile(None)
        return count

    calls(10)  # what is remembered from one call to the next
    assert calls(10_000) <= 1.01 * calls(10)


def test_same_bytes_under_every_hash_seed() -> None:
    digests = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == len(hashlib.sha256().hexdigest())
