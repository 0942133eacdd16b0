"""Memory of training and work that is repeated: plans beside checkpoints of blocks, from the cost model, with a plot.

    python benchmarks/planner.py [--points 10] [--plot docs/memory_plans.svg]

`every block` makes each block a checkpoint; `k segments` joins consecutive blocks, sqrt(n) of them or others, as
`torch.utils.checkpoint.checkpoint_sequential` does, which stores the last one. For each, the plan within the same
memory is looked up; the exit status says whether it ever repeats more. Bytes are what autograd holds at most, MACs are
those of second evaluations, as docs/memory.md has them. `kept` is also measured, on tensors without data.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import archlang  # noqa: E402
from archlang.api import Compiled  # noqa: E402
from archlang.budget import Budget, Fit  # noqa: E402
from archlang.budget.customary import Customary  # noqa: E402
from archlang.certify.measure import Fake  # noqa: E402
from archlang.codegen import generate  # noqa: E402
from archlang.loading import instantiate  # noqa: E402

DECODER = {"width": 2048, "depth": 48, "heads": 16, "kv_heads": 8, "hidden": 8192, "vocabulary": 32000}


class Network(NamedTuple):
    title: str
    compiled: Compiled
    budget: Budget
    curve: list[Fit]
    usual: list[tuple[str, Fit]]


def networks(points: int) -> Iterator[Network]:
    for title, spec, entry, sizes, params in (
        ("ResNet-152 at 224x224", "resnet.arch", "resnet152", {"B": 1, "H": 224, "W": 224}, {}),
        ("Decoder of 48 layers, 1024 tokens", "llama.arch", "llama", {"B": 1, "T": 1024}, DECODER),
    ):
        compiled = archlang.compile(ROOT / "specs" / spec, entry, **params)
        budget = Budget(compiled.program, sizes)
        yield Network(title, compiled, budget, budget.curve(points), list(usual(budget)))


def usual(budget: Budget) -> Iterator[tuple[str, Fit]]:
    """Every block, sqrt(n) segments, and other numbers of segments."""
    customary = Customary(budget)
    n = len(customary.blocks)
    root = round(math.sqrt(n))
    for count in sorted({n, n // 2, 2 * root, root, root // 2, 2}, reverse=True):
        name = "every block" if count == n else f"{count} segments"
        yield name, customary.segments(count)
        yield f"{name}, the last stored", customary.segments(count, last_stored=True)


def measured(network: Network, fit: Fit) -> int:
    """Bytes that the generated module keeps at the end of a forward pass, on tensors without data."""
    import torch

    made = network.budget.planned(fit)
    text = generate(made.program, source_name="net.arch", segments=made.segments, recorded=made.origins)
    with torch.device("meta"):
        module = instantiate(Compiled(text, made.program, (), network.compiled.entry, network.compiled.spec))
    return Fake(module).saved_by_module(made.program, network.budget.sizes)[""]


def show(network: Network) -> bool:
    """Prints a network's curve and what is usual; whether no usual plan repeats less than ours with its memory."""
    budget = network.budget
    print(f"{network.title}: {budget.macs / 1e9:.2f} GMACs forward, {mib(budget.stored.peak)} MiB with all stored")
    print(f"{'held at most, MiB':>19}{'kept':>10}{'measured':>10}{'MACs again':>13}")
    fine = True
    for fit in network.curve:
        real = measured(network, fit)
        fine &= abs(real - fit.kept) <= 0.02 * fit.kept
        print(f"{mib(fit.peak):>19}{mib(fit.kept):>10}{mib(real):>10}{share(budget, fit):>13}")
    print(f"{'':30}{'MiB':>10}{'MACs again':>12}{'planned':>10}")
    for name, fit in network.usual:
        ours = budget.within(fit.peak)
        fine &= ours is not None and ours.again <= fit.again
        planned = "none" if ours is None else share(budget, ours)
        print(f"{name:30}{mib(fit.peak):>10}{share(budget, fit):>12}{planned:>10}")
    print()
    return fine


def mib(amount: int) -> str:
    return f"{amount / 2**20:.1f}"


def share(budget: Budget, fit: Fit) -> str:
    return f"{100 * fit.again / budget.macs:.1f} %"


# -- the plot ----------------------------------------------------------------------------------------------------------
def plot(found: list[Network]) -> str:
    """A panel for each network: repeated MACs over memory."""
    panels = "".join(panel(50 + 400 * i, network) for i, network in enumerate(found))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{50 + 400 * len(found)}" height="340" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{50 + 400 * len(found)}" height="340" fill="white"/>\n{panels}</svg>\n'
    )


def panel(x0: int, network: Network) -> str:
    """320 by 250; both axes in per cent, of all stored and of a forward pass."""
    budget = network.budget

    def at(fit: Fit) -> tuple[float, float]:
        return x0 + 320 * fit.peak / budget.stored.peak, 290 - 250 * fit.again / budget.macs

    out = [
        f'<text x="{x0}" y="28" font-weight="bold">{network.title}</text>',
        f'<rect x="{x0}" y="40" width="320" height="250" fill="none" stroke="#888"/>',
        f'<text x="{x0 + 160}" y="328" text-anchor="middle">% of the memory with all stored</text>',
    ]
    for percent in (0, 25, 50, 75, 100):
        across, up = x0 + 3.2 * percent, 290 - 2.5 * percent
        out.append(f'<text x="{across:g}" y="308" text-anchor="middle">{percent}</text>')
        out.append(f'<line x1="{x0}" x2="{x0 + 320}" y1="{up:g}" y2="{up:g}" stroke="#e5e5e5"/>')
        out.append(f'<text x="{x0 - 4}" y="{up + 4:g}" text-anchor="end">{percent}</text>')
    path = " ".join("{:.1f},{:.1f}".format(*at(fit)) for fit in network.curve)
    out.append(f'<polyline points="{path}" fill="none" stroke="#2471a3" stroke-width="2"/>')
    for _, fit in network.usual:
        out.append('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="#c0392b"/>'.format(*at(fit)))
    out.append(f'<text x="{x0 + 110}" y="60" fill="#2471a3">planned: % of the forward MACs again</text>')
    out.append(f'<text x="{x0 + 110}" y="76" fill="#c0392b">blocks in equal segments</text>')
    return "\n".join(out) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    found = list(networks(options.points))
    shown = [show(network) for network in found]
    fine = all(shown)
    if options.plot is not None:
        options.plot.write_text(plot(found))
    print("every usual plan is matched or beaten" if fine else "SOME USUAL PLAN IS BETTER, or bytes are not as planned")
    return int(not fine)


if __name__ == "__main__":
    raise SystemExit(main())
