"""Parity with a network that somebody else wrote: the reference implementations, and what is compared with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import archlang
from archlang.interpret import InterpreterModule
from archlang.ir.walk import parameters
from archlang.loading import instantiate
from tests.references import package

__all__ = [
    "SPECS",
    "Parity",
    "assert_layout",
    "assert_parity",
    "pytorchcv_model",
    "renamed",
    "timm_model",
    "torchvision_model",
]

SPECS = Path(__file__).parents[2] / "specs"
OUTPUT_TOLERANCE = 1e-5  # eval mode, float32, relative to the largest entry
GRADIENT_TOLERANCE = 1e-10  # train mode, float64, relative to the largest entry of each tensor
NO_GRADIENT = 1e-9  # a tensor whose gradient is smaller than this part of the largest one has rounding for a gradient

KeyMap = Callable[[str], str]


# -- references --------------------------------------------------------------------------------------------------------
def torchvision_model(name: str, **arguments: Any) -> nn.Module:
    """A model of torchvision with fresh weights; skips the test where torchvision is not installed."""
    model: nn.Module = package("torchvision").models.get_model(name, weights=None, **arguments)
    return model


def timm_model(name: str, **arguments: Any) -> nn.Module:
    """A model of timm with fresh weights; skips the test where timm is not installed."""
    model: nn.Module = package("timm").create_model(name, pretrained=False, **arguments)
    return model


def pytorchcv_model(name: str, **arguments: Any) -> nn.Module:
    """A model of pytorchcv with fresh weights; skips the test where pytorchcv is not installed."""
    model: nn.Module = package("pytorchcv.model_provider").get_model(name, **arguments)
    return model


def renamed(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> KeyMap:
    """A key map of regular expressions with their replacements, applied one after the other."""

    def rename(key: str) -> str:
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        return key

    return rename


# -- comparison --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Parity:
    """What was measured: largest relative differences, and how many parameters took part."""

    output: float
    gradient: float
    parameters: int


def assert_parity(
    spec: str,
    entry: str,
    reference: nn.Module,
    input_shape: Sequence[int],
    params: Mapping[str, object] | None = None,
    key_map: KeyMap | None = None,
    no_gradient: str | None = None,
) -> Parity:
    """Compares an entry of a file in specs/ with a reference, which it changes.

    The generated module must load the reference's state dict strictly, give equal outputs in evaluation (float32), the
    interpreter the same bit for bit, and, in training (float64), equal outputs, gradients of all parameters and of the
    input, and buffers. `params` must turn off whatever is random in training; it is turned off in the reference.

    key_map: from the reference's keys to ours, where its names are incidental.
    no_gradient: a regular expression of our parameters that cannot have a gradient, such as a bias before batch
        normalisation. Every other parameter must have one.
    """
    torch.manual_seed(0)
    still(reference)
    randomise(reference, input_shape)
    compiled = archlang.compile(SPECS / spec, entry, **dict(params or {}))
    module = instantiate(compiled)
    state = mapped(reference.state_dict(), key_map)
    module.load_state_dict(state, strict=True)

    x = torch.randn(*input_shape)
    output = compare_outputs(module, reference, x)
    interpreter = InterpreterModule(compiled.program).eval()
    interpreter.load_state_dict(state)
    with torch.no_grad():
        for ours, theirs in zip(tensors(interpreter(x)), tensors(module(x)), strict=True):
            assert torch.equal(ours, theirs), "the interpreter and the generated module differ"
    del interpreter, state

    gradient = compare_training(module, reference, x.double(), key_map, no_gradient)
    return Parity(output, gradient, sum(p.numel() for p in module.parameters()))


def assert_layout(
    spec: str,
    entry: str,
    reference: Callable[[], nn.Module],
    params: Mapping[str, object] | None = None,
    key_map: KeyMap | None = None,
) -> None:
    """Compares keys, shapes and dtypes of the state dict alone, without making a tensor."""
    with torch.device("meta"):
        theirs = mapped(reference().state_dict(), key_map)
    program = archlang.compile(SPECS / spec, entry, **dict(params or {})).program
    ours = {e.key: e.decl for e in parameters(program) if e.decl.persistent}
    assert ours.keys() == theirs.keys()
    for key, decl in ours.items():
        dtype = "float32" if decl.dtype == "float" else decl.dtype
        assert (decl.shape, f"torch.{dtype}") == (tuple(theirs[key].shape), str(theirs[key].dtype)), key


def still(model: nn.Module) -> None:
    """Turns off dropout and stochastic depth, whatever the reference calls their probability."""
    for module in model.modules():
        if "drop" in type(module).__name__.lower() or "stochastic" in type(module).__name__.lower():
            for name in ("p", "drop_prob"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)


def randomise(model: nn.Module, input_shape: Sequence[int]) -> None:
    """Gives every constant parameter different entries, and batch normalisation the statistics of some batch."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() and parameter.min() == parameter.max():
                parameter.add_(torch.empty_like(parameter).uniform_(-0.3, 0.3))
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [m.momentum for m in norms]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            # statistics of thin air would make a thousand layers overflow
            model.train()(torch.randn(*input_shape))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.running_mean is not None and norm.running_var is not None:
                norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
                norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)


def mapped(items: Mapping[str, Any], key_map: KeyMap | None) -> dict[str, Any]:
    """The items under our keys; no two may meet."""
    if key_map is None:
        return dict(items)
    result = {key_map(key): value for key, value in items.items()}
    assert len(result) == len(items), "the key map sends two keys to one"
    return result


def compare_outputs(module: nn.Module, reference: nn.Module, x: Tensor) -> float:
    """Evaluation in float32: the largest relative difference, which is checked."""
    with torch.no_grad():
        ours, theirs = tensors(module.eval()(x)), tensors(reference.eval()(x))
    worst = 0.0
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.isfinite(other).all() and other.std() > 0, "the reference gives nothing to compare with"
        worst = max(worst, difference(mine, other))
    assert worst <= OUTPUT_TOLERANCE, f"outputs in evaluation differ by {worst:.2e}"
    return worst


def compare_training(
    module: nn.Module, reference: nn.Module, x: Tensor, key_map: KeyMap | None, no_gradient: str | None
) -> float:
    """Training in float64: outputs, gradients, buffers. The largest relative difference of gradients."""
    outputs, gradients, buffers = trained(module, x)
    expected, *others = trained(reference, x)
    wanted_gradients, wanted_buffers = (mapped(items, key_map) for items in others)
    for ours, theirs in zip(outputs, expected, strict=True):
        assert difference(ours, theirs) <= GRADIENT_TOLERANCE, "outputs in training differ: is dropout off?"
    assert buffers.keys() == wanted_buffers.keys()
    for key, buffer in buffers.items():
        assert difference(buffer, wanted_buffers[key]) <= GRADIENT_TOLERANCE, f"buffer `{key}` after a step differs"

    assert gradients.keys() == wanted_gradients.keys()
    largest = max(float(g.abs().max()) for g in wanted_gradients.values())
    worst, where = 0.0, ""
    for key, theirs in wanted_gradients.items():
        if float(theirs.abs().max()) < NO_GRADIENT * largest:
            assert no_gradient and re.fullmatch(no_gradient, key), f"`{key}` has no gradient in the reference"
            error = float((gradients[key] - theirs).abs().max()) / largest
        else:
            error = difference(gradients[key], theirs)
        if error > worst:
            worst, where = error, key
    assert worst <= GRADIENT_TOLERANCE, f"gradients of `{where}` differ by {worst:.2e}"
    return worst


def trained(model: nn.Module, x: Tensor) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """One forward and backward pass: outputs, gradients by key (the input's under ""), buffers by key."""
    model.double().train()
    x = x.clone().requires_grad_()
    outputs = tensors(model(x))
    generator = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=generator, dtype=out.dtype)).sum() for out in outputs)
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    gradients: dict[str, Tensor] = {"": _grad(x, "the input")}
    for key, parameter in model.named_parameters():
        gradients[key] = _grad(parameter, key)
        parameter.grad = None
    saved = model.state_dict()
    buffers = {key: buffer for key, buffer in model.named_buffers() if key in saved}
    return [out.detach() for out in outputs], gradients, buffers


def _grad(tensor: Tensor, key: str) -> Tensor:
    assert tensor.grad is not None, f"`{key}` takes no part in the result"
    return tensor.grad


def tensors(value: Any) -> list[Tensor]:
    """The tensors in a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    items: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
    return [tensor for item in items if item is not None for tensor in tensors(item)]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference relative to the largest entry."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    if ours.numel() == 0 or torch.equal(ours, theirs):
        return 0.0
    return float((ours - theirs).abs().max() / theirs.abs().max())
