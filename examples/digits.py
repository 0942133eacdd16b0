"""Trains a network on scikit-learn's 8x8 digits: `python digits.py [SPEC] [--epochs N] [--plot FILE]`.

A bar shows how far it is, on a terminal; in a pipe there is only the result. tqdm is used where it is installed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor, nn

import archlang

HERE = Path(__file__).parent


def batches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for chosen in torch.randperm(len(images)).split(size):
        yield images[chosen], labels[chosen]


def progress(steps: range) -> Iterator[int]:
    """The steps, with a bar on the error output where that is a terminal."""
    if not sys.stderr.isatty():
        yield from steps
        return
    try:
        from tqdm import tqdm  # type: ignore[import-untyped]
    except ImportError:
        for step in steps:
            yield step
            print(f"\repoch {step + 1}/{len(steps)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return
    yield from tqdm(steps, unit="epoch")


def train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> list[float]:
    """The mean loss of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in progress(range(epochs)):
        model.train()
        total = 0.0
        for x, y in batches(images, labels, 64):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(x)
        losses.append(total / len(images))
    return losses


def plot(losses: list[float], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses, marker="o")
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help = "with a block of the parameters width and depth, such as residual.arch"
    parser.add_argument("spec", nargs="?", default=str(HERE / "residual.arch"), help=help)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--plot", metavar="FILE", help="draw the loss, as a picture of this name")
    args = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    known, new = shuffled[:1437], shuffled[1437:]

    model = archlang.build(args.spec, width=16, depth=4)
    losses = train(model, images[known], labels[known], args.epochs)
    model.eval()
    with torch.no_grad():
        right = (model(images[new]).argmax(1) == labels[new]).float().mean().item()
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}; {right:.0%} of {len(new)} new digits are right")
    if args.plot:
        plot(losses, args.plot)


if __name__ == "__main__":
    main()
