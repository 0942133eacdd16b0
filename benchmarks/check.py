"""How long `archc check` takes in a fresh process: `python benchmarks/check.py [ROUNDS]`; about two minutes.

Bars: one spec, never checked before, in 1.5 times the CPU time of `python -c "import lark, islpy"`; on top of that
import, each spec of a folder in 60 ms on the clock, or 20 ms where it did not change since the last check. Medians of
runs that take turns, so that what else the machine does falls on all alike; byte code is warm, since an installation
has it. The cold folder takes part in two rounds only.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESNET, SPECS = str(ROOT / "specs" / "resnet.arch"), str(ROOT / "specs")
CHECK = ["-m", "archlang", "check"]
BASE, FOLDER = "import lark, islpy", "check specs/, cold"


def seconds(line: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Of a Python process and all that it starts: user and system time, and time on the clock."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *line], env=env, check=True, stdout=subprocess.DEVNULL, timeout=600)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": f"{folder}/code", "ARCHC_CACHE": f"{folder}/cache"}
        cold = env | {"ARCHC_CACHE": "off"}
        runs = {
            BASE: (["-c", BASE], env),
            "check resnet.arch, cold": ([*CHECK, RESNET], cold),
            FOLDER: ([*CHECK, SPECS], cold),
            "check resnet.arch, unchanged": ([*CHECK, RESNET], env),
            "check specs/, unchanged": ([*CHECK, SPECS], env),
            "archc --help": (["-m", "archlang", "--help"], env),
            "archc explain ARC0301": (["-m", "archlang", "explain", "ARC0301"], env),
            "archc list resnet.arch": (["-m", "archlang", "list", RESNET], env),
        }
        for name, (line, where) in runs.items():  # byte code, and the cache
            if name != FOLDER:
                seconds(line, where)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for turn in range(rounds):
            for name, (line, where) in runs.items():
                if name != FOLDER or turn < 2:
                    times[name].append(seconds(line, where))
    cpu = {name: statistics.median(used for used, _ in values) for name, values in times.items()}
    wall = {name: statistics.median(passed for _, passed in values) for name, values in times.items()}
    count = len(list(Path(SPECS).rglob("*.arch")))
    print(f"{'':<30} {'CPU':>9} {'to import':>10} {'clock':>10}")
    for name, used in cpu.items():
        print(f"{name:<30} {used * 1000:6.0f} ms {used / cpu[BASE]:8.2f} x {wall[name] * 1000:7.0f} ms")
    cold, unchanged = ((wall[name] - wall[BASE]) * 1000 / count for name in (FOLDER, "check specs/, unchanged"))
    figures = [
        ("resnet.arch, cold, to the import", cpu["check resnet.arch, cold"] / cpu[BASE], 1.5, "x"),
        (f"a spec of {count} on top, cold", cold, 60, "ms"),
        (f"a spec of {count} on top, unchanged", unchanged, 20, "ms"),
    ]
    for what, value, bar, unit in figures:
        print(f"{what:<36} {value:6.2f} {unit} (bar: {bar} {unit}){'' if value <= bar else '  MISSED'}")
    return int(any(value > bar for _, value, bar, _ in figures))


if __name__ == "__main__":
    sys.exit(main())
