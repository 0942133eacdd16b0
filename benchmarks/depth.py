"""Does depth that repeats cost anything? Compiles the pre-activation ResNet with 10 and with 10,000 equal units in its
first stage, interleaved, each in a fresh process as a user would, and prints the ratio of the median times.

    python benchmarks/depth.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPEC = Path(__file__).parent.parent / "specs" / "preresnet.arch"
UNITS = (10, 10_000)


def seconds(units: int, output: Path) -> float:
    """Wall time of one cold `archc compile`."""
    command = [sys.executable, "-m", "archlang", "compile", str(SPEC), "-e", "preresnet", "--set", "unit=bottleneck"]
    start = time.perf_counter()
    subprocess.run([*command, "--set", f"depths=[{units + 1}, 18, 18]", "-o", str(output)], check=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        times: dict[int, list[float]] = {n: [] for n in UNITS}
        for _ in range(rounds):
            for n in UNITS:
                times[n].append(seconds(n, Path(folder) / f"{n}.py"))
    few, many = (statistics.median(times[n]) for n in UNITS)
    print(f"{UNITS[0]:>6} units  {few:.3f} s\n{UNITS[1]:>6} units  {many:.3f} s")
    print(f"ratio         {many / few:.2f} (bar: 1.3)")
    return int(many / few > 1.3)


if __name__ == "__main__":
    sys.exit(main())
