"""Recipes for pin_reference.py: references of several streams, of layers that see all before them, and of
kernels that networks make.

    python scripts/pin_streams.py NAME CHECKOUT

Beside torch they need einops and, for hyper-connections, torch-einops-utils; MUDDFormer needs transformers.
"""

from __future__ import annotations

import importlib
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from pin_reference import Recipe, bare_module, main


class Streams(nn.Module):
    """Three small layers between hyper-connections of four streams."""

    def __init__(self) -> None:
        super().__init__()
        code: Any = importlib.import_module("hyper_connections.hyper_connections")
        self.layers = nn.ModuleList(
            code.HyperConnections(
                4, dim=6, layer_index=i, branch=nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 6))
            )
            for i in range(3)
        )
        self.expand, self.reduce = code.get_expand_reduce_stream_functions(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.reduce(x)
        return result


class _Float64:
    """torch, whose float32 is float64: the code computes in float32 whatever its weights are."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def mudd(name: str, **config: Any) -> nn.Module:
    """A decoder of 4 layers with 2 heads of 32 features; its angles are not rounded to 16 bits."""
    low = name.lower()
    sizes = {"n_layer": 4, "n_head": 2, "dim": 64, "vocab_size": 50, "block_size": 16, "is_training": True}
    code: Any = importlib.import_module(f"{low}.modeling_{low}")
    code.torch = _Float64()
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
    settings = getattr(importlib.import_module(f"{low}.configuration_{low}"), f"{name}Config")(**sizes, **config)
    model: Any = getattr(code, name)(settings)
    model.setup_caches(2, 8)
    turned = getattr(model, "rotary_ndims", 32)
    turns = 1 / 10000.0 ** (torch.arange(0, turned, 2).to(torch.float32) / turned)
    angles = torch.outer(torch.arange(16).to(torch.float32), turns)
    model.freqs_cis = torch.stack([angles.cos(), angles.sin()], -1).double()
    run = model.forward
    model.forward = lambda ids: run(ids, return_tensor=True)
    result: nn.Module = model
    return result


class Rezero(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer: Any = importlib.import_module("rezero.transformer.rztx").RZTXEncoderLayer
        self.layers = nn.Sequential(*(layer(12, 2, 20, dropout=0.0) for _ in range(4)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class SlowFast(nn.Module):
    """Blocks with up to two earlier ones, and the loss between kernels; its factors are not rounded to 32 bits."""

    def __init__(self, width: int, factors: list[int], size: int, **kernel: Any) -> None:
        super().__init__()
        sys.modules["omegaconf"] = mock.MagicMock()  # for annotations only
        code: Any = bare_module("models.modules.sfne_block", "models")
        slow: Any = importlib.import_module("models.modules.slow_net")
        self.loss = importlib.import_module("models.modules.loss").calculate_slow_neural_loss
        self.factors = factors

        def config(kind: str) -> Any:
            return types.SimpleNamespace(type=f"MAGNet_{kind}", size=size, **kernel)

        locally = partial(slow.SlowNet_L, data_dim=2, kernel_cfg=config("L"))
        self.blocks = nn.ModuleList()
        for i, factor in enumerate(factors):
            layer = partial(
                code.FastMultiBranchLayer, num_branch=10, data_dim=2, kernel_cfg=config("G"),
                SlowNetType_G=partial(slow.SlowNet_G, data_dim=2, kernel_cfg=config("G")),
                SlowNetType_L1=locally, SlowNetType_L2=locally, SlowNetType_L3=locally, SlowNetType_L4=locally,
                kernel_cfg_gc=config("GC"), kernel_cfg_gc_hi=config("GC"), kernel_cfg_gs_hi=config("G"),
                local_kernel_sizes=[3, 1, 5, 3], num_concat_pre=min(i, 2),
            )  # fmt: skip
            self.blocks.append(code.SFNEBlock(width, width, layer, nn.GELU, nn.Dropout, 0.0, factor))
            width *= factor
        torch.Tensor.cuda = lambda self: self  # type: ignore[method-assign, assignment]
        for module in self.modules():
            if isinstance(module, slow.SlowNetBase):
                module.initialized.fill_(True)  # or the first pass would scale weights
                module._non_persistent_buffers_set.add("train_length")
            if isinstance(getattr(module, "betas", None), list):
                module.betas = [torch.full_like(beta, 0.1, dtype=torch.float64) for beta in module.betas]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inputs, kernels = [], []
        for block in self.blocks:
            before = inputs[::-1][:2]
            inputs.append(x)
            x, kernel = block(x, *before)
            kernels.append(kernel)
        return x, self.loss(kernels, self.factors)


TOKENS = [{"shape": [2, 7], "below": 50}]
RECIPES = {
    "hyperzzw": Recipe(
        "github lalalune/Terminator, a copy of hyperevolnet/Terminator before it was emptied; models/modules, with "
        "fast_multi_branch.py of 8f229cd and sfne_block.py of f1990ce",
        lambda: SlowFast(12, [1, 2, 1], 6, no_hidden=4, num_layers=2, omega_0=1.0),
        "hyperzzw.arch", "encoder",
        {"width": 12, "factors": [1, 2, 1], "size": 6, "sizes": [3, 1, 5, 3], "hidden": 4, "layers": 2, "omega": 1.0,
         "drop": 0.0},
        [[2, 12, 6, 6]],
    ),
    "hyper_connections": Recipe(
        "github lucidrains/hyper-connections, hyper_connections/hyper_connections.py", Streams,
        "../tests/parity/pinned/hyper_connections.arch", "net", {}, [[2, 5, 6]],
    ),
    "rezero": Recipe(
        "github majumderb/rezero, rezero/transformer/rztx.py", Rezero, "rezero.arch", "encoder",
        {"depth": 4, "width": 12, "heads": 2, "hidden": 20, "drop": 0.0}, [[5, 2, 12]],
    ),
    "muddformer": Recipe(
        "github Caiyun-AI/MUDDFormer, pytorch/muddformer",
        lambda: mudd("MUDDFormer", intermediate_size=256, use_qk_norm=True), "muddformer.arch", "muddformer",
        {"width": 64, "depth": 4, "heads": 2, "hidden": 256, "vocabulary": 50}, TOKENS,
    ),
    "muddpythia": Recipe(
        "github Caiyun-AI/MUDDFormer, pytorch/muddpythia", lambda: mudd("MUDDPythia", use_qk_norm=True),
        "muddformer.arch", "muddpythia", {"width": 64, "depth": 4, "heads": 2, "vocabulary": 50}, TOKENS,
    ),
}  # fmt: skip

if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
