"""Entries that undo themselves: against torch's parametrisations, brute force and Jacobians, in float64."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nn_cases import CASES, Case, bijection_cases
from render import apply, arguments, make_module, namespace, text
from test_nn_ops import Setup
from test_tensor_ops import CASES as FUNCTIONS
from test_tensor_ops import SIZES, concrete, several

import archlang.ops  # noqa: F401
from archlang.ir.graph import Attrs, TensorType
from archlang.ops.base import Bijection, Op, OpError, registry
from archlang.ops.code import Expr
from archlang.ops.monotone import MONOTONE
from archlang.shapes.dim import evaluate

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


def at_size(kind: TensorType) -> TensorType:
    return TensorType(tuple(evaluate(size, SIZES[0]) for size in kind.shape), kind.dtype)


# -- every entry that says it can be undone ----------------------------------------------------------------------------
TRIED: list[tuple[str, tuple[TensorType, ...], dict[str, Any]]] = [
    *((c.op, c.ins, c.args) for c in CASES),
    *((op, tuple(at_size(t) for t in ins), {k: concrete(v, SIZES[0]) for k, v in args.items()})
      for op, ins, args in FUNCTIONS),
    ("pad", (TensorType((2, 3, 4)),), {"pad": (0, 2, 1, 0)}),
    ("rearrange", (TensorType((2, 6, 4, 3)),), {"pattern": "b (g c) h w -> b c (h g) w", "axes": (("g", 2),)}),
    ("rearrange", (TensorType((2, 6, 4)),), {"pattern": "b ... -> b (...)", "axes": ()}),
]  # fmt: skip


def reversible() -> list[Any]:
    found = []
    for name, ins, args in TRIED:
        op = registry()[name]
        attrs, outs, _ = apply(op, args, ins)
        bijection = op.bijection(ins, attrs)
        if bijection is not None and all(t.dtype == "float" for t in ins):
            found.append(pytest.param(op, ins, args, attrs, outs, bijection, id=f"{name}-{len(found)}"))
    return found


def inputs(name: str, ins: Sequence[TensorType]) -> list[torch.Tensor]:
    torch.manual_seed(1)
    drawn = [torch.rand(t.shape, dtype=torch.float64) for t in ins]
    return drawn if name in ("log", "logit") else [1.8 * x - 0.9 for x in drawn]


def settled(op: Op, attrs: Attrs) -> tuple[torch.nn.Module | None, dict[str, torch.Tensor]]:
    """The module with its own initial weights, a little moved, and its tensors by name."""
    torch.manual_seed(0)
    module = make_module(op, attrs)
    if module is None or not op.weights(attrs):
        return None, {}
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return module, {**dict(module.named_parameters()), **dict(module.named_buffers())}


def emitted(op: Op, attrs: Attrs, expr: Expr, wires: Sequence[torch.Tensor], module: torch.nn.Module | None) -> Any:
    names = {f"x{i}": wire for i, wire in enumerate(wires)}
    scope = {**namespace(op, attrs), **names, "self": SimpleNamespace(training=False, op=module)}
    return eval(text(expr, list(names)), scope)


@pytest.mark.parametrize("op, ins, args, attrs, outs, bijection", reversible())
def test_inverse(op: Op, ins: Any, args: Any, attrs: Attrs, outs: Any, bijection: Bijection) -> None:
    module, weights = settled(op, attrs)
    xs = inputs(op.name, ins)
    with torch.no_grad():
        ys = several(op.run(xs, weights, attrs, False))
        if bijection.inverse is not None:
            other, back = registry()[bijection.inverse[0]], bijection.inverse[1]
            reference, emission = (
                other.run(ys, {}, back, False),
                emitted(other, back, other.call(back, len(ys)), ys, None),
            )
        else:
            reference = op.inverse_run(ys, weights, attrs, False)
            emission = emitted(op, attrs, op.inverse_call(attrs, len(ys)), ys, module)
    for x, a, b in zip(xs, several(reference), several(emission), strict=True):
        assert a.shape == b.shape == x.shape
        assert (a - x).abs().max() < 1e-10 and (b - x).abs().max() < 1e-10
    with contextlib.suppress(OpError):  # the types of the inputs may not follow from the outputs'
        assert op.domain(outs, arguments(op, args))[0] in (ins[0], outs[0])


@pytest.mark.parametrize("op, ins, args, attrs, outs, bijection", reversible())
def test_log_determinant(op: Op, ins: Any, args: Any, attrs: Attrs, outs: Any, bijection: Bijection) -> None:
    module, weights = settled(op, attrs)
    xs = inputs(op.name, ins)
    if bijection.grade == "injective" or not ins[0].shape:
        return

    def flat(*wires: torch.Tensor) -> torch.Tensor:
        return torch.cat([y.flatten() for y in several(op.run(wires, weights, attrs, False))])

    if bijection.volume:
        blocks = torch.autograd.functional.jacobian(flat, tuple(xs))
        matrix = torch.cat([b.flatten(1) for b in blocks], 1)
        assert torch.linalg.slogdet(matrix).logabsdet.abs() < 1e-10
        return
    (x,) = xs
    reference = op.log_det_run([x], weights, attrs, False)
    emission = emitted(op, attrs, op.log_det_call(attrs, 1), [x], module)
    for i in range(len(x)):
        matrix = torch.autograd.functional.jacobian(flat, x[i : i + 1]).reshape(x[i].numel(), -1)
        expected = torch.linalg.slogdet(matrix).logabsdet
        assert (reference[i] - expected).abs() < 1e-10 and (emission[i] - expected).abs() < 1e-10


def test_what_can_be_undone_is_tried() -> None:
    have = {param.values[0].name for param in reversible()}  # type: ignore[attr-defined]
    assert set(MONOTONE) <= have
    assert {
        "actnorm", "channel_permutation", "channel_shuffle", "concat", "depth_to_space", "flatten", "flip", "gdn",
        "invertible_conv", "invertible_linear", "neg", "orthogonal_conv", "orthogonal_linear", "pad", "permute",
        "pixel_shuffle", "pixel_unshuffle", "rearrange", "reshape", "roll", "space_to_depth", "split", "squeeze",
        "stack", "transpose", "triangular_conv", "unflatten", "unsqueeze",
    } <= have  # fmt: skip
