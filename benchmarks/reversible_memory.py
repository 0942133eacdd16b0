"""Memory of training: reversible networks against plain ones, from the cost model and measured, with a plot.

    python benchmarks/reversible_memory.py [--plot docs/reversible_memory.svg]

Bytes of activations that are kept for the backward pass, of one example in float32. `cost model` is `archc cost`;
`measured` is what the generated module's autograd packs in a real forward pass, where the size is small enough.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import archlang  # noqa: E402
from archlang.analyze import cost  # noqa: E402
from archlang.certify.measure import saved  # noqa: E402
from archlang.loading import instantiate  # noqa: E402
from archlang.shapes.dim import evaluate  # noqa: E402

REVBIFPN = [("S0", 224), ("S1", 256), ("S2", 256), ("S3", 288), ("S4", 320), ("S5", 352), ("S6", 352)]
EFFICIENTNET = [
    ("B0", 224), ("B1", 240), ("B2", 260), ("B3", 300), ("B4", 380), ("B5", 456), ("B6", 528), ("B7", 600),
]  # fmt: skip
DEPTHS = [1, 2, 4, 8, 16]
MIB = 2**20


class Point(NamedTuple):
    """Figures of one design."""

    name: str
    params: int
    macs: int
    bytes: int


def figures(spec: str, entry: str, sizes: Mapping[str, int], name: str, **params: object) -> Point:
    program = archlang.compile(ROOT / "specs" / spec, entry, **params).program
    found = cost(program, dict(sizes))
    assert isinstance(found.macs, int) and isinstance(found.saved, int)
    return Point(name, found.parameters.parameters, found.macs, found.saved)


def measured(spec: str, entry: str, sizes: Mapping[str, int], **params: object) -> int:
    """Bytes that autograd packs in a forward pass, parameters and buffers aside."""
    compiled = archlang.compile(ROOT / "specs" / spec, entry, **params)
    module = instantiate(compiled).train()
    inputs = [torch.rand([evaluate(s, sizes) for s in p.values[0].type.shape]) for p in compiled.program.root.inputs]
    found, _ = saved(lambda: module(*inputs), [*module.parameters(), *module.buffers()])
    return found.total


def pyramids() -> list[tuple[Point, Point]]:
    """RevBiFPN beside the EfficientNet of the nearest number of operations."""
    plain = [
        figures("efficientnet.arch", f"efficientnet_{name.lower()}", {"B": 1, "H": px, "W": px}, f"{name} at {px}")
        for name, px in EFFICIENTNET
    ]
    found = []
    print("RevBiFPN and the EfficientNet with the nearest number of operations (cost model, one example)")
    print(f"{'':12}{'GMACs':>8}{'MiB':>9}    {'':12}{'GMACs':>8}{'MiB':>9}{'ratio':>8}")
    for name, px in REVBIFPN:
        ours = figures("revbifpn.arch", f"revbifpn_{name.lower()}", {"B": 1, "H": px, "W": px}, f"{name} at {px}")
        other = min(plain, key=lambda p: abs(p.macs / ours.macs - 1))
        found.append((ours, other))
        left, right = (f"{p.name:12}{p.macs / 1e9:>8.2f}{p.bytes / MIB:>9.1f}" for p in (ours, other))
        print(f"{left}    {right}{other.bytes / ours.bytes:>8.1f}")
    return found


def volumes() -> list[tuple[int, Point, Point]]:
    """The 3-D U-Net at growing depth."""
    found = []
    sizes = {"B": 1, "D": 64, "H": 64, "W": 64}
    print("\n3-D U-Net on 64x64x64, by units a stage (cost model, one example)")
    print(f"{'units':>6}{'reversible MiB':>16}{'GMACs':>8}{'plain MiB':>12}{'GMACs':>8}{'ratio':>8}")
    for depth in DEPTHS:
        ours, other = (
            figures("reversible_unet3d.arch", entry, sizes, entry, depth=depth) for entry in ("reversible", "plain")
        )
        found.append((depth, ours, other))
        print(f"{depth:>6}{ours.bytes / MIB:>16.1f}{ours.macs / 1e9:>8.2f}{other.bytes / MIB:>12.1f}"
              f"{other.macs / 1e9:>8.2f}{other.bytes / ours.bytes:>8.1f}")  # fmt: skip
    return found


def small() -> bool:
    """The same at small sizes, measured: whether the cost model is right to the byte."""
    print("\nmeasured at small sizes (one example)")
    print(f"{'':34}{'cost model':>14}{'measured':>14}")
    exact = True
    image, volume = {"B": 1, "H": 64, "W": 64}, {"B": 1, "D": 16, "H": 16, "W": 16}
    for title, spec, entry, sizes, params in (
        ("RevBiFPN-S0 at 64", "revbifpn.arch", "revbifpn_s0", image, {}),
        ("EfficientNet-B0 at 64", "efficientnet.arch", "efficientnet_b0", image, {}),
        *(
            (f"3-D U-Net, {entry}, {depth} units", "reversible_unet3d.arch", entry, volume, {"depth": depth})
            for depth in (1, 4)
            for entry in ("reversible", "plain")
        ),
    ):
        predicted = figures(spec, entry, sizes, title, **params).bytes
        real = measured(spec, entry, sizes, **params)
        exact &= predicted == real
        print(f"{title:34}{predicted:>14,}{real:>14,}")
    return exact


# -- the plot ----------------------------------------------------------------------------------------------------------
def plot(pairs: list[tuple[Point, Point]], stages: list[tuple[int, Point, Point]]) -> str:
    """Two panels: memory over operations, and the ratio over the number of units."""
    curves = [
        ("EfficientNet", "#c0392b", sorted({(p.macs / 1e9, p.bytes / MIB) for _, p in pairs})),
        ("RevBiFPN", "#2471a3", [(p.macs / 1e9, p.bytes / MIB) for p, _ in pairs]),
    ]
    ratio = [("plain / reversible", "#1e8449", [(float(d), b.bytes / a.bytes) for d, a, b in stages])]
    left = panel(40, curves, "GMACs", "MiB kept for the backward pass, one image", (0.2, 50), (4, 5000))
    right = panel(440, ratio, "units a stage", "3-D U-Net: memory, plain by reversible", (0.8, 20), (5, 500))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="820" height="340" font-family="sans-serif" font-size="12">\n'
        '<rect width="820" height="340" fill="white"/>\n' + left + right + "</svg>\n"
    )


def panel(
    x0: int,
    curves: list[tuple[str, str, list[tuple[float, float]]]],
    below: str,
    title: str,
    xs: tuple[float, float],
    ys: tuple[float, float],
) -> str:
    """A panel of 320 by 250 with logarithmic axes."""
    from math import log10

    def across(x: float) -> float:
        return x0 + 320 * (log10(x) - log10(xs[0])) / (log10(xs[1]) - log10(xs[0]))

    def up(y: float) -> float:
        return 290 - 250 * (log10(y) - log10(ys[0])) / (log10(ys[1]) - log10(ys[0]))

    marks = [base * 10**power for power in range(-1, 4) for base in (1, 2, 5)]
    out = [f'<text x="{x0}" y="28" font-weight="bold">{title}</text>',
           f'<rect x="{x0}" y="40" width="320" height="250" fill="none" stroke="#888"/>',
           f'<text x="{x0 + 160}" y="328" text-anchor="middle">{below}</text>']  # fmt: skip
    for m in marks:
        if xs[0] < m < xs[1]:
            out.append(f'<text x="{across(m):.1f}" y="308" text-anchor="middle">{m:g}</text>')
        if ys[0] < m < ys[1]:
            out.append(f'<line x1="{x0}" x2="{x0 + 320}" y1="{up(m):.1f}" y2="{up(m):.1f}" stroke="#e5e5e5"/>')
            out.append(f'<text x="{x0 - 4}" y="{up(m) + 4:.1f}" text-anchor="end">{m:g}</text>')
    for i, (name, colour, points) in enumerate(curves):
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(f'<text x="{x0 + 12}" y="{60 + 16 * i}" fill="{colour}">{name}</text>')
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    pairs, stages = pyramids(), volumes()
    exact = small()
    if options.plot is not None:
        options.plot.write_text(plot(pairs, stages))
    print(f"\nthe cost model is {'right to the byte' if exact else 'WRONG'} where it was measured")
    return int(not exact)


if __name__ == "__main__":
    raise SystemExit(main())
