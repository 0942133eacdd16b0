"""Residual maps whose branch contracts: bounds of norms, the certificate, the inverse, the log-determinant."""

from __future__ import annotations

import math

import pytest
import torch

from archlang.interpret import InterpreterModule
from archlang.interpret.residual import estimated_log_det, exact_log_det
from archlang.ops.base import registry
from archlang.ops.monotone import _SLOPES
from archlang.report.diagnostic import ArchError
from tests.reversible.helpers import program, proof_text, roundtrip
from tests.reversible.test_log_det import determinants

RESIDUAL = "reversible block residual(f: module)(x) { x += f(x) }\n"
NORMS = {"1": 1, "2": 2, "inf": math.inf}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("layer", ["lipschitz_conv(4, 3", "lipschitz_linear(4"])
def test_the_norm_of_the_map_is_bounded(layer: str, norm: str) -> None:
    """The matrix of the layer with large weights has the norm `coeff`; small weights stay as they are."""
    text = f'block net(x: [B, 3, 5, 4]) {{ return x -> l: {layer}, norm="{norm}", coeff=0.7) }}'
    torch.manual_seed(0)
    module = InterpreterModule(program(text), torch.float64)
    weight = module.tensors["l.weight"]
    point = torch.zeros(1, 3, 5, 4, dtype=torch.float64)
    for scale, bounded in ((3.0, True), (0.01, False)):
        with torch.no_grad():
            weight.copy_(scale * torch.randn_like(weight))
            module.train()
            for _ in range(300):
                module(point)  # the power iteration goes on
        matrix = torch.autograd.functional.jacobian(module.eval(), point).reshape(-1, 60)
        size = torch.linalg.matrix_norm(matrix, NORMS[norm]).item()
        assert size == pytest.approx(0.7, rel=1e-3) if bounded else size < 0.7


def test_slopes_of_activations_are_bounded() -> None:
    x = torch.linspace(-25, 25, 200_001, dtype=torch.float64, requires_grad=True)
    for name, bound in _SLOPES.items():
        op = registry()[name]
        attrs = {p.name: p.default for p in op.params}
        (slope,) = torch.autograd.grad(op.run([x], {}, attrs, False).sum(), x)
        assert 0.9 * bound(attrs) < slope.abs().max() < bound(attrs) + 1e-12, name


def layers(count: int, coeff: float = 0.9, **more: str) -> str:
    given = "".join(f", {k}={v}" for k, v in more.items())
    branch = f"lipschitz_conv(4, 3, coeff={coeff}{given}) -> elu -> lipschitz_conv(2, 3, coeff={coeff}{given})"
    return RESIDUAL + f"block net(x: [B, 2, 3, 3]) {{ return x -> chain([residual({branch}) for _ in 0..{count}]) }}"


def test_the_inverse_is_within_its_tolerance() -> None:
    found = program(layers(3))
    assert proof_text(found.graphs[-3]) == [
        "proof approximate up to 1e-06; given the norms in the branch of `x` are bounded: it contracts by 0.81",
        "contraction %x -> %x_2",
    ]
    assert roundtrip(layers(1)) < 1e-6
    assert roundtrip(layers(3, norm='"inf"')) < 3e-6


def test_a_branch_may_read_context() -> None:
    text = """
        reversible block residual(f: module)(x; c) { x += 0.5 * tanh(f(x) + c) }
        reversible block net(x: [B, 3, H, W]; c: [B, 3, H, W]) {
            x = (x; c) -> r: residual(lipschitz_conv(3, 3, norm="1"))
        }"""
    assert roundtrip(text) < 1e-6


@pytest.mark.parametrize(
    "branch",
    [
        "linear(3)",
        "lipschitz_linear(3, coeff=1.0)",
        "lipschitz_linear(3, coeff=0.95) -> silu",
        'lipschitz_linear(8, norm="1") -> lipschitz_linear(3, norm="inf")',
        "lipschitz_linear(3) -> batchnorm",
    ],
)
def test_what_may_not_contract_is_refused(branch: str) -> None:
    with pytest.raises(ArchError) as caught:
        program(RESIDUAL + f"block net(x: [B, 3]) {{ return x -> residual({branch}) }}")
    assert "ARC0604" in {d.code for d in caught.value.diagnostics}


def test_log_determinant_in_evaluation_is_exact() -> None:
    found, expected = determinants(layers(2))
    assert expected.abs().min() > 0.1 and torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_log_determinant_in_training_is_unbiased() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(4, 4, dtype=torch.float64)
    matrix *= 0.6 / torch.linalg.matrix_norm(matrix, 2)
    s = torch.randn(500, 4, dtype=torch.float64)

    def branch(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ matrix.T)

    exact = exact_log_det(branch, s)
    errors = torch.stack([estimated_log_det(branch, s).detach() - exact for _ in range(20)]).flatten()
    assert errors.std() > 0.01
    assert errors.mean().abs() < 4 * errors.std() / math.sqrt(errors.numel())
