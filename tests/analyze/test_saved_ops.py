"""What each op keeps for the backward pass against what torch packs: bytes, inputs and outputs, views, strides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from nn_cases import CASES as LAYERS
from render import apply, call, make_module
from test_tensor_ops import CASES as FUNCTIONS
from test_tensor_ops import SIZES, concrete, tensor

import archlang.ops  # noqa: F401  (fills the registry)
from archlang.certify.measure import flat, saved
from archlang.ir.graph import TensorType
from archlang.ops.base import registry
from archlang.ops.eager import BYTES, Tape
from archlang.shapes.dim import evaluate

Case = tuple[str, Sequence[TensorType], dict[str, Any]]
CASES: list[Case] = [*((c.op, c.ins, c.args) for c in LAYERS), *FUNCTIONS]


def name(case: Case) -> str:
    op, ins, args = case
    return f"{op}({', '.join([*map(str, ins), *(f'{k}={v}' for k, v in args.items())])})"


@pytest.mark.parametrize("case", CASES, ids=name)
def test_saved(case: Case) -> None:
    op, sizes = registry()[case[0]], SIZES[0]
    ins = [TensorType(tuple(evaluate(s, sizes) for s in t.shape), t.dtype) for t in case[1]]
    attrs, outs, _ = apply(op, {key: concrete(value, sizes) for key, value in case[2].items()}, ins)
    tape = Tape()
    weights = {w.name: tape.weight(w.shape, w.dtype, w.trainable and w.kind == "parameter") for w in op.weights(attrs)}
    ghosts = [tape.new(t.shape, t.dtype) for t in ins]
    ghosts = [type(g)(g.shape, g.strides, g.dtype, g.storage, g.dtype.startswith("float")) for g in ghosts]
    results = op.trace(tape, ghosts, weights, outs, attrs)
    tensors = [tensor(t, sizes, seed) for seed, t in enumerate(ins)]
    for t in tensors:
        t.requires_grad_(t.is_floating_point())
    module = make_module(op, attrs)
    own = [] if module is None else [*module.parameters(), *module.buffers()]
    found, result = saved(lambda: call(op, attrs, tensors, module, training=True, sizes=sizes), own)
    real = flat(result)
    assert tape.kept == found.total
    assert [g.storage.kept for g in ghosts] == [found.holds(t) for t in tensors]
    assert [g.storage.kept for g in results] == [found.holds(t) for t in real]
    for ghost, t in zip(results, real, strict=True):
        assert ghost.grad == t.requires_grad
        assert ghost.shape == t.shape
        assert BYTES[ghost.dtype] == t.element_size()
        aliases = [t.untyped_storage().data_ptr() == x.untyped_storage().data_ptr() for x in tensors]
        assert [ghost.storage is x.storage for x in ghosts] == aliases
        if t.numel():
            same = [a == b for a, b, n in zip(ghost.strides, t.stride(), t.shape, strict=True) if n != 1]
            assert all(same), (ghost.strides, t.stride())
