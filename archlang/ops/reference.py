"""The op reference as Markdown, made from the registry: `python -m archlang.ops.reference > docs/ops.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from archlang.ir.graph import Attr, TensorType
from archlang.ops.base import REQUIRED, Context, Op, OpError, Param, registry
from archlang.ops.find import home
from archlang.ops.init import INITIALISERS
from archlang.ops.signature import parameter_text, signature

__all__ = ["main", "reference"]

_SECTIONS = (  # title, files of archlang/ops
    ("Convolution and linear layers", ("conv", "convolve", "linear")),
    ("Normalisation", ("norm", "layernorm")),
    ("Activations", ("activation",)),
    ("Bijections", ("actnorm", "invertible", "permutation", "triangular", "gdn", "lipschitz", "guard")),
    ("Pooling and resizing", ("pool", "resize", "shuffle")),
    ("Dropout", ("dropout",)),
    ("Attention", ("attention", "multihead")),
    ("Recurrent layers", ("rnn", "scan")),
    ("Arithmetic, comparisons, functions", ("elementwise", "unary", "quantize")),
    ("Reductions and order", ("reduce", "order")),
    ("Products", ("einsum",)),
    ("Joining and splitting", ("join",)),
    ("Shape", ("shape", "transpose", "einops", "repeat")),
    ("Indexing and masks", ("index", "masks", "gather")),
    ("Constants and random tensors", ("constant",)),
)

_INTRO = """\
# Ops

Every op by the name that a spec calls it by. This page is made from the compiler's registry by
`python -m archlang.ops.reference > docs/ops.md`; a test compares the two.

How to read an entry: `name(inputs; parameters)`. Inputs are wires: `xs...` takes any number of wires or a list of them,
`mask?` may be left out. Parameters have torch's names, order and meaning; a size that follows from the input
(`in_channels`, `num_features`, `in_features`) is not written. `=` gives the default. Where torch takes an int or a
tuple, write an int or a list. An op with weights is a module, and its weights are named as in torch; *italics* are
buffers. `init=` and `bias_init=` take an [initialiser](#initialisers); `none` leaves torch's own initial values.
*random* marks ops that draw from torch's generator, most of them in training only.

How to call: `x -> conv(64, 3)`, `conv(x, 64, 3)` or `conv(64, 3)(x)`: wires fill inputs, everything else parameters
(see "The call rule" in [language.md](language.md)). Infix operators on wires are ops, too: `a + b` is `add(a, b)`.
"""

# Input types at which a weighted op may be tried to see what its weights are called.
_TRIALS: tuple[tuple[TensorType, ...], ...] = (
    (TensorType((2, 4, 8, 8)),),
    (TensorType((2, 5, 4)),),
    (TensorType((2, 5), "int64"),),
    (TensorType((2, 4)), TensorType((2, 4))),
    (),
)


def reference() -> str:
    """The whole page."""
    return "\n".join([_INTRO, *_body(), _initialisers()])


def _body() -> Iterator[str]:
    left = dict(registry())
    for title, files in _SECTIONS:
        names = [name for file in files for name in sorted(left) if home(left[name]) == f"{__package__}.{file}"]
        yield f"\n## {title}\n"
        yield "| op | weights | what it does |"
        yield "| --- | --- | --- |"
        for name in names:
            yield _row(left.pop(name))
    if left:
        raise ValueError(f"ops in no section: {', '.join(sorted(left))}")


def _row(op: Op) -> str:
    doc = (type(op).__doc__ or "").strip().splitlines()
    if not doc:
        raise ValueError(f"op {op.name} has no docstring")
    text = doc[0] + (" *random*" if op.random else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{signature(op)}`", _weights(op), text)) + " |"


def _weights(op: Op) -> str:
    """Names of the tensors that the op owns at its defaults."""
    if type(op).weights is Op.weights:
        return ""
    for ins in _TRIALS:
        attrs = _resolved(op, ins)
        if attrs is not None:
            named = [(w.name, w.kind) for w in op.weights(attrs) if w.persistent]
            return ", ".join(f"`{name}`" if kind == "parameter" else f"*`{name}`*" for name, kind in named)
    raise ValueError(f"the weights of {op.name} are found by none of the trials")


def _resolved(op: Op, ins: tuple[TensorType, ...]) -> dict[str, Attr] | None:
    least = sum(not i.optional for i in op.inputs)
    if not least <= len(ins) <= max(least, 1):
        return None
    args = {p.name: p.default if p.default is not REQUIRED else _value(p, i) for i, p in enumerate(op.params)}
    if "num_heads" in args:
        args["num_heads"] = 2
    try:
        attrs = op.resolve(ins, args, Context())
        op.infer(ins, attrs, Context())
    except OpError:
        return None
    return attrs


def _value(p: Param, place: int) -> Any:
    return {"int": 2 + place, "ints": 2, "size": 2, "sizes": (2,), "float": 1.0, "any": 1.0, "dtype": "float"}[p.kind]


def _initialisers() -> str:
    rows = [
        "\n## Initialisers\n",
        "Values for `init=`, `bias_init=` and `weight ... = `; a bare number is `constant(number)`.\n",
    ]
    rows += ["| initialiser | fills |", "| --- | --- |"]
    for name, entry in sorted(INITIALISERS.items()):
        params = "initialisers..." if entry.variadic else ", ".join(parameter_text(p) for p in entry.params)
        least = f"dimensions: {entry.least_rank} or more" if entry.least_rank else "any shape"
        rows.append(f"| `{name}({params})` | {least} |" if params else f"| `{name}` | {least} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Prints the page."""
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
