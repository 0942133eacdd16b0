"""Merging after training: the network with large kernels alone equals the trained one in evaluation.

A sum of normalised convolutions is one convolution: a small kernel is a large one with zeros around it, a dilated one a
large one with zeros between (Ding et al., 2022; Zhang et al., 2024). The weights are merged here, by hand.
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


def compare(spec: str, params: dict[str, object], fold: Callable[[State], State]) -> None:
    torch.manual_seed(0)
    trained = archlang.build(SPECS / spec, spec.removesuffix(".arch"), **params)
    randomise(trained, (2, 3, 64, 64))
    trained = trained.double().eval()
    whole: nn.Module = archlang.build(SPECS / spec, spec.removesuffix(".arch"), merged=True, **params).double().eval()
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
