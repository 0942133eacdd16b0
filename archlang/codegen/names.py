"""Python names from the author's: escaped, unique, and never in the way of what the generated file itself uses."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from archlang.elaborate.reserved import MODULE_ATTRIBUTES

__all__ = ["DICT_ATTRIBUTES", "FIELD_NAMES", "FILE_NAMES", "Scope", "attribute", "camel", "identifier", "positional"]

# What every generated file may use at its top level.
FILE_NAMES = frozenset({"Any", "F", "NamedTuple", "Tensor", "annotations", "nn", "self", "torch"})
# Attributes of nn.ModuleDict besides nn.Module's: they cannot be its keys.
DICT_ATTRIBUTES = frozenset({"clear", "items", "keys", "pop", "update", "values"})
FIELD_NAMES = frozenset({"count", "index"})  # methods of a tuple: no names for its fields
_BUILTINS = frozenset(dir(builtins))
_CONFUSABLE = frozenset({"I", "O", "l"})  # linters refuse them

# Names of the positional arguments of torch's constructors; a literal among them that differs between the instances of
# a block is named after them.
_POSITIONAL: dict[str, tuple[str, ...]] = {
    "nn.Bilinear": ("in1_features", "in2_features", "out_features"),
    "nn.Dropout": ("p",),
    "nn.Embedding": ("num_embeddings", "embedding_dim"),
    "nn.GRU": ("input_size", "hidden_size", "num_layers"),
    "nn.GroupNorm": ("num_groups", "num_channels"),
    "nn.LSTM": ("input_size", "hidden_size", "num_layers"),
    "nn.LayerNorm": ("normalized_shape",),
    "nn.Linear": ("in_features", "out_features"),
    "nn.MultiheadAttention": ("embed_dim", "num_heads"),
    "nn.RMSNorm": ("normalized_shape",),
    "torch.full": ("shape", "value"),
}
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("nn.ConvTranspose", ("in_channels", "out_channels", "kernel_size")),
    ("nn.Conv", ("in_channels", "out_channels", "kernel_size")),
    ("nn.BatchNorm", ("num_features",)),
    ("nn.InstanceNorm", ("num_features",)),
    ("nn.AdaptiveAvgPool", ("output_size",)),
    ("nn.AdaptiveMaxPool", ("output_size",)),
    ("nn.MaxPool", ("kernel_size", "stride")),
    ("nn.AvgPool", ("kernel_size", "stride")),
)


def positional(function: str, index: int) -> str:
    """The name of a positional argument, or "" where we do not know it."""
    names = _POSITIONAL.get(function) or next((n for family, n in _FAMILIES if function.startswith(family)), ())
    return names[index] if index < len(names) else ""


def identifier(text: str, default: str = "x") -> str:
    """An ASCII identifier that is no keyword, builtin, or name of the generated file."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).lstrip("_") or default
    if name[0].isdigit():
        name = f"{default}_{name}"
    reserved = keyword.iskeyword(name) or name in _BUILTINS or name in FILE_NAMES or name in _CONFUSABLE
    return f"{name}_" if reserved else name


def attribute(segment: str) -> bool:
    """Whether a path segment can be written as `self.segment`, and means that there."""
    plain = segment.isascii() and segment.isidentifier() and not keyword.iskeyword(segment)
    return plain and not segment.startswith("__") and segment not in MODULE_ATTRIBUTES


def camel(text: str, default: str = "Block") -> str:
    """`conv_bn` -> `ConvBn`."""
    words = [w for w in re.split(r"[\W_]+", text, flags=re.ASCII) if w]
    name = "".join(w[0].upper() + w[1:] for w in words)
    return f"{default}{name}" if not name or name[0].isdigit() else name


class Scope:
    """Names already taken; hands out free ones."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def __contains__(self, name: str) -> bool:
        return name in self._taken

    def take(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, ... where it is taken."""
        free, number = name, 1
        while free in self._taken or keyword.iskeyword(free) or free in _BUILTINS or free in FILE_NAMES:
            number += 1
            free = f"{name}{number}" if name[-1:].isalpha() and name[0].isupper() else f"{name}_{number}"
        self._taken.add(free)
        return free
