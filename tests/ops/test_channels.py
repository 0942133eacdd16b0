"""What ops say of their channels, against torch: reordered inputs and weights give reordered outputs, and indices that
are zero in inputs and weights can be left out."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from nn_cases import CASES as NN_CASES
from render import arguments
from test_tensor_ops import CASES as TENSOR_CASES
from test_tensor_ops import SIZES, concrete

import archlang.ops  # noqa: F401
from archlang.ir.graph import Attr, TensorType
from archlang.ops.axes import Axes, Axis, Var, arranged, filled, leaves
from archlang.ops.base import Context, Op, registry
from archlang.ops.channels import Tied, Ties

Case = tuple[str, Sequence[TensorType], Mapping[str, Any]]
CASES: list[Case] = [(case.op, case.ins, case.args) for case in NN_CASES] + [
    (
        name,
        [TensorType(tuple(concrete(t.shape, SIZES[0])), t.dtype) for t in ins],
        {key: concrete(value, SIZES[0]) for key, value in args.items()},
    )
    for name, ins, args in TENSOR_CASES
]
# Of these nothing is said, or the few numbers of a case jump: equal values, draws, whole numbers.
SKIPPED = {"bernoulli", "rand", "randn", "randint", "gather", "take_along", "index_select", "one_hot", "cast"}
NAMES = sorted({name for name, _, _ in CASES} - SKIPPED)


def tensor(t: TensorType, generator: torch.Generator) -> torch.Tensor:
    if t.dtype == "bool":
        return torch.rand(t.shape, generator=generator) < 0.6
    if "int" in t.dtype:
        return torch.randint(1, 4, t.shape, generator=generator, dtype=getattr(torch, t.dtype))
    return torch.rand(t.shape, generator=generator, dtype=torch.float64) + 0.1


def indexed(x: torch.Tensor, axes: Axes, rows: Callable[[Axis], list[int]]) -> torch.Tensor:
    for dim, axis in enumerate(axes):
        x = x.index_select(dim, torch.tensor(rows(axis), dtype=torch.int64))
    return x


def close(y: torch.Tensor) -> dict[str, Any]:
    tolerance = 1e-5 if y.dtype == torch.float32 else 1e-9  # of whole numbers, torch makes float32
    return {"rtol": tolerance, "atol": tolerance, "equal_nan": True}


class Trial:
    """An op at one case, with free inputs."""

    def __init__(self, case: Case) -> None:
        name, ins, args = case
        self.given = ins
        self.op: Op = registry()[name]
        self.args = arguments(self.op, args)
        self.attrs = self.op.resolve(ins, self.args, Context())
        self.types = self.op.infer(ins, self.attrs, Context())
        cx = Ties()
        self.ins: list[Axes] = [tuple(cx.free(size) for size in t.shape) for t in ins]
        self.said: Tied = self.op.channels(cx, self.ins, self.types, self.attrs)
        cx.settle()
        generator = torch.Generator().manual_seed(len(str(case)))
        self.tensors = [tensor(t, generator) for t in ins]
        self.weights = {d.name: tensor(TensorType(d.shape, d.dtype), generator) for d in self.op.weights(self.attrs)}
        every = [axis for axes in (*self.ins, *self.said.outs, *self.said.weights.values()) for axis in axes]
        self.variables: dict[int, Var] = {id(v): v for axis in every for v in leaves(axis) if v.size != 1}

    def run(self, tensors: Sequence[Any], weights: Mapping[str, Any], attrs: Mapping[str, Attr]) -> list[torch.Tensor]:
        outs = self.op.run(list(tensors), weights, attrs, False)
        return list(outs) if isinstance(outs, (tuple, list)) else [outs]

    def chosen(self, rows: Callable[[Axis], list[int]], tensors: Sequence[Any], weights: Mapping[str, Any]) -> Any:
        said = self.said.weights
        return (
            [indexed(x, axes, rows) for x, axes in zip(tensors, self.ins, strict=True)],
            {name: indexed(w, said[name], rows) if name in said else w for name, w in weights.items()},
        )


@pytest.mark.parametrize("name", NAMES)
def test_reordered_inputs_give_reordered_outputs(name: str) -> None:
    for case in CASES:
        if case[0] == name:
            reorder(Trial(case))


@pytest.mark.parametrize("name", NAMES)
def test_indices_that_are_zero_can_be_left_out(name: str) -> None:
    for case in CASES:
        if case[0] == name:
            leave_out(Trial(case))


def reorder(trial: Trial) -> None:
    rng = random.Random(5)
    order = {i: rng.sample(range(v.size), v.size) for i, v in trial.variables.items() if v.fixed is None}

    def rows(axis: Axis) -> list[int]:
        return arranged(axis, lambda var: order.get(id(var)))

    tensors, weights = trial.chosen(rows, trial.tensors, trial.weights)
    plain = trial.run(trial.tensors, trial.weights, trial.attrs)
    for y, z, axes in zip(plain, trial.run(tensors, weights, trial.attrs), trial.said.outs, strict=True):
        torch.testing.assert_close(z, indexed(y, axes, rows), **close(y))


def leave_out(trial: Trial) -> None:
    rng = random.Random(7)
    kept = {
        i: sorted(rng.sample(range(v.size), v.size - 1))
        for i, v in trial.variables.items()
        if v.fixed is None and v.held is None and v.measured is None and v.size > 2  # a size of 1 would broadcast
    }

    def rows(axis: Axis) -> list[int]:
        return arranged(axis, lambda var: kept.get(id(var)))

    def emptied(x: torch.Tensor, axes: Axes) -> torch.Tensor:
        for dim, axis in enumerate(axes):
            mask = torch.zeros(x.shape[dim], dtype=x.dtype)
            mask[torch.tensor(rows(axis), dtype=torch.int64)] = 1
            x = x * mask.reshape([-1 if d == dim else 1 for d in range(x.dim())])
        return x

    said = trial.said
    full = [emptied(x, axes) for x, axes in zip(trial.tensors, trial.ins, strict=True)]
    full_weights = {n: emptied(w, said.weights[n]) if n in said.weights else w for n, w in trial.weights.items()}
    tensors, weights = trial.chosen(rows, full, full_weights)

    def count(var: Var) -> Any:
        return len(kept.get(id(var), range(var.size)))

    args = trial.args | {name: filled(sizes, count) for name, sizes in said.sizes.items()}
    types = [TensorType(tuple(x.shape), t.dtype) for x, t in zip(tensors, trial.given, strict=True)]
    attrs = trial.op.resolve(types, args, Context())
    shapes = {d.name: d.shape for d in trial.op.weights(attrs)}
    assert {name: tuple(w.shape) for name, w in weights.items()} == shapes
    small = trial.run(tensors, weights, attrs)
    predicted = trial.op.infer(types, attrs, Context())
    for y, z, t, axes in zip(trial.run(full, full_weights, trial.attrs), small, predicted, said.outs, strict=True):
        assert tuple(z.shape) == t.shape
        torch.testing.assert_close(z, indexed(y, axes, rows), **close(y))
