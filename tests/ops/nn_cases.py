"""What the layer entries are tried on: op, arguments, shapes of the inputs (float unless a dtype is named)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from archlang.ir.graph import TensorType


@dataclass(frozen=True)
class Case:
    op: str
    args: dict[str, Any]
    ins: tuple[TensorType, ...]

    def __str__(self) -> str:
        args = ",".join(f"{k}={v}" for k, v in self.args.items())
        return f"{self.op}({args}) on {' '.join(map(str, self.ins))}".replace(" ", "")


NORMS: list[dict[str, Any]] = [
    {"domain": 1},
    {"domain": 2.0},
    {"domain": math.inf},
    {"domain": 1, "codomain": 2.5},
    {"domain": 3, "codomain": 1.5},
]


def case(op: str, *shapes: tuple[int, ...] | TensorType, **args: Any) -> Case:
    return Case(op, args, tuple(s if isinstance(s, TensorType) else TensorType(s) for s in shapes))


def ints(*shape: int) -> TensorType:
    return TensorType(shape, "int64")


def bools(*shape: int) -> TensorType:
    return TensorType(shape, "bool")


LINE, IMAGE, VOLUME = (2, 4, 11), (2, 4, 9, 12), (2, 4, 6, 7, 5)
SPATIAL = (LINE, IMAGE, VOLUME)


def conv_cases() -> list[Case]:
    cases = []
    for x in SPATIAL:
        n = len(x) - 2
        cases += [
            case("conv", x, out_channels=6, kernel_size=3),
            case("conv", x, out_channels=6, kernel_size=1, bias=False),
            case("conv", x, out_channels=6, kernel_size=3, stride=2, padding=1, groups=2),
            case("conv", x, out_channels=8, kernel_size=3, padding=2, dilation=2, groups=4),
            case("conv", x, out_channels=2, kernel_size=2, padding="valid"),
            case("conv", x, out_channels=6, kernel_size=3, padding=((1, 1),) * n),
            case("conv", x, out_channels=6, kernel_size=3, stride=2, padding=((0, 1),) + ((2, 1),) * (n - 1)),
            case("conv", x, out_channels=6, kernel_size=3, padding=((1, 0),) * n, padding_mode="circular"),
            case("conv", x, out_channels=6, kernel_size=3, padding=((1, 2),) * n, groups=2, padding_mode="replicate"),
        ]
        for kernel, dilation in ((3, 1), (4, 1), (2, 3)):
            for mode in ("zeros", "reflect", "circular"):
                more = {"kernel_size": kernel, "dilation": dilation, "padding_mode": mode}
                cases.append(case("conv", x, out_channels=5, padding="same", **more))
        for kernel, stride, dilation in ((3, 2, 1), (4, 3, 1), (3, 1, 2), (1, 2, 1), (5, 2, 1)):
            more = {"kernel_size": kernel, "stride": stride, "dilation": dilation}
            cases.append(case("conv", x, out_channels=4, padding="tf_same", groups=2, **more))
        for mode in ("reflect", "replicate", "circular"):
            cases.append(case("conv", x, out_channels=4, kernel_size=3, stride=2, padding=1, padding_mode=mode))
        cases += [
            case("conv_transpose", x, out_channels=6, kernel_size=2, stride=2),
            case("conv_transpose", x, out_channels=6, kernel_size=4, stride=2, padding=1, groups=2, bias=False),
            case("conv_transpose", x, out_channels=6, kernel_size=3, stride=3, padding=2, output_padding=1, dilation=2),
        ]
    return [
        *cases,
        case("conv", IMAGE, out_channels=6, kernel_size=(1, 7), padding=(0, 3)),
        case("conv", IMAGE, out_channels=6, kernel_size=(3, 5), stride=(2, 1), padding=(1, (0, 2)), dilation=(1, 2)),
        case("conv", VOLUME, out_channels=6, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        case("conv_transpose", IMAGE, out_channels=6, kernel_size=(2, 3), stride=(2, 1), output_padding=(1, 0)),
    ]


def convolve_cases() -> list[Case]:
    """Kernels that are wires."""
    cases = []
    for x in SPATIAL:
        n = len(x) - 2
        cases += [
            case("convolve", x, (6, 4, *(3,) * n)),
            case("convolve", x, (6, 2, *(3,) * n), (6,), stride=2, padding=1, groups=2),
            case("convolve", x, (4, 1, *(2,) * n), padding=2, dilation=3, groups=4),
        ]
    return [*cases, case("convolve", IMAGE, (6, 4, 1, 7), (6,), padding=(0, 3), stride=(2, 1))]


def linear_cases() -> list[Case]:
    return [
        *(
            case("linear", x, out_features=7, bias=b)
            for x in ((5,), (3, 5), (2, 3, 5), (2, 2, 3, 5))
            for b in (True, False)
        ),
        case("bilinear", (3, 5), (3, 4), out_features=6),
        case("bilinear", (2, 3, 5), (2, 3, 4), out_features=6, bias=False),
        case("embedding", ints(2, 7), num_embeddings=11, embedding_dim=5),
        case("embedding", ints(4), num_embeddings=11, embedding_dim=5, padding_idx=2, sparse=True),
        case("embedding", ints(2, 3), num_embeddings=11, embedding_dim=5, padding_idx=-1, max_norm=1.0, norm_type=1.0),
        case("embedding", TensorType((3,), "int32"), num_embeddings=11, embedding_dim=5, scale_grad_by_freq=True),
    ]


def norm_cases() -> list[Case]:
    cases = []
    for x in ((6, 4), *SPATIAL):
        cases += [
            case("batchnorm", x),
            case("batchnorm", x, eps=1e-3, momentum=0.01),
            case("batchnorm", x, momentum=None, affine=False),
            case("batchnorm", x, track_running_stats=False),
            case("batchnorm", x, affine=False, track_running_stats=False, eps=1e-3),
            case("groupnorm", x, num_groups=2),
            case("groupnorm", x, num_groups=4, eps=1e-6, affine=False),
            case("layernorm", x),
            case("layernorm", x, eps=1e-6, bias=False),
            case("layernorm", x, normalized_shape=x[-2:]),
            case("layernorm", x, normalized_shape=x[-1], elementwise_affine=False, eps=1e-3),
            case("rmsnorm", x),
            case("rmsnorm", x, normalized_shape=x[-2:], eps=1e-5),
            case("rmsnorm", x, elementwise_affine=False, eps=1e-5),
            case("normalize", x),
            case("normalize", x, p=1.0, dim=-1, eps=1e-6),
        ]
    for x in SPATIAL:
        cases += [
            case("instancenorm", x),
            case("instancenorm", x, eps=1e-3, affine=True),
            case("instancenorm", x, affine=True, track_running_stats=True, momentum=0.3),
            case("instancenorm", x, track_running_stats=True),
            case("local_response_norm", x, size=3),
            case("local_response_norm", x, size=2, alpha=1e-3, beta=0.5, k=2.0),
        ]
    return [*cases, case("layernorm2d", IMAGE), case("layernorm2d", IMAGE, eps=1e-5, affine=False)]


def activation_cases() -> list[Case]:
    plain = (
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "hardshrink",
        "softshrink",
        "tanhshrink",
        "softplus",
        "softsign",
        "sigmoid",
        "tanh",
        "logsigmoid",
        "rrelu",
        "glu",
        "prelu",
        "identity",
    )
    with_args: tuple[tuple[str, dict[str, Any]], ...] = (
        ("leaky_relu", {"negative_slope": 0.2}),
        ("elu", {"alpha": 0.5}),
        ("celu", {"alpha": 2.0}),
        ("gelu", {"approximate": "tanh"}),
        ("hardtanh", {"min_val": 0.0, "max_val": 0.5}),
        ("hardshrink", {"lambd": 1.0}),
        ("softshrink", {"lambd": 0.1}),
        ("softplus", {"beta": 2.0, "threshold": 1.0}),
        ("softmax", {"dim": 1}),
        ("log_softmax", {"dim": -1}),
        ("softmin", {"dim": 0}),
        ("threshold", {"threshold": 0.1, "value": -2.0}),
        ("rrelu", {"lower": 0.1, "upper": 0.1}),
        ("glu", {"dim": 1}),
        ("prelu", {"num_parameters": 4}),
    )
    shapes = ((2, 4), (3, 4, 6))
    return [case(name, x) for name in plain for x in shapes] + [case(n, x, **a) for n, a in with_args for x in shapes]


def pool_cases() -> list[Case]:
    cases = []
    for x in SPATIAL:
        n = len(x) - 2
        cases += [
            case("maxpool", x, kernel_size=3, stride=2, padding=1),
            case("maxpool", x, kernel_size=2),
            case("maxpool", x, kernel_size=(2, 3, 2)[:n], stride=(2, 1, 2)[:n], ceil_mode=True),
            case("maxpool", x, kernel_size=2, stride=3, dilation=2, padding=1, ceil_mode=True),
            case("avgpool", x, kernel_size=3, stride=2, padding=1),
            case("avgpool", x, kernel_size=2, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
            case("lppool", x, norm_type=2.0, kernel_size=2),
            case("lppool", x, norm_type=1.0, kernel_size=3, stride=2, ceil_mode=True),
        ]
        for kind in ("avg", "max"):
            cases += [
                case(f"adaptive_{kind}pool", x, output_size=1),
                case(f"adaptive_{kind}pool", x, output_size=7),
                case(f"adaptive_{kind}pool", x, output_size=(3, None, 2)[:n]),
                case(f"global_{kind}pool", x),
                case(f"global_{kind}pool", x, keepdim=True),
            ]
    cases += [case("avgpool", x, kernel_size=2, padding=1, divisor_override=3) for x in (IMAGE, VOLUME)]
    return cases


def resize_cases() -> list[Case]:
    cases = []
    for x, mode in ((LINE, "linear"), (IMAGE, "bilinear"), (VOLUME, "trilinear"), (IMAGE, "bicubic")):
        n = len(x) - 2
        cases += [
            case("interpolate", x, scale_factor=2),
            case("interpolate", x, size=7, mode="nearest-exact"),
            case("interpolate", x, scale_factor=0.5, mode="area"),
            case("interpolate", x, size=(3, 8, 4)[:n], mode=mode),
            case("interpolate", x, scale_factor=1.5, mode=mode, align_corners=False),
            case("interpolate", x, scale_factor=(2.0, 0.7, 1.2)[:n], mode=mode, align_corners=True),
            case("interpolate", x, scale_factor=0.7, mode=mode, recompute_scale_factor=True),
            case("interpolate", x, (1, 3, *range(5, 5 + n)), mode=mode, align_corners=False),
        ]
    return [
        *cases,
        case("interpolate", IMAGE, size=(4, 5), mode="bicubic", antialias=True),
        case("pixel_shuffle", (2, 12, 3, 5), upscale_factor=2),
        case("pixel_shuffle", (2, 2, 9, 3, 5), upscale_factor=3),
        case("pixel_unshuffle", (2, 3, 6, 9), downscale_factor=3),
        case("channel_shuffle", (2, 6, 5, 4), groups=3),
        case("unfold", IMAGE, kernel_size=3),
        case("unfold", IMAGE, kernel_size=(2, 3), dilation=2, padding=1, stride=(2, 1)),
        case("fold", (2, 27, 20), output_size=(6, 7), kernel_size=3),
        case("fold", (2, 12, 24), output_size=8, kernel_size=(2, 3), dilation=(1, 2), padding=(0, 1), stride=(2, 1)),
    ]


def dropout_cases() -> list[Case]:
    of_rank = {"dropout1d": LINE, "dropout2d": IMAGE, "dropout3d": VOLUME, "dropout": (3, 5)}
    of_rank |= {"alpha_dropout": (3, 5), "feature_alpha_dropout": IMAGE}
    cases = [case(name, x, p=p) for name, x in of_rank.items() for p in (0.0, 0.3, 0.5)]
    for x in ((8, 3), IMAGE):
        cases += [case("drop_path", x, p=p) for p in (0.0, 0.4, 1.0)]
        cases += [case("drop_path", x, p=0.4, mode="batch"), case("drop_path", x, p=0.4, scale_by_keep=False)]
    return cases


def attention_cases() -> list[Case]:
    q, k, v = (2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3)
    x, key, value = (2, 5, 8), (2, 7, 8), (2, 7, 6)
    self_cases = (
        {},
        {"qkv_bias": True},
        {"qk_norm": True},
        {"qkv_bias": True, "qk_norm": True, "norm_eps": 1e-5},
        {"proj_bias": False},
        {"attn_drop": 0.2, "proj_drop": 0.3},
        {"attn_head_dim": 3, "qkv_bias": True, "qk_norm": True},
    )
    return [
        case("sdpa", q, k, v),
        case("sdpa", (2, 5, 6), (2, 7, 6), (2, 7, 3), scale=0.5),
        case("sdpa", q, q, q, is_causal=True),
        case("sdpa", q, k, v, bools(5, 7)),
        case("sdpa", q, k, v, (2, 1, 5, 7), dropout_p=0.3),
        case("sdpa", q, (2, 2, 7, 6), (2, 2, 7, 3), enable_gqa=True),
        *(case("attention", x, num_heads=4, **a) for a in self_cases),
        case("attention", x, bools(5, 5), num_heads=2),
        case("attention", x, (2, 1, 5, 5), num_heads=2),
        case("multihead_attention", x, num_heads=2),
        case("multihead_attention", x, num_heads=4, bias=False, dropout=0.2),
        case("multihead_attention", x, key, key, num_heads=2),
        case("multihead_attention", x, key, value, num_heads=2),
        case("multihead_attention", x, key, value, num_heads=2, add_bias_kv=True, add_zero_attn=True, bias=False),
        case("multihead_attention", x, key, key, (5, 7), num_heads=2),
        case("multihead_attention", x, key, key, (4, 5, 7), bools(2, 7), num_heads=2),
        case("multihead_attention", (5, 2, 8), (7, 2, 8), (7, 2, 8), num_heads=2, batch_first=False),
    ]


def rnn_cases() -> list[Case]:
    x = (2, 5, 3)
    cases = []
    for name in ("lstm", "gru", "rnn"):
        cases += [
            case(name, x, hidden_size=4),
            case(name, x, hidden_size=4, num_layers=2, bidirectional=True),
            case(name, x, hidden_size=4, bias=False, batch_first=False, num_layers=2, dropout=0.3),
        ]
    state = (4, 2, 4)
    return [
        *cases,
        case("lstm", x, hidden_size=4, proj_size=2, num_layers=2, bidirectional=True),
        case("lstm", x, state, state, hidden_size=4, num_layers=2, bidirectional=True),
        case("lstm", x, (4, 2, 2), state, hidden_size=4, num_layers=2, bidirectional=True, proj_size=2),
        case("gru", x, state, hidden_size=4, num_layers=2, bidirectional=True),
        case("rnn", x, (1, 2, 4), hidden_size=4, nonlinearity="relu"),
    ]


def bijection_cases() -> list[Case]:
    """What undoes itself: tests/ops/test_bijections.py tries the inverses, too."""
    cases = []
    for x in ((6, 4), *SPATIAL):
        cases += [
            case("actnorm", x),
            case("channel_permutation", x),
            case("channel_permutation", x, order=(2, 0, 3, 1)),
            case("invertible_linear", x),
            case("invertible_linear", x, lu=True),
            *(case("orthogonal_linear", x, orthogonal_map=m) for m in ("householder", "cayley", "matrix_exp")),
        ]
    cases.append(case("channel_permutation", (2, 5, 6), dim=-1))
    for x in SPATIAL:
        cases += [
            case("invertible_conv", x),
            case("invertible_conv", x, lu=True),
            *(case("orthogonal_conv", x, orthogonal_map=m) for m in ("householder", "cayley", "matrix_exp")),
        ]
    for diagonal in ("free", "one", "exp"):
        for order in ("TL", "TR", "BL", "BR"):
            cases.append(case("triangular_conv", (2, 3, 5, 7), order=order, diagonal=diagonal))
    return [
        *cases,
        case("triangular_conv", IMAGE, kernel_size=(2, 3), bias=False),
        case("triangular_conv", IMAGE, kernel_size=1),
        *(case("lipschitz_linear", (3, 5), out_features=4, coeff=0.3, **norms) for norms in NORMS),
        *(case("lipschitz_conv", IMAGE, out_channels=6, coeff=0.5, **norms) for norms in NORMS),
        case("lipschitz_conv", IMAGE, out_channels=2, kernel_size=1, domain=1.5, codomain=4.0),
        case("gdn", IMAGE),
        case("gdn", IMAGE, inverse=True, beta_min=1e-3, gamma_init=0.2),
    ]


CASES = [
    *conv_cases(),
    *convolve_cases(),
    *linear_cases(),
    *norm_cases(),
    *activation_cases(),
    *pool_cases(),
    *resize_cases(),
    *dropout_cases(),
    *attention_cases(),
    *rnn_cases(),
    *bijection_cases(),
]
