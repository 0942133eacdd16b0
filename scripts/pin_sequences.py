"""As pin_reference.py, for networks that go in steps: recurrent, recursive, gated, and of series.

python scripts/pin_sequences.py NAME CHECKOUT
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pin_reference import Recipe, main
from torch import nn


class _Instead(types.ModuleType):
    """A module with some names replaced."""

    def __init__(self, module: types.ModuleType, **names: Any) -> None:
        super().__init__(module.__name__)
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def nbeats(kind: str, **sizes: int) -> nn.Module:
    """Its tables of times, which are parameters without a gradient there, are constants of double precision."""
    sys.modules["gin"] = _Instead(types, configurable=lambda: lambda f: f)
    code: Any = importlib.import_module("models.nbeats")
    code.np = _Instead(code.np, float=float, float32=float)
    code.t = _Instead(torch, float32=torch.float64)
    model: nn.Module = getattr(importlib.import_module("experiments.model"), kind)(**sizes)
    for module in model.modules():
        for name in [n for n, p in module._parameters.items() if p is not None and not p.requires_grad]:
            table = module._parameters.pop(name)
            setattr(module, name, table.detach())
    return model


def without_gpu() -> None:
    """Lets code run that asks for one."""
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[method-assign]


def hypernetworks() -> nn.Module:
    without_gpu()
    model: nn.Module = importlib.import_module("primary_net").PrimaryNetwork(z_dim=4)
    return model


class _Trellis(nn.Module):
    """States as inputs of their own; words as the key map says: a table used at both ends is listed once."""

    def __init__(self, folder: str, **sizes: Any) -> None:
        super().__init__()
        without_gpu()
        torch.set_default_dtype(torch.float64)
        sys.path[:0] = [f"{sys.path[0]}/TrellisNet/{folder}", f"{sys.path[0]}/TrellisNet"]
        model = importlib.import_module("model").TrellisNetModel(**sizes, wnorm=True)
        self.run = [model]
        if folder:
            self.network, self.linear = model.network, model.linear
        else:
            self.encoder, self.tnet, self.decoder = model.encoder, model.tnet, nn.Module()
            self.decoder.register_parameter("bias", model.decoder.bias)

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        model = self.run[0].train(self.training)
        model.aux = self.training and hasattr(self, "tnet")
        scores, states, *early = model(x, (h, c))
        early = [early[0].transpose(0, 1)] if model.aux else []
        return (scores[-1] if isinstance(scores, tuple) else scores), states, early


class _Skip(nn.Module):
    """A shortcut is listed once, under the name that the network itself has for it."""

    def __init__(self, kind: str, gate: str, depth: int) -> None:
        super().__init__()
        without_gpu()
        torch.set_default_dtype(torch.float64)
        code: Any = importlib.import_module("cifar.models")
        self.__dict__ |= getattr(code, kind)(code.BasicBlock, [depth] * 3, gate_type=gate).__dict__
        self.run = getattr(code, kind).forward
        for name, layer in self.named_children():
            if "_layer" in name and layer.downsample is not None:
                shared = layer._modules.pop("downsample")
                layer.downsample = lambda x, shared=shared: shared(x)

    def forward(self, image: Any) -> Any:
        return self.run(self, image)


class _Hyper(nn.Module):
    """A hypernetwork and a network of its parameters; the last bias parameter by parameter."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = 3, 4, 5
        shapes = {"1": (a, 1, 5, 5), "2": (a,), "3": (b, a, 5, 5), "4": (b,), "5": (c, b), "6": (c,)}
        code: Any = importlib.import_module("hyperlight.hypernet.model")
        model = code.HyperNet({"told": (2,)}, shapes, [6, 7])
        self.backbone, self.run = nn.Module(), [model]
        for name, child in model.backbone.named_children():
            self.backbone.add_module(name, child)
        del self.backbone.output._parameters["bias"]
        sizes = [torch.Size(shape).numel() for shape in shapes.values()]
        self.backbone.own = nn.ParameterList([torch.zeros(n) for n in sizes])

    def forward(self, image: Any, told: Any) -> Any:
        self.backbone.output.bias = torch.cat([*self.backbone.own])
        w = [*self.run[0](told=told).values()]
        x = nn.functional.max_pool2d(nn.functional.conv2d(image, w[0], w[1], padding=2).relu(), 2)
        x = nn.functional.conv2d(x, w[2], w[3]).relu().mean((2, 3))
        return nn.functional.linear(x, w[4], w[5])


def _stub(name: str, **entries: Any) -> None:
    sys.modules[name] = module = types.ModuleType(name)
    module.__dict__.update(entries)


class _Exits(nn.Module):
    """Heads and gates after all blocks but the last, run as in inference, with the probabilities of leaving."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
        sys.path.insert(0, f"{sys.path[0]}/src")
        stats = types.SimpleNamespace(entropy=lambda p, axis: -(p * np.log(p)).sum(axis))
        _stub("scipy", stats=stats)
        _stub("calibration", calibration_curve=None)
        _stub("utils", free=lambda x: x.detach().numpy())
        _stub("sklearn")
        _stub("sklearn.metrics", accuracy_score=None)
        code: Any = importlib.import_module("models.t2t_vit")
        net = code.T2T_ViT(img_size=32, num_classes=5, embed_dim=8, depth=3, num_heads=2, mlp_ratio=2, token_dim=6)
        net.set_intermediate_heads([0, 1])
        net.set_learnable_gates([0, 1])
        for module in net.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        places = net._parameters.pop("pos_embed").detach().double()
        rates = 10000 ** (-2 * (torch.arange(8) // 2) / 8)
        angles = torch.arange(places.shape[1])[:, None] * rates
        net.pos_embed = torch.where(torch.arange(8) % 2 == 0, angles.sin(), angles.cos())[None]
        assert torch.allclose(net.pos_embed, places, atol=1e-6)  # in double precision
        self.__dict__ |= net.__dict__
        self.net = [net]

    def forward(self, image: Any) -> Any:
        last, early = self.net[0].train(self.training)(image)
        g = [torch.sigmoid(gate(scores)) for gate, scores in zip(self.gates, early, strict=True)]
        p = torch.cat([g[0], g[1] * (1 - g[0]), (1 - g[0]) * (1 - g[1])], 1)
        scores = torch.where(g[0] >= 0.5, early[0], torch.where(g[1] >= 0.5, early[1], last))
        return scores, p, [*early, last]


class _Unfolding(nn.Module):
    """The network of scales, which all residual blocks share, is listed once."""

    def __init__(self, kind: str, *arguments: Any) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)
        sys.path.insert(0, f"{sys.path[0]}/COAST")
        model = getattr(importlib.import_module("COAST"), kind)(2, [2, 1] if arguments else [1, 1], *arguments, (4, 4))
        for block in model.fcs:
            for part in block.ResidualBlocks:
                self.scale = part._modules.pop("res_scale")
                part.res_scale = lambda x, scale=self.scale: scale(x)
        self.fcs, self.run = model.fcs, [model]

    def forward(self, image: Any, phi: Any) -> Any:
        return self.run[0](image, phi)


class _Raven(nn.Module):
    """In double precision throughout, the table of rotations, too, which is no buffer here; the tied table once."""

    def __init__(self, steps: int, through: int, **sizes: Any) -> None:
        super().__init__()
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
        bare = types.ModuleType("recpre")
        bare.__path__ = [str(Path(sys.path[0]) / "recpre")]
        sys.modules["recpre"] = bare
        code: Any = importlib.import_module("recpre.raven_modeling_minimal")
        torch_float, torch.float32 = torch.float32, torch.float64
        code.RavenForCausalLM._tied_weights_keys = None  # what it has is for another release
        model = code.RavenForCausalLM(code.RavenConfig(**sizes))
        torch.float32 = torch_float
        model.lm_head.weight = model.transformer.wte.weight
        model.freqs_cis = model._buffers.pop("freqs_cis").double()
        self.transformer, self.steps = model.transformer, (steps - through, through)
        self.run = [model]

    def forward(self, ids: Any, state: Any) -> Any:
        return self.run[0](ids, input_states=state, num_steps=torch.tensor(self.steps)).logits


RECIPES = {
    "recursive_coast": Recipe(
        "github Rawwad-Alhejaili/Recursions-Are-All-You-Need, COAST/COAST.py", lambda: _Unfolding("R_COAST", 2),
        "recursive_unfolding.arch", "recursive_coast",
        {"times": [2, 1], "longest": 4, "side": 4, "size": 8, "measured": 5}, [[2, 1, 8, 8], [5, 16]],
    ),
    "coast": Recipe(
        "github Rawwad-Alhejaili/Recursions-Are-All-You-Need, COAST/COAST.py", lambda: _Unfolding("COAST"),
        "recursive_unfolding.arch", "coast", {"depth": 2, "side": 4, "size": 8, "measured": 5}, [[2, 1, 8, 8], [5, 16]],
    ),
    "magnitude_invariant": Recipe(
        "github JJGO/hyperlight, hyperlight/hypernet/model.py", _Hyper, "magnitude_invariant.arch", "hyper_lenet",
        {"inputs": 2, "hidden": [6, 7], "widths": [3, 4, 5]}, [[2, 1, 10, 12], [1, 2]],
    ),
    "jei_dnn": Recipe(
        "github networkslab/dynn, src/models/t2t_vit.py", _Exits, "jei_dnn.arch", "jei_dnn",
        {"width": 8, "depth": 3, "heads": 2, "inner": 6, "size": 32, "classes": 5, "drop": 0.0}, [[4, 3, 32, 32]],
    ),
    "recurrent_depth": Recipe(
        "github seal-rg/recurrent-pretraining, recpre/raven_modeling_minimal.py",
        lambda: _Raven(3, 2, n_embd=16, n_heads=2, intermediate_size=24, vocab_size=11, block_size=8, n_layers=6,
                       n_layers_in_prelude=1, n_layers_in_recurrent_block=2, n_layers_in_coda=1),
        "recurrent_depth.arch", "from_state",
        {"width": 16, "heads": 2, "hidden": 24, "layers": [1, 2, 1], "steps": 3, "through": 2, "vocabulary": 11},
        [{"below": 11, "shape": [2, 6]}, [2, 6, 16]],
    ),
    "sret": Recipe(
        "github szq0214/SReT, SReT.py",
        lambda: importlib.import_module("SReT").SReT(
            image_size=32, patch_size=16, stride=8, base_dims=[4] * 3, depth=[4, 2, 2], recursive_num=[2, 1, 1],
            groups1=[4, 2, 1], groups2=[1, 1, 1], heads=[2, 4, 8], mlp_ratio=3, np_mlp_ratio=2, num_classes=10,
            drop_path_rate=0.0,
        ),
        "sret.arch", "sret",
        {"base": 4, "heads": [2, 4, 8], "ratios": [3.0, 2.0], "slices": [[4, 1], [2, 1], [1, 1]], "cores": [2, 1, 1],
         "size": 32, "classes": 10, "drop": 0.0},
        [[2, 3, 32, 32]],
    ),
    "skipnet_two": Recipe(
        "github ucbdrive/skipnet, cifar/models.py", lambda: _Skip("ResNetFeedForwardSP", "ffgate1", 2),
        "skipnet.arch", "skipnet", {"depth": 2, "gates": "two"}, [[4, 3, 32, 32]],
    ),
    "skipnet_one": Recipe(
        "github ucbdrive/skipnet, cifar/models.py", lambda: _Skip("ResNetFeedForwardSP", "ffgate2", 2),
        "skipnet.arch", "skipnet", {"depth": 2, "gates": "one"}, [[4, 3, 32, 32]],
    ),
    "skipnet_recurrent": Recipe(
        "github ucbdrive/skipnet, cifar/models.py", lambda: _Skip("ResNetRecurrentGateSP", "rnn", 2),
        "skipnet.arch", "skipnet", {"depth": 2, "gates": "recurrent"}, [[4, 3, 32, 32]],
    ),
    "trellisnet_pixels": Recipe(
        "github locuslab/trellisnet, seq_MNIST_CIFAR/model.py",
        lambda: _Trellis("seq_MNIST_CIFAR", ninp=2, nhid=6, nout=4, nlevels=5, dilation=[1, 1, 2, 4]),
        "trellisnet.arch", "pixels",
        {"channels": 2, "hidden": 6, "classes": 4, "levels": 5, "dilations": [1, 1, 2, 4], "drop": 0.0,
         "drop_in": 0.0, "drop_out": 0.0, "weight_drop": 0.0},
        [[2, 2, 12], [2, 10, 1], [2, 10, 1]],
    ),
    "trellisnet_words": Recipe(
        "github locuslab/trellisnet, model.py",
        lambda: _Trellis("", ntoken=11, ninp=4, nhid=6, nout=4, nlevels=5, aux_frequency=2),
        "trellisnet.arch", "words",
        {"words": 11, "width": 4, "hidden": 6, "levels": 5, "aux": 2, "drop": 0.0, "drop_words": 0.0,
         "drop_in": 0.0, "drop_out": 0.0, "weight_drop": 0.0},
        [{"below": 10, "shape": [2, 7]}, [2, 10, 1], [2, 10, 1]],  # the last word counts as padding there
    ),
    "hypernetworks": Recipe(
        "github g1910/HyperNetworks, primary_net.py", hypernetworks, "hypernetworks.arch", "hyper_resnet",
        {"width": 4}, [[2, 3, 32, 32]],
    ),
    "nbeats_generic": Recipe(
        "github ServiceNow/N-BEATS, experiments/model.py",
        lambda: nbeats("generic", input_size=12, output_size=6, stacks=3, layers=2, layer_size=16),
        "nbeats.arch", "generic", {"blocks": 3, "layers": 2, "width": 16}, [[2, 12], [2, 12]],
    ),
    "nbeats_interpretable": Recipe(
        "github ServiceNow/N-BEATS, experiments/model.py",
        lambda: nbeats(
            "interpretable", input_size=12, output_size=6, trend_blocks=2, trend_layers=2, trend_layer_size=16,
            degree_of_polynomial=3, seasonality_blocks=2, seasonality_layers=2, seasonality_layer_size=24,
            num_of_harmonics=2,
        ),
        "nbeats.arch", "interpretable",
        {"blocks": 2, "layers": 2, "widths": [16, 24], "degree": 3, "harmonics": 2}, [[2, 12], [2, 12]],
    ),
}  # fmt: skip


if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
