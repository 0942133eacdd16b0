"""Entries that undo themselves: against torch's parametrisations, brute force and Jacobians, in float64."""

from __future__ import annotations

import pytest
import torch
from nn_cases import Case, bijection_cases
from render import apply, make_module
from test_nn_ops import Setup

import archlang.ops  # noqa: F401
from archlang.ir.graph import TensorType
from archlang.ops.base import registry

ORTHOGONAL = ("householder", "cayley", "matrix_exp")


@pytest.mark.parametrize("orthogonal_map", ORTHOGONAL)
def test_orthogonal_is_torchs(orthogonal_map: str) -> None:
    """From the same `original`, torch's parametrisation gives the same matrix."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(5, 5, bias=False).double()
    torch.nn.utils.parametrizations.orthogonal(linear, orthogonal_map=orthogonal_map, use_trivialization=False)
    op = registry()["orthogonal_linear"]
    attrs, _, _ = apply(op, {"orthogonal_map": orthogonal_map}, [TensorType((3, 5))])
    module = make_module(op, attrs)
    assert module is not None
    module.double().load_state_dict({"weight": linear.parametrizations.weight.original})
    x = torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(module(x), linear(x), atol=1e-12)


def test_actnorm_is_set_by_the_first_batch_only() -> None:
    torch.manual_seed(0)
    op, x = registry()["actnorm"], 3 * torch.randn(8, 4, 5, 6) + 2
    attrs, _, _ = apply(op, {}, [TensorType(tuple(x.shape))])
    module = make_module(op, attrs)
    assert module is not None
    assert torch.equal(module.eval()(x), x)
    y = module.train()(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(y.std((0, 2, 3)), torch.ones(4), atol=1e-4)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    module(x + 1)
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def test_triangular_convolution_is_a_triangular_matrix() -> None:
    for case in bijection_cases():
        if case.op == "triangular_conv":
            _check_triangular(case)


def _check_triangular(case: Case) -> None:
    module, order = Setup(case).module, case.args.get("order", "TL")
    assert module is not None
    flips = [dim for dim, side in ((1, "B"), (2, "R")) if side in order]
    _, channels, height, width = case.ins[0].shape
    size = channels * height * width
    inputs = torch.eye(size, dtype=torch.float64).view(size, height, width, channels).movedim(-1, 1)
    module.double()
    outputs = module(inputs.flip([d + 1 for d in flips])) - module(torch.zeros_like(inputs))
    matrix = outputs.flip([d + 1 for d in flips]).movedim(1, -1).reshape(size, size).T
    assert torch.equal(matrix, matrix.tril())
    log_det = module.log_det(inputs[:1])  # type: ignore[operator]
    assert torch.allclose(log_det, matrix.diagonal().abs().log().sum())
