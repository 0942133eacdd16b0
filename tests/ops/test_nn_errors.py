"""What layer entries refuse: code, the argument or wires at fault, and words that say it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nn_cases import IMAGE, LINE, Case, bools, case, ints
from render import apply, call

import archlang.ops  # noqa: F401
from archlang.ir.graph import Init, TensorType
from archlang.ops.base import OpError, registry
from archlang.report.codes import CODES
from archlang.shapes.dim import symbol

C = symbol("C")
X = (2, 5, 8)
TOKENS = TensorType((2, 5, C))

REFUSED: list[tuple[Case, str, str | None, tuple[int, ...], str]] = [
    (case("conv", (2, 4), out_channels=3, kernel_size=3), "ARC0310", None, (0,), "1, 2 or 3 spatial dimensions"),
    (case("conv", ints(2, 4, 8), out_channels=3, kernel_size=3), "ARC0241", None, (0,), "floating-point"),
    (case("conv", IMAGE, out_channels=3, kernel_size=(3, 3, 3)), "ARC0311", "kernel_size", (), "3 entries for 2"),
    (case("conv", IMAGE, out_channels=0, kernel_size=3), "ARC0220", "out_channels", (), "at least 1"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, stride=0), "ARC0220", "stride", (), "at least 1"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding=-1), "ARC0220", "padding", (), "at least 0"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding="SAME"), "ARC0221", "padding", (), "SAME"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding=0.5), "ARC0221", "padding", (), "whole numbers"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding=True), "ARC0221", "padding", (), "whole numbers"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding=((1, 2, 3), 1)), "ARC0221", "padding", (), "whole"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, padding="same", stride=2), "ARC0222", "padding", (), "stride"),
    (case("conv", IMAGE, out_channels=4, kernel_size=3, groups=3), "ARC0304", "groups", (0,), "4 is not divisible"),
    (case("conv", IMAGE, out_channels=3, kernel_size=3, groups=2), "ARC0304", "groups", (), "`out_channels`"),
    (case("conv", IMAGE, out_channels=3, kernel_size=11), "ARC0302", None, (0,), "9 is less than 11"),
    (case("conv", TensorType((2, C, 8)), out_channels=3, kernel_size=3), "ARC0305", None, (0,), "C is symbolic"),
    (case("convolve", IMAGE, (6, 4, 3)), "ARC0310", None, (1,), "as many dimensions"),
    (case("convolve", IMAGE, (6, 4, 3, 3), (6, 1)), "ARC0310", None, (2,), "a bias is [channels]"),
    (case("convolve", IMAGE, (6, 4, 3, 3), (5,)), "ARC0301", None, (1, 2), "5 is not 6"),
    (case("convolve", IMAGE, (6, 3, 3, 3)), "ARC0301", None, (0, 1), "4 is not 3"),
    (case("convolve", IMAGE, (5, 2, 3, 3), groups=2), "ARC0304", "groups", (1,), "the kernel's outputs"),
    (case("convolve", IMAGE, (6, 4, 11, 3)), "ARC0302", None, (0,), "9 is less than 11"),
    (case("convolve", IMAGE, TensorType((6, 4, C, 3))), "ARC0305", None, (1,), "C is symbolic"),
    (case("conv_transpose", IMAGE, out_channels=3, kernel_size=3, stride=2, output_padding=2), "ARC0222",
     "output_padding", (), "less than the stride"),
    (case("linear", (), out_features=3), "ARC0310", None, (0,), "[..., features]"),
    (case("linear", TOKENS, out_features=3), "ARC0305", None, (0,), "C is symbolic"),
    (case("linear", ints(2, 3), out_features=3), "ARC0241", None, (0,), "floating-point"),
    (case("bilinear", (2, 3), (3, 3), out_features=3), "ARC0301", None, (0, 1), "2 is not 3"),
    (case("bilinear", (2, 3), (3,), out_features=3), "ARC0310", None, (0, 1), "same rank"),
    (case("embedding", (2, 3), num_embeddings=3, embedding_dim=2), "ARC0241", None, (0,), "int64"),
    (case("embedding", ints(2), num_embeddings=3, embedding_dim=2, padding_idx=3), "ARC0220", "padding_idx", (), "2"),
    (case("batchnorm", (3,)), "ARC0310", None, (0,), "[B, C, ...]"),
    (case("batchnorm", (2, 3, 4, 5, 6, 7)), "ARC0310", None, (0,), "at most 5"),
    (case("instancenorm", (2, 3)), "ARC0310", None, (0,), "[B, C, L]"),
    (case("groupnorm", IMAGE, num_groups=3), "ARC0304", "num_groups", (0,), "4 is not divisible by 3"),
    (case("layernorm", IMAGE, normalized_shape=(9, 9)), "ARC0301", None, (0,), "12 is not 9"),
    (case("layernorm", (4,), normalized_shape=(2, 4)), "ARC0310", "normalized_shape", (0,), "last 2 dimensions"),
    (case("layernorm2d", LINE), "ARC0310", None, (0,), "2 spatial dimensions"),
    (case("softmax", X, dim=3), "ARC0351", "dim", (0,), "out of range"),
    (case("glu", (2, 5)), "ARC0304", None, (0,), "5 is not divisible by 2"),
    (case("hardtanh", X, min_val=1.0, max_val=0.0), "ARC0222", "min_val", (), "less than"),
    (case("celu", X, alpha=0.0), "ARC0220", "alpha", (), "must not be 0"),
    (case("softshrink", X, lambd=-0.5), "ARC0220", "lambd", (), "at least 0"),
    (case("rrelu", X, lower=0.5, upper=0.1), "ARC0220", "lower", (), "at most 0.1"),
    (case("prelu", X, num_parameters=3), "ARC0301", None, (0,), "5 is not 3"),
    (case("relu", ints(3)), "ARC0241", None, (0,), "floating-point"),
    (case("actnorm", (5,)), "ARC0310", None, (0,), "[B, C, ...]"),
    (case("actnorm", TensorType((2, C))), "ARC0305", None, (0,), "C is symbolic"),
    (case("invertible_conv", (2, 3)), "ARC0310", None, (0,), "a spatial dimension"),
    (case("invertible_linear", ints(2, 3)), "ARC0241", None, (0,), "floating-point"),
    (case("channel_permutation", X, order=(0, 1, 1, 2, 3)), "ARC0222", "order", (0,), "no permutation of 0..5"),
    (case("triangular_conv", LINE), "ARC0310", None, (0,), "2 spatial dimensions"),
    (case("triangular_conv", IMAGE, kernel_size=(3, 3, 3)), "ARC0311", "kernel_size", (), "3 entries for 2"),
    (case("gdn", LINE), "ARC0310", None, (0,), "2 spatial dimensions"),
    (case("gdn", IMAGE, beta_min=-1.0), "ARC0220", "beta_min", (), "at least 0"),
    (case("maxpool", IMAGE, kernel_size=3, padding=2), "ARC0222", "padding", (), "half"),
    (case("avgpool", LINE, kernel_size=2, divisor_override=3), "ARC0222", "divisor_override", (), "one dimension"),
    (case("maxpool", (1, 1, 2), kernel_size=3), "ARC0302", None, (0,), "2 is less than 3"),
    (case("lppool", IMAGE, norm_type=0.0, kernel_size=2), "ARC0220", "norm_type", (), "must not be 0"),
    (case("adaptive_avgpool", IMAGE, output_size="7"), "ARC0221", "output_size", (), "'7'"),
    (case("adaptive_avgpool", IMAGE, output_size=0), "ARC0220", "output_size", (), "at least 1"),
    (case("interpolate", IMAGE), "ARC0222", None, (), "has none"),
    (case("interpolate", IMAGE, size=3, scale_factor=2.0), "ARC0222", "size", (), "`size` and `scale_factor`"),
    (case("interpolate", IMAGE, IMAGE, size=3), "ARC0222", "size", (), "`size` and `like`"),
    (case("interpolate", IMAGE, LINE), "ARC0310", None, (0, 1), "rank"),
    (case("interpolate", IMAGE, size=3, mode="linear"), "ARC0222", "mode", (0,), "2 spatial dimensions"),
    (case("interpolate", IMAGE, size=3, align_corners=True), "ARC0222", "align_corners", (), "nearest"),
    (case("interpolate", IMAGE, size=3, mode="area", antialias=True), "ARC0222", "antialias", (), "bicubic"),
    (case("interpolate", IMAGE, scale_factor=-1.0), "ARC0220", "scale_factor", (), "greater than 0"),
    (case("interpolate", IMAGE, scale_factor=0.1), "ARC0302", None, (0,), "0 is less than 1"),
    (case("interpolate", IMAGE, size=3, recompute_scale_factor=True), "ARC0222", "recompute_scale_factor", (), "needs"),
    (case("pixel_shuffle", (1, 6, 2, 2), upscale_factor=2), "ARC0304", None, (0,), "6 is not divisible by 4"),
    (case("pixel_unshuffle", (1, 6, 3, 2), downscale_factor=2), "ARC0304", "downscale_factor", (0,), "height"),
    (case("channel_shuffle", (1, 6, 3, 2), groups=4), "ARC0304", None, (0,), "6 is not divisible by 4"),
    (case("fold", (2, 27, 19), output_size=(6, 7), kernel_size=3), "ARC0301", None, (0,), "19 is not 20"),
    (case("fold", (2, 26, 20), output_size=(6, 7), kernel_size=3), "ARC0304", None, (0,), "26 is not divisible by 9"),
    (case("dropout", X, p=1.5), "ARC0220", "p", (), "at most 1"),
    (case("dropout2d", X), "ARC0310", None, (0,), "[B, C, H, W]"),
    (case("drop_path", X, p=-0.1), "ARC0220", "p", (), "at least 0"),
    (case("sdpa", X, (2, 5, 7), X), "ARC0301", None, (0, 1), "8 is not 7"),
    (case("sdpa", X, X, (2, 4, 8)), "ARC0301", None, (1, 2), "5 is not 4"),
    (case("sdpa", X, X, X, bools(5, 5), is_causal=True), "ARC0222", "is_causal", (), "not both"),
    (case("sdpa", X, X, X, ints(5, 5)), "ARC0312", None, (3,), "bool or floating"),
    (case("sdpa", X, X, X, bools(5, 4)), "ARC0301", None, (3,), "4 is not 5"),
    (case("sdpa", (2, 4, 5, 8), (2, 3, 5, 8), (2, 3, 5, 8), enable_gqa=True), "ARC0304", None, (0, 1), "4 is not div"),
    (case("attention", X, num_heads=3), "ARC0304", "num_heads", (0,), "8 is not divisible by 3"),
    (case("attention", IMAGE), "ARC0310", None, (0,), "[B, T, D]"),
    (case("multihead_attention", X, X, num_heads=2), "ARC0313", None, (1,), "query, key and value"),
    (case("multihead_attention", X, X, X, (1, 5), num_heads=2), "ARC0301", None, (3,), "1 is not 5"),
    (case("multihead_attention", X, num_heads=0), "ARC0220", "num_heads", (), "at least 1"),
    (case("lstm", (5, 8), hidden_size=2), "ARC0310", None, (0,), "[B, T, D]"),
    (case("lstm", X, (1, 2, 2), hidden_size=2), "ARC0313", None, (1,), "together"),
    (case("lstm", X, hidden_size=2, proj_size=2), "ARC0220", "proj_size", (), "at most 1"),
    (case("gru", X, (1, 2, 3), hidden_size=2), "ARC0301", None, (1,), "3 is not 2"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "code", "param", "inputs", "words"), REFUSED, ids=[str(r[0]) for r in REFUSED])
def test_refused(one: Case, code: str, param: str | None, inputs: tuple[int, ...], words: str) -> None:
    with pytest.raises(OpError) as caught:
        apply(registry()[one.op], one.args, one.ins)
    error = caught.value
    assert (error.code, error.param, error.inputs) == (code, param, inputs)
    assert words in error.message
    assert code in CODES


def test_a_module_keeps_the_width_of_its_first_application() -> None:
    for name, args, first, second in (
        ("conv", {"out_channels": 3, "kernel_size": 1}, (1, 4, 8), (1, 5, 8)),
        ("linear", {"out_features": 3}, (1, 4), (1, 5)),
        ("batchnorm", {}, (2, 4, 8), (2, 5, 8)),
        ("layernorm", {}, (2, 4), (2, 5)),
        ("lstm", {"hidden_size": 2}, (1, 4, 4), (1, 4, 5)),
        ("attention", {"num_heads": 1}, (1, 4, 4), (1, 4, 5)),
    ):
        op = registry()[name]
        attrs, _, cx = apply(op, args, [TensorType(first)])
        with pytest.raises(OpError) as caught:
            op.infer([TensorType(second)], attrs, cx)
        assert caught.value.code == "ARC0301" and "5 is not 4" in caught.value.message


@pytest.mark.parametrize("name", sorted(n for n, op in registry().items() if any(p.name == "init" for p in op.params)))
def test_initialisers_reach_matrices_and_biases(name: str) -> None:
    given: dict[str, Any] = {
        "out_channels": 4, "kernel_size": 3, "out_features": 3, "num_embeddings": 5, "embedding_dim": 2,
        "num_groups": 2, "hidden_size": 2, "num_heads": 2, "affine": True, "num_parameters": 1,
    }  # fmt: skip
    op = registry()[name]
    params = {p.name for p in op.params}
    weight, bias = Init("normal", (("std", 0.02),)), Init("ones")
    args = {k: v for k, v in given.items() if k in params} | {"init": weight}
    if "bias_init" in params:
        args["bias_init"] = bias
    rank = {"layernorm2d": 4, "triangular_conv": 4, "embedding": 1}.get(name, 3)
    ins = [ints(3) if name == "embedding" else TensorType((2, 4, 6, 8)[:rank])] * (2 if name == "bilinear" else 1)
    attrs, _, _ = apply(op, args, ins)
    parameters = [d for d in op.weights(attrs) if d.kind == "parameter"]
    assert any(d.init == weight for d in parameters)
    for decl in parameters:
        assert decl.init == (bias if "bias" in decl.name else weight)
    assert all(d.init is None for d in op.weights(attrs) if d.kind == "buffer")


def test_a_symbolic_size_is_read_in_the_call() -> None:
    op = registry()["interpolate"]
    attrs, (out,), _ = apply(op, {"size": (2 * symbol("H"), 6)}, [TensorType((1, 1, symbol("H"), 3))])
    assert out.shape == (1, 1, 2 * symbol("H"), 6)
    assert op.module(attrs) is None
    assert call(op, attrs, [torch.ones(1, 1, 5, 3)], sizes={"H": 5}).shape == (1, 1, 10, 6)
