"""Which ops normalise, which have weights, and which leave the scale of a wire as it is."""

from __future__ import annotations

__all__ = ["KEEP_SCALE", "NORMS", "WEIGHTED"]

NORMS = frozenset(
    (
        "batchnorm",
        "groupnorm",
        "instancenorm",
        "layernorm",
        "layernorm2d",
        "local_response_norm",
        "normalize",
        "rmsnorm",
    )
)
WEIGHTED = frozenset(("conv", "conv_transpose", "linear", "bilinear", "attention", "multihead_attention"))
KEEP_SCALE = frozenset(
    (
        "contiguous", "drop_path", "dropout", "dropout1d", "dropout2d", "dropout3d", "flatten", "identity", "permute",
        "rearrange", "reshape", "squeeze", "transpose", "unflatten", "unsqueeze",
    )
)  # fmt: skip
