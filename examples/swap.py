"""Swaps the connection scheme of residual.arch, which is one line of it, and shows what each costs.

python swap.py
"""

from pathlib import Path

import archlang
from archlang.analyze import cost

SPEC = (Path(__file__).parent / "residual.arch").read_text(encoding="utf-8")
LINE = "chain([residual(branch(width)) for _ in 0..depth])"
USE = "use std.schemes: residual\n"
HELPER = """
## A branch over maps, among wires that have their features last.
fn last(f: module) => rearrange("b h w c -> b c h w") -> f -> rearrange("b c h w -> b h w c")
"""
SCHEMES = {  # what is used of the library, and the line
    "residual": (USE, LINE),
    "dense": ("use std.schemes: dense\n", "dense([branch(8) for _ in 0..depth])"),
    "hyper": (
        f"use std.streams: expanded, hyper\n{HELPER}",
        '(rearrange("b c h w -> b h w c") -> streams: expanded([hyper(last(branch(width)), 4, i) for i in 0..depth], 4)'
        ' -> rearrange("b h w c -> b c h w"))',
    ),
    "reversible": (
        "use std.reversible: coupling\n",
        "(halves -> pairs: chain([coupling(branch(width // 2), branch(width // 2)) for _ in 0..depth]) -> concat)",
    ),
    "echo": ("use .echo: echo\n", "echo([branch(width) for _ in 0..depth])"),
}


def spec(scheme: str) -> str:
    """residual.arch with another scheme."""
    use, line = SCHEMES[scheme]
    return SPEC.replace(USE, use).replace(LINE, line)


def main() -> None:
    print(f"{'scheme':<12}{'parameters':>12}{'MACs':>14}{'kept for training':>20}")
    for scheme in SCHEMES:
        figures = cost(archlang.compile(spec(scheme)).program, {"B": 1, "H": 8, "W": 8})
        kept = f"{figures.saved / 1024:,.1f} KiB"
        print(f"{scheme:<12}{figures.parameters.parameters:>12,}{figures.macs:>14,}{kept:>20}")


if __name__ == "__main__":
    main()
