"""Parity with reference code that is no package: what it computed once, from weights that are made from their names.

`scripts/pin_reference.py` ran the reference and wrote a file in pinned/: a digest of the layout of its state dict, and
numbers that stand for its outputs, its gradients and its buffers after a step. A network that has the same layout,
filled by the same rule, must give the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import archlang
from archlang.loading import instantiate
from tests.parity.oracles import SPECS, tensors

__all__ = ["PINNED", "Input", "assert_pinned", "fill", "inputs", "layout", "numbers"]

PINNED = Path(__file__).parent / "pinned"
TOLERANCE = 1e-9  # of a number, relative to the norm of the tensors that it stands for


def noise(name: str, shape: Sequence[int]) -> Tensor:
    """Evenly in [-1, 1), the same for the same name everywhere."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return 2 * torch.rand(tuple(shape), generator=generator, dtype=torch.float64) - 1


def fill(model: nn.Module) -> None:
    """Gives a float64 model weights and statistics by the names that they have in the state dict."""
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            u = noise(key, value.shape)
            if sum(n > 1 for n in value.shape) > 1 and not key.endswith("running_var"):
                value.copy_(u * (3 * value.shape[0] / value.numel()) ** 0.5)
            elif key.endswith(("bias", "running_mean")):
                value.copy_(0.2 * u)
            else:  # scales
                value.copy_(0.8 + 0.2 * u)


def layout(entries: Iterable[tuple[str, Sequence[int]]]) -> str:
    """A digest of names and shapes."""
    text = "\n".join(sorted(f"{key} {list(shape)}" for key, shape in entries))
    return hashlib.sha256(text.encode()).hexdigest()


Input = Sequence[int] | Mapping[str, Any]  # a shape of floats, or {"below": n, "shape": [...]} of whole numbers from 0


def inputs(kinds: Sequence[Input]) -> list[Tensor]:
    return [_input(f"input {i}", kind) for i, kind in enumerate(kinds)]


def _input(name: str, kind: Input) -> Tensor:
    if isinstance(kind, Mapping):
        return ((noise(name, kind["shape"]) + 1) / 2 * kind["below"]).long()
    return noise(name, kind).requires_grad_()


def numbers(model: nn.Module, arguments: Sequence[Tensor]) -> dict[str, list[float]]:
    """Of the outputs in evaluation, and of outputs, gradients and buffers of a step in training: norm and product with
    noise, of each output and input, and of all that lies under the first two names of a path."""
    with torch.no_grad():
        found = {f"eval {i}": [(f"eval {i}", out)] for i, out in enumerate(tensors(model.eval()(*arguments)))}
    outputs = tensors(model.train()(*arguments))
    loss = sum((out * noise(f"loss {i}", out.shape)).sum() for i, out in enumerate(outputs))
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    found |= {f"train {i}": [(f"train {i}", out.detach())] for i, out in enumerate(outputs)}
    found |= {f"input {i}": [(f"input {i}", x.grad)] for i, x in enumerate(arguments) if x.grad is not None}
    for key, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        found.setdefault("gradients of " + _group(key), []).append((key, gradient))
    saved = model.state_dict()
    for key, buffer in model.named_buffers():
        if key in saved and buffer.is_floating_point():
            found.setdefault("buffers of " + _group(key), []).append((key, buffer))
    return {name: _numbers(items) for name, items in found.items()}


def _group(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _numbers(items: Iterable[tuple[str, Tensor]]) -> list[float]:
    squares, product = 0.0, 0.0
    for key, x in items:
        squares += float(x.square().sum())
        product += float((x * noise(key, x.shape)).sum())
    return [squares**0.5, product]


def assert_pinned(name: str) -> None:
    """Compares the entry of a spec that pinned/NAME.json tells of with the numbers there."""
    pin: Mapping[str, Any] = json.loads((PINNED / f"{name}.json").read_text())
    model = instantiate(archlang.compile(SPECS / pin["spec"], pin["entry"], **pin["params"])).double()
    assert layout((key, value.shape) for key, value in model.state_dict().items()) == pin["layout"], "another layout"
    fill(model)
    ours, theirs = numbers(model, inputs(pin["inputs"])), pin["numbers"]
    assert ours.keys() == theirs.keys()
    apart = pin.get("differs", {})  # where we do otherwise on purpose, with the reason
    for key, (norm, product) in theirs.items():
        worst = max(abs(ours[key][0] - norm), abs(ours[key][1] - product))
        equal = worst <= TOLERANCE * max(1.0, norm)
        assert equal != (key in apart), f"{key}: {ours[key]}, and the reference gave {(norm, product)}"
