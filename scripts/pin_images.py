"""The reference networks over images of several resolutions: recipes for scripts/pin_reference.py.

    python scripts/pin_images.py NAME CHECKOUT

CHECKOUT is a working copy of the repository that RECIPES names; its own requirements must be installed (timm; einops
for `gridformer` and `maxim`, omegaconf for `efficientdet`).
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any
from unittest import mock

import torch
from pin_reference import Recipe, bare_module, main
from torch import nn


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
    model: nn.Module = bare_module("model.rcan").RCAN(types.SimpleNamespace(**arguments, **fixed))
    return model


def drln() -> nn.Module:
    """A quarter as wide: the width is written into the code."""
    code, wide = bare_module("model.drln"), nn.Conv2d

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
        net = bare_module("models.backbones.litehrnet", "models.backbones").LiteHRNet
        model: Any = net({"stem": stem, "num_stages": 3, "stages_spec": stages, "with_head": True})
    model.train = types.MethodType(nn.Module.train, model)  # its own returns nothing
    result: nn.Module = model
    return result


def segmenter(name: str, body: str, **arguments: Any) -> nn.Module:
    """With one unit in each stage of the body."""
    smp: Any = importlib.import_module("segmentation_models_pytorch")
    with mock.patch.dict(smp.encoders.encoders[body]["params"], layers=[1, 1, 1, 1]):
        model: nn.Module = getattr(smp, name)(body, encoder_weights=None, classes=5, **arguments)
    return model


def gridformer() -> nn.Module:
    registry = mock.MagicMock()
    registry.ARCH_REGISTRY.register = lambda: lambda cls: cls
    with mock.patch.dict(sys.modules, {"basicsr": mock.MagicMock(), "basicsr.utils.registry": registry}):
        net = bare_module("basicsr.archs.GridFormer_arch", "basicsr.archs").GridFormer
    model: nn.Module = net(dim=8, num_blocks=[1, 1, 2], growthRate=4, nDenselayer=2, heads=[1, 2, 2])
    return model


def sinenet(mode: str, disentangled: bool) -> nn.Module:
    net = bare_module("pdearena.modules.sinenet_dual", "pdearena.modules").sinenet
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
        return bare_module(f"dlsia.core.networks.{name}", "dlsia.core.networks")


def msdnet() -> nn.Module:
    net = _dlsia("msdnet").MixedScaleDenseNetwork
    model: nn.Module = net(3, 2, num_layers=7, layer_width=2, max_dilation=5)
    return model


class _Detection(nn.Module):
    """Neck and heads."""

    def __init__(self) -> None:
        super().__init__()
        code = bare_module("effdet.efficientdet", "effdet")
        config = importlib.import_module("effdet.config").get_efficientdet_config("efficientdet_d0")
        config.image_size = (128, 256)
        config.fpn_channels, config.fpn_cell_repeats, config.box_class_repeats, config.num_classes = 8, 2, 2, 3
        maps = [{"num_chs": width, "reduction": 8 * 2**i} for i, width in enumerate((6, 10, 12))]
        self.fpn = code.BiFpn(config, maps)
        self.class_net, self.box_net = code.HeadNet(config, 3), code.HeadNet(config, 4)

    def forward(self, *maps: Any) -> Any:
        levels = self.fpn([*maps])
        return self.class_net(levels), self.box_net(levels)


class _Lent(nn.Module):
    """Applies a module without owning it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = (module,)

    def forward(self, x: Any) -> Any:
        return self.module[0](x)


def mirnet() -> nn.Module:
    """With the slope of all units, which is one, under one key."""
    bare_module("utils.antialias", "utils")
    code = bare_module("networks.MIRNet_model", "networks")
    model: Any = code.MIRNet(n_feat=16, n_RRG=1, n_MSRB=2)
    units = [module for module in model.modules() if isinstance(module, code.DAU)]
    model.slope = units[0].body[1]
    for unit in units:
        assert unit.body[1] is model.slope
    for unit in units:
        unit.body[1] = _Lent(model.slope)
    result: nn.Module = model
    return result


def dimr() -> nn.Module:
    """In full precision, to which its attention does not keep, and without checkpoints."""

    net = bare_module("libs.core.blocks", "libs").MRModel
    shared = {"image_input_ratio": 1, "final_kernel_size": 3, "dropout_prob": 0}
    stages = [
        types.SimpleNamespace(
            block_type=kind, dim=dim, hidden_dim=2 * dim, num_attention_heads=2, kernel_size=7, num_blocks=depth,
            max_height=side, max_width=side, input_feature_ratio=8 // side, **shared,
        )
        for kind, dim, depth, side in (("TransformerBlock", 16, 3, 4), ("ConvNeXtBlock", 8, 4, 8))
    ]  # fmt: skip
    config = types.SimpleNamespace(
        channels=4, num_classes=7, block_grad_to_lowres=False, norm_type="TDRMSN", stage_configs=stages
    )
    model: nn.Module = net(config)
    run = model.forward

    def forward(image: Any, log_snr: Any, label: Any) -> Any:
        kept = mock.patch("torch.utils.checkpoint.checkpoint", lambda f, *arguments: f(*arguments))
        with kept, mock.patch.object(torch.Tensor, "float", lambda tensor: tensor):
            return run(image, log_snr=log_snr, y=label)

    model.forward = forward
    return model


def maxim() -> nn.Module:
    """With torch's norms, and without the modules that its forward never uses."""
    code: Any = importlib.import_module("maxim_pytorch.maxim_torch")
    code.Layer_norm_process = lambda width: nn.LayerNorm(width, eps=1e-6)
    code.nearest_downsample = lambda x, ratio: nn.functional.interpolate(x, scale_factor=ratio, mode="nearest-exact")
    model: nn.Module = code.MAXIM_dns_3s(
        4, block_size_hr=(4, 4), block_size_lr=(2, 2), grid_size_hr=(4, 4), grid_size_lr=(2, 2)
    )
    called: set[nn.Module] = set()
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: called.add(module))
    model(torch.zeros(1, 3, 16, 16))
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if child not in called:
                delattr(parent, name)
    return model


class _Ordered(nn.Module):
    """Stands for mmcv's ConvModule with a norm, in any order."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0, conv_cfg: Any = None,
        norm_cfg: Any = None, act_cfg: Any = _RELU, order: tuple[str, ...] = ("conv", "norm", "act"),
    ) -> None:  # fmt: skip
        super().__init__()
        assert conv_cfg is None and norm_cfg is not None
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        steps = {"conv": self.conv, "norm": self.bn, "act": nn.ReLU() if act_cfg else nn.Identity()}
        self.steps = [lambda x, step=step: steps[step](x) for step in order]

    def forward(self, x: Any) -> Any:
        for step in self.steps:
            x = step(x)
        return x


def rcfpn() -> nn.Module:
    """With plain convolutions, and without mmcv and mmdet."""
    stands: dict[str, Any] = {
        name: mock.MagicMock() for name in ("mmcv", "mmcv.cnn", "mmdet", "mmdet.models", "mmdet.models.builder")
    }
    stands["mmcv.cnn"].ConvModule = _Ordered
    stands["mmdet.models.builder"].NECKS.register_module = lambda: lambda cls: cls
    with mock.patch.dict(sys.modules, stands):
        net = bare_module("mmdet.models.necks.rcfpn", "mmdet.models.necks").RCFPN
        model: nn.Module = net([6, 8, 10], 32, 5, norm_cfg={"type": "BN"}, out_conv_cfg=None)
    run = model.forward
    model.forward = lambda *maps: run(maps)
    return model


RECIPES = {
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
        "segmentation-models-pytorch, DeepLabV3Plus",
        lambda: segmenter("DeepLabV3Plus", "resnet50", decoder_aspp_dropout=0.0), "deeplabv3_plus.arch",
        "deeplabv3_plus", {"depths": [1, 1, 1, 1], "classes": 5, "drop": 0.0}, [[2, 3, 48, 64]],
    ),
    "unetpp": Recipe(
        "segmentation-models-pytorch, UnetPlusPlus",
        lambda: segmenter("UnetPlusPlus", "resnet34", decoder_channels=(16, 12, 10, 8, 6)), "unetpp.arch",
        "unetpp_resnet", {"depths": [1, 1, 1, 1], "classes": 5, "widths": [16, 12, 10, 8, 6]}, [[2, 3, 32, 64]],
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
    "dimr": Recipe(
        "github qihao067/DiMR, libs/core/blocks.py", dimr, "dimr.arch", "dimr",
        {"widths": [16, 8], "depths": [3, 4], "heads": 2, "size": 8, "classes": 7},
        [[2, 4, 8, 8], [2], {"below": 7, "shape": [2]}],
    ),
    "mirnet": Recipe(
        "github swz30/MIRNet, networks/MIRNet_model.py", mirnet, "mirnet.arch", "mirnet",
        {"width": 16, "groups": 1, "blocks": 2}, [[1, 3, 16, 24]],
    ),
    "maxim": Recipe(
        "github vztu/maxim-pytorch, maxim_pytorch/maxim_torch.py", maxim, "maxim.arch", "maxim",
        {"stages": 3, "width": 4, "sides": [4, 4, 2, 2]}, [[1, 3, 32, 16]],
    ),
    "rcfpn": Recipe(
        "github TempleX98/RCNet, mmdet/models/necks/rcfpn.py", rcfpn, "rcnet.arch", "rcfpn",
        {"width": 32, "widths": [6, 8, 10]}, [[2, 6, 32, 48], [2, 8, 16, 24], [2, 10, 8, 12]],
    ),
}  # fmt: skip


if __name__ == "__main__":
    main(RECIPES, *sys.argv[1:])
