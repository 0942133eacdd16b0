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
from unittest import mock

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
    code = _module("models.arch.RDnet_", "models")
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


def u2netp() -> nn.Module:
    model: nn.Module = importlib.import_module("model.u2net").U2NETP(3, 1)
    return model


def carn(module: str, groups: int) -> nn.Module:
    """Gives an image of each scale."""
    model: Any = importlib.import_module(f"model.{module}").Net(multi_scale=True, group=groups)
    one = model.forward
    model.forward = lambda x: [one(x, scale) for scale in (2, 3, 4)]
    result: nn.Module = model
    return result


def rcan() -> nn.Module:
    arguments = {"n_resgroups": 2, "n_resblocks": 3, "n_feats": 16, "reduction": 4, "scale": [4]}
    fixed = {"rgb_range": 255, "n_colors": 3, "res_scale": 1}
    model: nn.Module = _module("model.rcan").RCAN(types.SimpleNamespace(**arguments, **fixed))
    return model


def drln() -> nn.Module:
    """A quarter as wide: the width is written into the code."""
    code, wide = _module("model.drln"), nn.Conv2d

    def conv(inputs: int, outputs: int, *rest: Any, **named: Any) -> nn.Module:
        inputs, outputs = (n if n == 3 else n // 4 for n in (inputs, outputs))
        return wide(inputs, outputs, *rest, **named)

    with mock.patch.object(nn, "Conv2d", conv):
        model: nn.Module = code.DRLN(types.SimpleNamespace(scale=[2]))
    return model


def replknet() -> nn.Module:
    net = importlib.import_module("replknet").RepLKNet
    model: nn.Module = net([9, 7, 7, 5], [1, 2, 1, 1], [8, 12, 16, 20], 0.0, 5, num_classes=10, use_sync_bn=False)
    return model


def unireplknet() -> nn.Module:
    net = importlib.import_module("unireplknet").UniRepLKNet
    kernels = ((3,), (13,), (13, 3, 13), (13,))
    model: nn.Module = net(num_classes=10, depths=(1, 1, 3, 1), dims=(8, 12, 16, 20), kernel_sizes=kernels)
    return model


_RELU = types.MappingProxyType({"type": "ReLU"})


class _ConvModule(nn.Sequential):
    """Stands for mmcv's."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
        groups: int = 1, conv_cfg: Any = None, norm_cfg: Any = None, act_cfg: Any = _RELU,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=norm_cfg is None
        )
        if norm_cfg is not None:
            self.bn = nn.BatchNorm2d(out_channels)
        if act_cfg is not None:
            self.activate = getattr(nn, act_cfg["type"])()


class _SeparableModule(nn.Sequential):
    """Stands for mmcv's DepthwiseSeparableConvModule."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int, **rest: Any) -> None:
        super().__init__()
        norm = rest["norm_cfg"]
        self.depthwise_conv = _ConvModule(
            in_channels, in_channels, kernel_size, 1, padding, in_channels, None, norm, None
        )
        self.pointwise_conv = _ConvModule(in_channels, out_channels, 1, norm_cfg=norm)


def lite_hrnet(naive: bool) -> nn.Module:
    """The body, without mmcv and mmpose."""
    stands: dict[str, Any] = {name: mock.MagicMock() for name in (
        "mmcv", "mmcv.cnn", "mmpose", "mmpose.utils", "mmpose.models", "mmpose.models.registry",
        "mmpose.models.backbones", "mmpose.models.backbones.resnet", "mmpose.models.backbones.utils",
    )}  # fmt: skip
    layers = stands["mmcv.cnn"]
    layers.ConvModule, layers.DepthwiseSeparableConvModule = _ConvModule, _SeparableModule
    layers.build_conv_layer = lambda cfg, *arguments, **named: nn.Conv2d(*arguments, **named)
    layers.build_norm_layer = lambda cfg, width: ("bn", nn.BatchNorm2d(width))
    stands["mmpose.models.backbones.utils"].channel_shuffle = nn.functional.channel_shuffle
    stands["mmpose.models.registry"].BACKBONES.register_module = lambda: lambda cls: cls
    widths = [[8, 16], [8, 16, 32], [8, 16, 32, 64]]
    stages = {
        "num_modules": [1, 2, 1], "num_branches": [2, 3, 4], "num_blocks": [2] * 3, "with_fuse": [True] * 3,
        "module_type": ["NAIVE" if naive else "LITE"] * 3, "reduce_ratios": [4] * 3, "num_channels": widths,
    }  # fmt: skip
    stem = {"stem_channels": 8, "out_channels": 8, "expand_ratio": 1}
    with mock.patch.dict(sys.modules, stands):
        net = _module("models.backbones.litehrnet", "models.backbones").LiteHRNet
        model: Any = net({"stem": stem, "num_stages": 3, "stages_spec": stages, "with_head": True})
    model.train = types.MethodType(nn.Module.train, model)  # its own returns nothing
    result: nn.Module = model
    return result


def deeplabv3_plus() -> nn.Module:
    """With one unit in each stage of the body."""
    smp: Any = importlib.import_module("segmentation_models_pytorch")
    table = smp.encoders.encoders["resnet50"]["params"]
    with mock.patch.dict(table, layers=[1, 1, 1, 1]):
        model: nn.Module = smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=5, decoder_aspp_dropout=0.0)
    return model


def gridformer() -> nn.Module:
    registry = mock.MagicMock()
    registry.ARCH_REGISTRY.register = lambda: lambda cls: cls
    with mock.patch.dict(sys.modules, {"basicsr": mock.MagicMock(), "basicsr.utils.registry": registry}):
        net = _module("basicsr.archs.GridFormer_arch", "basicsr.archs").GridFormer
    model: nn.Module = net(dim=8, num_blocks=[1, 1, 2], growthRate=4, nDenselayer=2, heads=[1, 2, 2])
    return model


def sinenet(mode: str, disentangled: bool) -> nn.Module:
    net = _module("pdearena.modules.sinenet_dual", "pdearena.modules").sinenet
    model: nn.Module = net(1, 1, 1, 1, 4, 1, 8, mode, mult=1.5, num_waves=2, disentangle=disentangled)
    return model


def tunet() -> nn.Module:
    """Without spaces in its names."""
    net = _dlsia("tunet").TUNet
    model: Any = net((24, 32), 3, 2, 4, 6, growth_rate=1.5, hidden_rate=1.3)
    for names in (model.step_up, model.step_down):
        for i, old in names.items():
            names[i] = old.lower().replace(" ", "_")
            model._modules[names[i]] = model._modules.pop(old)
    result: nn.Module = model
    return result


def _dlsia(name: str) -> Any:
    stands = {
        "dlsia": mock.MagicMock(),
        "dlsia.core": mock.MagicMock(),
        "dlsia.core.helpers": mock.MagicMock(),
    }  # it plots
    with mock.patch.dict(sys.modules, stands):
        return _module(f"dlsia.core.networks.{name}", "dlsia.core.networks")


def msdnet() -> nn.Module:
    net = _dlsia("msdnet").MixedScaleDenseNetwork
    model: nn.Module = net(3, 2, num_layers=7, layer_width=2, max_dilation=5)
    return model


class _Detection(nn.Module):
    """Neck and heads."""

    def __init__(self) -> None:
        super().__init__()
        code = _module("effdet.efficientdet", "effdet")
        config = importlib.import_module("effdet.config").get_efficientdet_config("efficientdet_d0")
        config.image_size = (128, 256)
        config.fpn_channels, config.fpn_cell_repeats, config.box_class_repeats, config.num_classes = 8, 2, 2, 3
        maps = [{"num_chs": width, "reduction": 8 * 2**i} for i, width in enumerate((6, 10, 12))]
        self.fpn = code.BiFpn(config, maps)
        self.class_net, self.box_net = code.HeadNet(config, 3), code.HeadNet(config, 4)

    def forward(self, *maps: Any) -> Any:
        levels = self.fpn([*maps])
        return self.class_net(levels), self.box_net(levels)


def _module(name: str, package: str = "model") -> Any:
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
    "rev_vit": Recipe(
        "github karttikeya/minREV, rev.py", rev_vit, "rev_vit.arch", "rev_vit",
        {"width": 16, "heads": 2, "depth": 3, "patch": 4, "size": 32, "classes": 10}, [[2, 3, 32, 32]],
    ),
    "u2netp": Recipe(
        "github xuebinqin/U-2-Net, model/u2net.py", u2netp, "u2net.arch", "u2netp", {}, [[2, 3, 66, 50]],
    ),
    "carn": Recipe(
        "github nmhkahn/CARN-pytorch, carn/model/carn.py", lambda: carn("carn", 1), "carn.arch", "carn", {},
        [[2, 3, 6, 5]],
    ),
    "carn_m": Recipe(
        "github nmhkahn/CARN-pytorch, carn/model/carn_m.py", lambda: carn("carn_m", 4), "carn.arch", "carn_m", {},
        [[2, 3, 6, 5]],
    ),
    "rcan": Recipe(
        "github yulunzhang/RCAN, RCAN_TrainCode/code/model/rcan.py", rcan, "rcan.arch", "rcan",
        {"groups": 2, "units": 3, "width": 16, "reduction": 4}, [[2, 3, 6, 5]],
    ),
    "drln": Recipe(
        "github saeed-anwar/DRLN, TestCode/code/model/drln.py", drln, "drln.arch", "drln",
        {"scale": 2, "width": 16}, [[1, 3, 5, 4]],
    ),
    "replknet": Recipe(
        "github DingXiaoH/RepLKNet-pytorch, replknet.py", replknet, "replknet.arch", "replknet",
        {"kernels": [9, 7, 7, 5], "widths": [8, 12, 16, 20], "depths": [1, 2, 1, 1], "classes": 10}, [[2, 3, 64, 96]],
    ),
    "unireplknet": Recipe(
        "github AILab-CVC/UniRepLKNet, unireplknet.py", unireplknet, "unireplknet.arch", "unireplknet",
        {"widths": [8, 12, 16, 20], "depths": [1, 1, 3, 1], "sparse": 2, "classes": 10}, [[2, 3, 64, 96]],
    ),
    "lite_hrnet": Recipe(
        "github HRNet/Lite-HRNet, models/backbones/litehrnet.py", lambda: lite_hrnet(False), "lite_hrnet.arch",
        "lite_hrnet", {"width": 8, "modules": [1, 2, 1], "ratio": 4, "first": 8}, [[2, 3, 64, 96]],
    ),
    "naive_lite_hrnet": Recipe(
        "github HRNet/Lite-HRNet, models/backbones/litehrnet.py", lambda: lite_hrnet(True), "lite_hrnet.arch",
        "lite_hrnet", {"width": 8, "modules": [1, 2, 1], "naive": True, "first": 8}, [[2, 3, 64, 96]],
    ),
    "deeplabv3_plus": Recipe(
        "segmentation-models-pytorch, DeepLabV3Plus", deeplabv3_plus, "deeplabv3_plus.arch", "deeplabv3_plus",
        {"depths": [1, 1, 1, 1], "classes": 5, "drop": 0.0}, [[2, 3, 48, 64]],
    ),
    "gridformer": Recipe(
        "github TaoWangzj/GridFormer, basicsr/archs/GridFormer_arch.py", gridformer, "gridformer.arch", "gridformer",
        {"width": 8, "blocks": [1, 1, 2], "heads": [1, 2, 2], "layers": 2, "growth": 4}, [[1, 3, 24, 16]],
    ),
    "sinenet": Recipe(
        "github divelab/AIRS, OpenPDE/SineNet", lambda: sinenet("circular", True), "sinenet.arch", "sinenet",
        {"waves": 2, "growth": 1.5, "width": 8, "mode": "circular"}, [[1, 4, 3, 32, 48]],
    ),
    "sinenet_tangled": Recipe(
        "github divelab/AIRS, OpenPDE/SineNet", lambda: sinenet("zeros", False), "sinenet.arch", "sinenet",
        {"waves": 2, "growth": 1.5, "width": 8, "disentangled": False}, [[1, 4, 3, 32, 48]],
    ),
    "tunet": Recipe(
        "github phzwart/dlsia, dlsia/core/networks/tunet.py", tunet, "dlsia.arch", "tunet",
        {"depth": 4, "width": 6, "growth": 1.5, "hidden": 1.3, "channels": 3, "classes": 2}, [[2, 3, 24, 32]],
    ),
    "msdnet": Recipe(
        "github phzwart/dlsia, dlsia/core/networks/msdnet.py", msdnet, "dlsia.arch", "msdnet",
        {"layers": 7, "width": 2, "cycle": 5, "channels": 3, "classes": 2}, [[2, 3, 24, 32]],
    ),
    "efficientdet": Recipe(
        "github rwightman/efficientdet-pytorch, effdet/efficientdet.py", _Detection, "efficientdet.arch", "detection",
        {"width": 8, "cells": 2, "layers": 2, "classes": 3, "widths": [6, 10, 12]},
        [[2, 6, 16, 32], [2, 10, 8, 16], [2, 12, 4, 8]],
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
