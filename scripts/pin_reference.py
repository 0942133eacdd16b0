"""Runs published reference code once and writes what tests/parity/pins.py compares with.

    python scripts/pin_reference.py NAME CHECKOUT

CHECKOUT is a working copy of the repository that RECIPES names; its own requirements (timm) must be installed.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.parity import pins  # noqa: E402
from tests.references import package  # noqa: E402


class Recipe(NamedTuple):
    source: str
    make: Callable[[], nn.Module]
    spec: str
    entry: str
    params: dict[str, Any]
    inputs: list[pins.Input]


def revcol() -> nn.Module:
    net = importlib.import_module("models.revcol").FullNet
    model: nn.Module = net([8, 16, 24, 32], [1, 1, 2, 1], 4, num_classes=10, save_memory=False, inter_supv=True)
    return model


def revbifpn() -> nn.Module:
    parts = importlib.import_module("revbifpn")
    model: nn.Module = parts.revbifpn_s0(disable_rev=True, disable_recomp=True, classes=10, head_dropout=0.0)
    recompute = importlib.import_module("rev_structs.revstructs.recomp_op").RecomputeSilo
    for module in model.modules():  # the wrapper refuses a plain forward
        if type(module) is recompute:
            module.forward = types.MethodType(lambda self, *x: [f(x[i]) for i, f in enumerate(self.xforms)], module)
    stack: Any = model  # it takes leaves only
    stack._rev_stack_fwd = lambda x: stack.rev_stack(stack._stack_x(x))
    return model


def rev_vit() -> nn.Module:
    model: Any = importlib.import_module("rev").RevViT(embed_dim=16, n_head=2, depth=3, patch_size=(4, 4))
    model.no_custom_backward = True
    result: nn.Module = model
    return result


def rdnet() -> nn.Module:
    """With features as inputs, and without what its forward never uses."""
    code = bare_module("models.arch.RDnet_", "models")
    code.build_focalnet = lambda name: _Features()
    load, torch.load = torch.load, lambda path: {}
    model: Any = code.FullNet_NLP([8, 16, 24, 32], [1, 1, 2, 1], 3, loss_col=2, save_memory=False)
    torch.load = load
    del model.stem_comp
    model.decoder_blocks = nn.ModuleDict({"2": model.decoder_blocks[2]})
    model.decoder_blocks.__class__ = _Last
    pairs = [(6, 8), (6, 8), (10, 16), (12, 24), (14, 32)]  # written for one width only
    model.baseball_adapter = nn.ModuleList([nn.Conv2d(i, o, 1) for i, o in pairs])
    run = model.forward

    def forward(image: Any, rates: Any, stem: Any, *features: Any) -> Any:
        model.baseball.given = (features, stem)
        return run(image, rates)[1]

    model.forward = forward
    result: nn.Module = model
    return result


class _Features(nn.Module):
    """Stands for a pretrained network: gives what it was told."""

    given: Any

    def forward(self, image: Any) -> Any:
        return self.given


class _Last(nn.ModuleDict):
    def __getitem__(self, key: Any) -> nn.Module:
        return super().__getitem__("2" if key == -1 else key)


class _Predict(nn.Module):
    """One step: encode, predict, decode."""

    def __init__(self) -> None:
        super().__init__()
        sys.path.append(str(Path(sys.path[0]) / "utils"))
        code: Any = importlib.import_module("layers_3d")
        code.zig_rev_predictor.init_hidden = lambda self: []  # it asks for a GPU
        self.encoder = code.autoencoder([2, 2, 1], [1, 2, 2], in_shape=[1, 32, 32], mult=2)
        self.predictor = code.zig_rev_predictor(32, 32, 32, 3, 2)

    def forward(self, memo: Any, hidden: Any, cells: Any, frames: Any) -> Any:
        self.predictor.hidden = [*zip(hidden, cells, strict=True)]
        streams, memo = self.predictor((self.encoder(frames), memo))
        hidden, cells = (torch.stack(states) for states in zip(*self.predictor.hidden, strict=True))
        return self.encoder(streams, False), memo, hidden, cells


def mixed_norms() -> nn.Module:
    """Layers of every kind of norm. What is a constant is no state; in training all take one step of the iteration, and
    those whose norm is exact, which the code finds by iteration too, the best of many."""
    torch.set_default_dtype(torch.float64)  # it makes factors of it
    code = bare_module("resflows.layers.base.mixed_lipschitz", "resflows.layers.base")

    def conv(i: int, o: int, k: int, p: float, q: float) -> Any:
        return code.InducedNormConv2d(i, o, k, 1, k // 2, coeff=0.3, domain=p, codomain=q, n_iterations=50)

    def linear(i: int, o: int, p: float, q: float) -> Any:
        return code.InducedNormLinear(i, o, coeff=0.3, domain=p, codomain=q, n_iterations=50)

    inf = float("inf")
    layers = [conv(2, 4, 3, 1.5, 3), conv(4, 3, 1, 2, 2), conv(3, 2, 1, 1, 2.5), conv(2, 2, 3, 3, inf)]
    model = nn.Sequential(*layers, nn.Flatten(), linear(40, 6, 3, 1.5), linear(6, 5, inf, 2), linear(5, 4, 1, 3))
    model(torch.zeros(1, 2, 5, 4))
    for layer in model:
        if hasattr(layer, "domain"):
            constants = {"scale", "initialized", "spatial_dims"} & dict(layer.named_buffers()).keys()
            exact = layer.domain == 1 or layer.codomain == inf
            layer._non_persistent_buffers_set |= constants | ({"u", "v"} if exact else set())
            layer.register_forward_pre_hook(_best if exact else _step)
    return model


def _step(layer: Any, inputs: Any) -> None:
    if layer.training:
        layer.compute_weight(True, n_iterations=1)


def _best(layer: Any, inputs: Any) -> None:
    found = []
    for _ in range(200):
        layer.v.copy_(torch.randn_like(layer.v))
        layer.compute_weight(True, n_iterations=20)
        found.append((layer.scale.item(), layer.u.clone(), layer.v.clone()))
    _, u, v = max(found, key=lambda item: item[0])
    layer.u.copy_(u)
    layer.v.copy_(v)
    if layer.domain == 1:  # its convolutions of 1x1 find this v and do not keep it
        reached = layer.weight.detach().flatten(1).T @ u
        layer.v.copy_(reached.abs().argmax() == torch.arange(len(v)))


def bare_module(name: str, package: str = "model") -> Any:
    """A module of a package without the package's own imports, which are all that training needs."""
    bare: Any = types.ModuleType(package)
    bare.__path__ = [str(Path(sys.path[0], *package.split(".")))]
    sys.modules[package] = bare
    return importlib.import_module(name)


RECIPES = {
    "crevnet": Recipe(
        "github tamasino52/CrevNet, layers_3d.py", _Predict, "crevnet.arch", "crevnet",
        {"depths": [2, 2, 1], "layers": 3, "size": 32},
        [[2, 32, 3, 4, 4], [3, 2, 32, 3, 4, 4], [3, 2, 32, 3, 4, 4], [2, 1, 3, 32, 32]],
    ),
    "revcol": Recipe(
        "github megvii-research/RevCol, models/revcol.py", revcol, "revcol.arch", "revcol",
        {"widths": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "columns": 4, "classes": 10, "supervised": True},
        [[2, 3, 64, 64]],
    ),
    "revbifpn_s0": Recipe(
        "github CerebrasResearch/RevBiFPN, revbifpn.py", revbifpn, "revbifpn.arch", "revbifpn",
        {"mult": 1, "dropout_p": 0.0, "classes": 10}, [[2, 3, 64, 64]],
    ),
    "rdnet_reflection": Recipe(
        "github lime-j/RDNet, models/arch/RDnet_.py", rdnet, "rdnet_reflection.arch", "rdnet",
        {"widths": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "columns": 3, "read": 2, "outer": [6, 10, 12, 14],
         "size": 32},
        [[2, 3, 32, 32], [2, 6], [2, 6, 16, 16], [2, 6, 16, 16], [2, 10, 8, 8], [2, 12, 4, 4], [2, 14, 2, 2]],
    ),
    "mixed_norms": Recipe(
        "github rtqichen/residual-flows, resflows/layers/base/mixed_lipschitz.py", mixed_norms,
        "../tests/parity/pinned/mixed_norms.arch", "net", {}, [[2, 2, 5, 4]],
    ),
    "rev_vit": Recipe(
        "github karttikeya/minREV, rev.py", rev_vit, "rev_vit.arch", "rev_vit",
        {"width": 16, "heads": 2, "depth": 3, "patch": 4, "size": 32, "classes": 10}, [[2, 3, 32, 32]],
    ),
}  # fmt: skip


def main(recipes: Mapping[str, Recipe], name: str, checkout: str) -> None:
    package("timm")
    sys.path.insert(0, checkout)
    recipe = recipes[name]
    model = recipe.make().double()
    pins.fill(model)
    pin = {
        "source": recipe.source,
        "spec": recipe.spec,
        "entry": recipe.entry,
        "params": recipe.params,
        "inputs": recipe.inputs,
        "layout": pins.layout((key, value.shape) for key, value in model.state_dict().items()),
        "numbers": pins.numbers(model, pins.inputs(recipe.inputs)),
    }
    (pins.PINNED / f"{name}.json").write_text(json.dumps(pin, indent=0) + "\n")
    print(name, sum(p.numel() for p in model.parameters()), torch.__version__)


if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
