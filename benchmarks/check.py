"""How long `archc check` takes, in CPU time of a fresh process: `python benchmarks/check.py [ROUNDS]`.

Bars: one spec, never checked before, in 1.5 times what `python -c "import lark, islpy"` takes; each further spec in
60 ms, or 20 ms where it did not change since the last check. Medians of runs that take turns, so that what else the
machine does falls on all alike; byte code is warm, since an installation has it.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESNET, SPECS = str(ROOT / "specs" / "resnet.arch"), str(ROOT / "specs")
CHECK = ["-m", "archlang", "check"]


def seconds(line: list[str], env: dict[str, str]) -> float:
    """User and system time of a Python process and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *line], env=env, check=True, stdout=subprocess.DEVNULL, timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": f"{folder}/code", "ARCHC_CACHE": f"{folder}/cache"}
        cold = env | {"ARCHC_CACHE": "off"}
        runs = {
            "import lark, islpy": (["-c", "import lark, islpy"], env),
            "check resnet.arch, cold": ([*CHECK, RESNET], cold),
            "check specs/, cold": ([*CHECK, SPECS], cold),
            "check resnet.arch, unchanged": ([*CHECK, RESNET], env),
            "check specs/, unchanged": ([*CHECK, SPECS], env),
            "archc --help": (["-m", "archlang", "--help"], env),
            "archc explain ARC0301": (["-m", "archlang", "explain", "ARC0301"], env),
            "archc list resnet.arch": (["-m", "archlang", "list", RESNET], env),
        }
        for line, where in runs.values():  # byte code, and the cache
            seconds(line, where)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, (line, where) in runs.items():
                times[name].append(seconds(line, where))
    median = {name: statistics.median(values) for name, values in times.items()}
    base, count = median["import lark, islpy"], len(list(Path(SPECS).rglob("*.arch")))
    for name, value in median.items():
        print(f"{name:<30} {value * 1000:8.0f} ms   {value / base:6.2f} x")
    each = {form: (median[f"check specs/, {form}"] - 1.5 * base) * 1000 / count for form in ("cold", "unchanged")}
    figures = [
        ("resnet.arch, cold, to the import", median["check resnet.arch, cold"] / base, 1.5, "x"),
        (f"a spec of {count} on top, cold", each["cold"], 60, "ms"),
        (f"a spec of {count} on top, unchanged", each["unchanged"], 20, "ms"),
    ]
    for what, value, bar, unit in figures:
        print(f"{what:<36} {value:6.2f} {unit} (bar: {bar} {unit}){'' if value <= bar else '  MISSED'}")
    return int(any(value > bar for _, value, bar, _ in figures))


if __name__ == "__main__":
    sys.exit(main())
