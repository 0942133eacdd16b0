"""Residual maps whose branch contracts: bounds of norms, the certificate, the inverse, the log-determinant."""

from __future__ import annotations

import math

import pytest
import torch

import archlang
from archlang.interpret import InterpreterModule
from archlang.interpret.residual import estimated_log_det, exact_log_det
from archlang.ops.base import registry
from archlang.ops.monotone import _SLOPES
from archlang.report.diagnostic import ArchError
from tests.reversible.helpers import program, proof_text, roundtrip
from tests.reversible.test_log_det import determinants

RESIDUAL = "reversible block residual(f: module)(x) { x += f(x) }\n"
PAIRS = [
    *(
        (1, 1),
        (2, 2),
        ("inf", "inf"),
        (1, 2),
        (1, 3),
        (1, "inf"),
        (2, "inf"),
        (1.5, "inf"),
    ),
    *((1.5, 3), (3, 1.5), ("inf", 1)),
]
LAYERS = ["l: lipschitz_conv(3, 3", "l: lipschitz_conv(3, 1", "flatten -> l: lipschitz_linear(4"]


def norm_of(matrix: torch.Tensor, p: float, q: float) -> float:
    """The norm of the map: from inf at all corners of the cube, else by ascent from many starts."""
    if p == math.inf:
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * matrix.shape[1])
        return (corners @ matrix.T).norm(q, dim=1).max().item()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, matrix.shape[1], generator=generator, dtype=torch.float64)
    x = torch.cat([x, x.sign(), torch.eye(matrix.shape[1], dtype=torch.float64)]).requires_grad_()
    step = torch.optim.Adam([x], lr=0.05)
    best = 0.0
    for i in range(250):
        for group in step.param_groups:
            group["lr"] = 0.05 * 0.975**i
        size = (x @ matrix.T).norm(q, dim=1) / x.norm(p, dim=1)
        best = max(best, size.max().item())
        step.zero_grad()
        (-size.sum()).backward()
        step.step()
    return best


@pytest.mark.parametrize(("p", "q"), PAIRS)
@pytest.mark.parametrize(
    "layer", ["l: lipschitz_conv(3, 3", "l: lipschitz_conv(3, 1", "flatten -> l: lipschitz_linear(4"]
)
def test_the_norm_of_the_map_is_bounded(layer: str, p: float, q: float) -> None:
    """The matrix of the layer with large weights has the norm `coeff`; small weights stay as they are. With p > q
    a power iteration may have gone to a local maximum."""
    slack = {(3, 1.5): 0.1, ("inf", 1): 0.5}.get((p, q), 2e-3)
    text = f"block net(x: [B, 1, 3, 4]) {{ return x -> {layer}, domain={p}, codomain={q}, coeff=0.7) }}"
    torch.manual_seed(0)
    module = InterpreterModule(program(text), torch.float64)
    weight = module.tensors["l.weight"]
    point = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    for scale, bounded in ((3.0, True), (0.01, False)):
        with torch.no_grad():
            weight.copy_(scale * torch.randn_like(weight))
            module.train()
            for _ in range(300):
                module(point)  # the power iteration goes on
        matrix = torch.autograd.functional.jacobian(module.eval(), point).reshape(-1, 12)
        if bounded:
            assert 0.7 * (1 - 2e-3) < norm_of(matrix, float(p), float(q)) < 0.7 * (1 + slack)
        else:
            assert matrix.abs().max() == weight.abs().max()


@pytest.mark.parametrize(("p", "q"), [(1.5, 3), (3, 1.5), ("inf", 1), ("inf", 2)])
def test_fresh_layers_know_their_norm(p: float, q: float) -> None:
    """The best of several starts, in generated code."""
    torch.manual_seed(0)
    text = f"""block net(x: [B, 1, 3, 4]) {{
        x = x -> a: lipschitz_conv(1, 3, domain={p}, codomain={q}, coeff=0.1)
        return x -> flatten -> b: lipschitz_linear(6, domain={p}, codomain={q}, coeff=0.1)
    }}"""
    module = archlang.build(text, "net").double().eval()
    for layer, shape in ((module.a, (1, 3, 4)), (module.b, (12,))):
        point = torch.zeros(1, *shape, dtype=torch.float64)
        matrix = torch.autograd.functional.jacobian(layer, point).flatten(0, -len(shape) - 1).flatten(1)
        assert norm_of(matrix, float(p), float(q)) == pytest.approx(0.1, rel=2e-3)


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


MIXED = ["domain=1, codomain=2", "domain=2, codomain=3", "domain=3, codomain=1"]


def mixed(*norms: str) -> str:
    """A branch of layers between these norms, with activations between."""
    widths = (5, 4, 3)
    return " -> elu -> ".join(f"lipschitz_linear({w}, coeff=0.9, {n})" for w, n in zip(widths, norms, strict=True))


def test_mixed_norms_that_lead_back_contract() -> None:
    """The exponents of a branch form a circle; the Jacobian of a branch with large weights has a radius below 1."""
    text = RESIDUAL + f"block net(x: [B, 3]) {{ return x -> r: residual({mixed(*MIXED)}) }}"
    found = proof_text(program(text).graphs[-2])
    assert found[0].endswith(
        "contracts by 0.729; power iterations for mixed norms have found the largest values"
    )  # fmt: skip
    assert roundtrip(text) < 1e-6
    value, expected = determinants(text)
    assert expected.abs().min() > 1e-3 and torch.allclose(value, expected, rtol=0, atol=1e-10)


def test_a_smaller_norm_does_for_a_larger_one() -> None:
    """|x|_3 <= |x|_2 <= |x|_1: a layer from the norm 3 takes what is bounded in the norm 2."""
    norms = ("domain=1, codomain=2", "domain=3, codomain=2", "domain=inf, codomain=1")
    assert roundtrip(RESIDUAL + f"block net(x: [B, 3]) {{ return x -> r: residual({mixed(*norms)}) }}") < 1e-6


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ((MIXED[0], "domain=1.5, codomain=2", MIXED[2]),
         "`lipschitz_linear` is bounded from the norm 1.5, and reads what is bounded in the norm 2"),
        ((MIXED[0], MIXED[1], "domain=3, codomain=inf"), "the branch leads from the norm 1 to the norm inf"),
    ],
)  # fmt: skip
def test_norms_that_do_not_fit_are_refused(norms: tuple[str, ...], message: str) -> None:
    with pytest.raises(ArchError) as caught:
        program(RESIDUAL + f"block net(x: [B, 3]) {{ return x -> r: residual({mixed(*norms)}) }}")
    (finding,) = caught.value.diagnostics
    assert finding.code == "ARC0615"
    assert finding.message == f"the norms in the branch of `x` do not fit: {message}"


def test_runs_of_bounded_layers_are_multiplied_out() -> None:
    """400 layers of 0.999 in a run are a contraction by 0.999 ** 400, and half of it stays one."""
    text = (
        RESIDUAL
        + """block net(x: [B, 3]) {
        return x -> r: residual(chain([lipschitz_linear(3, coeff=0.999) for _ in 0..400]))
    }"""
    )
    assert proof_text(program(text).graphs[-2])[0].endswith(f"contracts by {0.999**400:.6g}")


def test_the_inverse_is_within_its_tolerance() -> None:
    found = program(layers(3))
    assert proof_text(found.graphs[-3]) == [
        "proof approximate up to 1e-06; given the norms in the branch of `x` are bounded: it contracts by 0.81",
        "contraction %x -> %x_2",
    ]
    assert roundtrip(layers(1)) < 1e-6
    assert roundtrip(layers(3, domain="inf")) < 3e-6


def test_a_branch_may_read_context() -> None:
    text = """
        reversible block residual(f: module)(x; c) { x += 0.5 * tanh(f(x) + c) }
        reversible block net(x: [B, 3, H, W]; c: [B, 3, H, W]) {
            x = (x; c) -> r: residual(lipschitz_conv(3, 3, domain=1))
        }"""
    assert roundtrip(text) < 1e-6


@pytest.mark.parametrize(
    "branch",
    [
        "linear(3)",
        "lipschitz_linear(3, coeff=1.0)",
        "lipschitz_linear(3, coeff=0.95) -> silu",
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
