"""Merging after training: the network with one large kernel for each sum equals the trained one in evaluation.

A sum of normalised convolutions is one convolution: a small kernel is a large one with zeros around it, a dilated one a
large one with zeros between, a column after a row one of rank one (Ding et al., 2022; Zhang et al., 2024; Zhao et al.,
2024); and on a map of fixed size it is a matrix (Ding et al., 2021). The weights are merged here, by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

import archlang
from tests.parity.oracles import SPECS, randomise

State = dict[str, Tensor]


def scale_and_shift(state: State, norm: str) -> tuple[Tensor, Tensor]:
    """What a batch normalisation does in evaluation, for each channel."""
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
    return scale, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def spread(kernel: Tensor, rate: int, size: int) -> Tensor:
    """A dilated kernel as one of `size` without dilation."""
    wide = torch.zeros(*kernel.shape[:2], size, size, dtype=kernel.dtype)
    first = (size - rate * (kernel.shape[-1] - 1) - 1) // 2
    places = torch.arange(kernel.shape[-1]) * rate + first
    wide[:, :, places[:, None], places[None, :]] = kernel
    return wide


def merged(state: State, parts: list[tuple[str, str, int]]) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a sum of (convolution, normalisation, rate); the first kernel is the largest."""
    size = state[f"{parts[0][0]}.weight"].shape[-1]
    kernel, bias = torch.zeros(()), torch.zeros(())
    for conv, norm, rate in parts:
        scale, shift = scale_and_shift(state, norm)
        kernel = kernel + spread(state[f"{conv}.weight"], rate, size) * scale[:, None, None, None]
        bias = bias + shift
    return kernel, bias


def compare(spec: str, params: dict[str, object], fold: Callable[[State], State], entry: str | None = None) -> None:
    torch.manual_seed(0)
    entry = entry or spec.removesuffix(".arch")
    trained = archlang.build(SPECS / spec, entry, **params)
    randomise(trained, (2, 3, 64, 64))
    trained = trained.double().eval()
    whole: nn.Module = archlang.build(SPECS / spec, entry, merged=True, **params).double().eval()
    whole.load_state_dict(fold(trained.state_dict()), strict=True)
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(whole(image), trained(image), rtol=0, atol=1e-12)


def test_replknet() -> None:
    def fold(state: State) -> State:
        result = {key: value for key, value in state.items() if ".large_kernel." not in key}
        for key in state:
            if found := re.fullmatch(r"(.*\.large_kernel)\.lkb_origin\.conv\.weight", key):
                at = found[1]
                parts = [(f"{at}.{name}.conv", f"{at}.{name}.bn", 1) for name in ("lkb_origin", "small_conv")]
                result[f"{at}.lkb_reparam.weight"], result[f"{at}.lkb_reparam.bias"] = merged(state, parts)
        return result

    compare("replknet.arch", {"kernels": [13, 9, 7, 5], "widths": [4, 8, 8, 12], "depths": [1, 2, 1, 1]}, fold)


def test_unireplknet() -> None:
    def unit(state: State, at: str) -> State:
        """The weights of a unit that change."""
        scale, shift = scale_and_shift(state, f"{at}.norm")
        if f"{at}.dwconv.lk_origin.weight" in state:
            parts = [(f"{at}.dwconv.lk_origin", f"{at}.dwconv.origin_bn", 1)]
            for key in state:
                if found := re.fullmatch(rf"{re.escape(at)}\.dwconv\.dil_conv_(k\d_(\d))\.weight", key):
                    parts.append((f"{at}.dwconv.dil_conv_{found[1]}", f"{at}.dwconv.dil_bn_{found[1]}", int(found[2])))
            assert len(parts) == 6
            place, (kernel, bias) = f"{at}.dwconv.lk_origin", merged(state, parts)
        else:
            place, kernel, bias = f"{at}.dwconv", state[f"{at}.dwconv.weight"], torch.zeros(())
        out, by = scale_and_shift(state, f"{at}.pwconv2.2")
        gamma, linear = state[f"{at}.gamma"], state[f"{at}.pwconv2.0.weight"]
        return {
            f"{place}.weight": kernel * scale[:, None, None, None],
            f"{place}.bias": bias * scale + shift,
            f"{at}.pwconv2.0.weight": linear * (out * gamma)[:, None],
            f"{at}.pwconv2.0.bias": ((linear @ state[f"{at}.act.1.beta"].flatten()) * out + by) * gamma,
        }

    def fold(state: State) -> State:
        gone = r".*\.(dwconv\..*|norm\.\w+|act\.1\.beta|pwconv2\.\d\.\w+|gamma)"
        result = {key: value for key, value in state.items() if not re.fullmatch(rf"stages\.{gone}", key)}
        for key in state:
            if key.endswith(".gamma") and not key.endswith("act.1.gamma"):
                result |= unit(state, key.removesuffix(".gamma"))
        return result | {key: value for key, value in state.items() if key.endswith("act.1.gamma")}

    compare("unireplknet.arch", {"widths": [4, 8, 8, 12], "depths": [1, 1, 3, 1], "sparse": 2}, fold)


def test_repnext() -> None:
    def mixed(state: State, at: str) -> State:
        """Kernel and bias of all that stands under a path."""
        parts = {key.removeprefix(f"{at}."): value for key, value in state.items() if key.startswith(f"{at}.")}
        size = max(value.shape[-1] for name, value in parts.items() if name.endswith("weight"))
        kernel, bias = torch.zeros(()), torch.zeros(())
        for name, value in parts.items():
            if name.endswith("bias"):
                bias = bias + value
            elif name == "conv_2_2.weight":
                kernel = kernel + spread(value, 2, size)
            elif name.replace("weight", "bias") in parts:
                kernel = kernel + centred(value, size)
            elif "_h." in name:
                kernel = kernel + centred(value * parts[name.replace("_h.", "_w.")], size)
        return {f"{at}.weight": kernel, f"{at}.bias": bias}

    def centred(kernel: Tensor, size: int) -> Tensor:
        rows, columns = ((size - n) // 2 for n in kernel.shape[-2:])
        return nn.functional.pad(kernel, [columns, columns, rows, rows])

    def fold(state: State) -> State:
        result = {key: value for key, value in state.items() if ".conv_l." in key}
        heads = []
        for key, value in state.items():
            if found := re.fullmatch(r"(.*\.conv_[sm])\.conv_(3_3|7_7)\.weight", key):
                result |= mixed(state, found[1])
            elif found := re.fullmatch(r"(.*\.\d)\.conv\.weight", key):
                scale, shift = scale_and_shift(state, f"{found[1]}.norm")
                result |= {f"{found[1]}.weight": value * scale[:, None, None, None], f"{found[1]}.bias": shift}
            elif re.fullmatch(r"stages\.\d\.(downsample|blocks\.\d)\.norm\.\w+", key):
                result[key] = value
            elif found := re.fullmatch(r"(head\.\w+)\.linear\.weight", key):
                scale, shift = scale_and_shift(state, f"{found[1]}.norm")
                heads.append((value * scale, value @ shift + state[f"{found[1]}.linear.bias"]))
        weight, bias = (sum(both) / 2 for both in zip(*heads, strict=True))
        return result | {"head.weight": weight, "head.bias": bias}

    compare("repnext.arch", {"widths": [8, 16, 32], "depths": [1, 2, 1], "classes": 10}, fold)


def test_repmlp() -> None:
    def fold(state: State) -> State:
        result = {key: value for key, value in state.items() if not re.search(r"\.(fc3|fc3_bn|repconv\d)\.", key)}
        for key, weight in state.items():
            if found := re.fullmatch(r"(.*)\.fc3\.weight", key):
                at, places = found[1], weight.shape[1]
                scale, bias = scale_and_shift(state, f"{at}.fc3_bn")
                matrix = weight * scale.repeat_interleave(places)[:, None, None, None]
                side, sets = int(places**0.5), len(scale)
                dots = torch.eye(places, dtype=weight.dtype).reshape(places, 1, side, side).expand(-1, sets, -1, -1)
                for k in (1, 3):
                    scale, shift = scale_and_shift(state, f"{at}.repconv{k}.bn")
                    kernel = state[f"{at}.repconv{k}.conv.weight"] * scale[:, None, None, None]
                    seen = nn.functional.conv2d(dots, kernel, padding=k // 2, groups=sets)
                    matrix = matrix + seen.permute(1, 2, 3, 0).reshape(matrix.shape)
                    bias = bias + shift
                result |= {f"{at}.fc3.weight": matrix, f"{at}.fc3.bias": bias.repeat_interleave(places)}
        return result

    compare("repmlp.arch", {"size": 64, "widths": [8, 16], "depths": [1, 2], "sets": [1, 4]}, fold, "repmlpnet")
