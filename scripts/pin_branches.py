"""The reference networks that are made smaller after training: recipes for scripts/pin_reference.py.

    python scripts/pin_branches.py NAME CHECKOUT

CHECKOUT is a working copy of the repository that RECIPES names (of SLAB, its folder `classification`); its own
requirements must be installed (timm; einops for `slab`; scipy and networkx for `sgc`).
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial
from typing import Any

import torch
from pin_reference import Recipe, bare_module, main
from torch import nn


def repnext(merged: bool) -> nn.Module:
    net = importlib.import_module("model.repnext").RepNext
    model: Any = net(embed_dim=(8, 16, 32), depth=(1, 2, 1), num_classes=10)
    if merged:
        model.fuse()
    result: nn.Module = model
    return result


def repmlp(merged: bool) -> nn.Module:
    net = importlib.import_module("repmlpnet").RepMLPNet
    sizes = {"num_blocks": (1, 2), "channels": (8, 16), "hs": (8, 4), "ws": (8, 4), "sharesets_nums": (1, 4)}
    model: Any = net(num_class=10, reparam_conv_k=(1, 3), **sizes)
    if merged:
        model.locality_injection()
    result: nn.Module = model
    return result


def slab(name: str, size: int, patch: int) -> nn.Module:
    """A quarter of the way from one normalisation to the other."""
    code = bare_module(f"models.{name}", "models")
    double = types.ModuleType("torch")
    double.__dict__.update(torch.__dict__ | {"float32": torch.float64})  # it asks for single precision
    code.torch = double
    norms = {"norm1": partial(nn.LayerNorm, eps=1e-6), "norm2": code.RepBN, "step": 60_000}
    sizes = {"img_size": size, "patch_size": patch, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 10}
    model: nn.Module = code.VisionTransformer(norm_layer=partial(code.LinearNorm, **norms), **sizes)
    for module in model.modules():
        if isinstance(module, code.LinearNorm):
            module.iter.fill_(45_000)
    return model


def sgc() -> nn.Module:
    model: nn.Module = importlib.import_module("models").SGC(6, 4)
    classify, precompute = model.forward, importlib.import_module("utils").sgc_precompute
    model.forward = lambda x, graph: classify(precompute(x, graph, 3)[0])
    return model


_REPNEXT = {"widths": [8, 16, 32], "depths": [1, 2, 1], "classes": 10}
_REPMLP = {"size": 32, "widths": [8, 16], "depths": [1, 2], "sets": [1, 4], "classes": 10}
_SLAB = {"width": 16, "heads": 2, "depth": 2, "classes": 10, "steps": 60_000, "left": 45_000}

RECIPES = {
    "repnext": Recipe(
        "github suous/RepNeXt, model/repnext.py", lambda: repnext(False), "repnext.arch", "repnext", _REPNEXT,
        [[2, 3, 64, 48]],
    ),
    "repnext_merged": Recipe(
        "github suous/RepNeXt, model/repnext.py", lambda: repnext(True), "repnext.arch", "repnext",
        {**_REPNEXT, "merged": True}, [[2, 3, 64, 48]],
    ),
    "repmlp": Recipe(
        "github DingXiaoH/RepMLP, repmlpnet.py", lambda: repmlp(False), "repmlp.arch", "repmlpnet", _REPMLP,
        [[2, 3, 32, 32]],
    ),
    "repmlp_merged": Recipe(
        "github DingXiaoH/RepMLP, repmlpnet.py", lambda: repmlp(True), "repmlp.arch", "repmlpnet",
        {**_REPMLP, "merged": True}, [[2, 3, 32, 32]],
    ),
    "slab_linear": Recipe(
        "github xinghaochen/SLAB, models/slab_deit.py", lambda: slab("slab_deit", 56, 4), "slab.arch", "slab",
        {**_SLAB, "size": 56, "patch": 4}, [[2, 3, 56, 56]],
    ),
    "slab_softmax": Recipe(
        "github xinghaochen/SLAB, models/deit.py", lambda: slab("deit", 32, 8), "slab.arch", "slab",
        {**_SLAB, "linear": False, "size": 32, "patch": 8}, [[2, 3, 32, 32]],
    ),
    "sgc": Recipe(
        "github Tiiiger/SGC, models.py and utils.py", sgc, "sgc.arch", "sgc", {"width": 6, "classes": 4, "hops": 3},
        [[5, 6], [5, 5]],
    ),
}  # fmt: skip


if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
