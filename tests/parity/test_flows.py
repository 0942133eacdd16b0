"""Flows and their kin: layouts of published code, densities by hand, inverses and log-determinants in float64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import archlang
from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.ir.graph import Program
from archlang.reversible import with_log_det
from tests.codegen.load import load

SPECS = Path(__file__).parents[2] / "specs"


def small(spec: str, entry: str, **params: Any) -> tuple[Any, InterpreterModule]:
    """The generated module and the interpreter's, in float64, with the same weights, in evaluation."""
    torch.manual_seed(0)
    module = archlang.build(SPECS / f"{spec}.arch", entry, **params).double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter += (0.2 if name.endswith("scale") else 0.02) * torch.randn_like(parameter)
    program = archlang.compile(SPECS / f"{spec}.arch", entry, **params).program
    plain = InterpreterModule(program, torch.float64).eval()
    plain.load_state_dict(module.state_dict())
    return module, plain


def glow_keys(steps: int, scales: int) -> set[str]:
    """The state dict of rosinality/glow-pytorch."""
    keys = set()
    mix = ("w_l", "w_s", "w_u", "w_p", "u_mask", "l_mask", "s_sign", "l_eye")
    for i in range(scales):
        for j in range(steps):
            flow = f"blocks.{i}.flows.{j}"
            keys |= {f"{flow}.actnorm.{k}" for k in ("loc", "scale", "initialized")}
            keys |= {f"{flow}.invconv.{k}" for k in mix}
            keys |= {f"{flow}.coupling.net.{k}.{w}" for k in (0, 2, "4.conv") for w in ("weight", "bias")}
            keys.add(f"{flow}.coupling.net.4.scale")
        keys |= {f"blocks.{i}.prior.{k}" for k in ("scale", "conv.weight", "conv.bias")}
    return keys


def test_glow_has_the_published_keys() -> None:
    program = archlang.compile(SPECS / "glow.arch", "glow", steps=2, scales=3, width=8).program
    assert set(InterpreterModule(program).state_dict()) == glow_keys(2, 3)


def test_glow_step_by_step() -> None:
    """One step and its density, computed from the paper's formulas and the weights by their names."""
    module, plain = small("glow", "glow", steps=1, scales=1, width=4)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    w = {k.removeprefix("blocks.0."): v for k, v in module.state_dict().items()}

    def zero_conv(h: torch.Tensor, at: str) -> torch.Tensor:
        h = F.conv2d(F.pad(h, (1, 1, 1, 1), value=1), w[f"{at}.conv.weight"], w[f"{at}.conv.bias"])
        return h * (3 * w[f"{at}.scale"]).exp()

    h = F.pixel_unshuffle(x, 2)
    h = w["flows.0.actnorm.scale"] * (h + w["flows.0.actnorm.loc"])
    at = "flows.0.invconv"
    upper = w[f"{at}.w_u"].triu(1) + (w[f"{at}.s_sign"] * w[f"{at}.w_s"].exp()).diag()
    lower = w[f"{at}.w_l"].tril(-1) + torch.eye(12, dtype=torch.float64)
    h = torch.einsum("ij,bjhw->bihw", w[f"{at}.w_p"] @ lower @ upper, h)
    a, b = h.chunk(2, 1)
    at = "flows.0.coupling.net"
    s = F.conv2d(a, w[f"{at}.0.weight"], w[f"{at}.0.bias"], padding=1).relu()
    s, t = zero_conv(F.conv2d(s, w[f"{at}.2.weight"], w[f"{at}.2.bias"]).relu(), f"{at}.4").chunk(2, 1)
    h = torch.cat([a, (b + t) * (s + 2).sigmoid()], 1)
    mean, log_sd = zero_conv(torch.zeros_like(h), "prior").chunk(2, 1)
    log_p = torch.distributions.Normal(mean, log_sd.exp()).log_prob(h).flatten(1).sum(1)
    with torch.no_grad():
        for result in (module(x), plain(x)):
            assert torch.allclose(result.z[0], h, atol=1e-12)
            assert torch.allclose(result.log_p, log_p, atol=1e-9)


@pytest.mark.parametrize("spec", ["cinc_flow", "inverse_flow"])
def test_whole_flows_are_undone_by_generated_code(spec: str) -> None:
    module, plain = small(spec, spec, steps=2, scales=2, width=6)
    x = torch.randn(2, 3, 8, 4, dtype=torch.float64)
    with torch.no_grad():
        latents = module(x)
        assert [z.shape for z in latents] == [(2, 6, 4, 2), (2, 24, 2, 1)]
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(latents, plain(x), strict=True))
        assert (module.inverse(latents) - x).abs().max() < 1e-10


def test_inverse_flow_solves_the_convolution() -> None:
    """The first layer gives what the padded convolution of the same weights undoes."""
    text = 'block net(x: [B, 3, 5, 4]) { return x -> conv: ~triangular_conv(3, diagonal="one", bias=false) }'
    torch.manual_seed(0)
    plain = InterpreterModule(archlang.compile(text, "net").program, torch.float64)
    plain.tensors["conv.weight"].data.mul_(10)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    weight = plain.state_dict()["conv.weight"].clone()
    weight[:, :, -1, -1] = weight[:, :, -1, -1].tril(-1) + torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(F.conv2d(F.pad(plain(x), (2, 0, 2, 0)), weight), x, atol=1e-12)


@pytest.mark.parametrize("spec", ["glow", "cinc_flow", "inverse_flow"])
def test_steps_are_bijections(spec: str) -> None:
    """A chain of steps: inverse of forward is the input; the log-determinant is the Jacobian's."""
    program = archlang.compile(STEPS.format(spec=spec), "net").program
    torch.manual_seed(0)
    module = InterpreterModule(program, torch.float64).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        x = torch.randn(1, 8, 2, 2, dtype=torch.float64)
        back = module.interpreter.inverse([module(x)], module.tensors, sizes={"B": 1})
    assert (back - x).abs().max() < 1e-10
    measured = InterpreterModule(Program.of(with_log_det(program.root)), torch.float64).eval()
    measured.load_state_dict(module.state_dict())
    matrix = torch.autograd.functional.jacobian(lambda x: module(x).flatten(), x).reshape(32, 32)
    assert (measured(x)[1] - torch.linalg.slogdet(matrix).logabsdet).abs() < 1e-10


DENSITIES = {spec: f"""
use zoo.{spec}: step
block net(x: [B, 2, 4, 4]) {{ return x -> space_to_depth(2) -> flow: chain([step(6) for _ in 0..4]) }}
""" for spec in ("glow", "cinc_flow", "inverse_flow")} | {"residual_flow": """
use zoo.residual_flow: residual, unit
block net(x: [B, 2, 4, 4]) {
    for i in 0..3 { x = x -> "f.{i}": residual(unit(5, 0.9, active=i > 0)) -> "n.{i}": actnorm }
    return x
}
"""}  # fmt: skip


def measured(spec: str, rebuild: bool) -> tuple[Any, InterpreterModule]:
    """The generated module with its log-determinant and the interpreter's, in float64, with the same weights."""
    program = archlang.compile(DENSITIES[spec], "net").program
    torch.manual_seed(0)
    module = load(generate(program, source_name="net", rebuild=rebuild, log_det=True)).root().double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    plain = InterpreterModule(Program.of(with_log_det(program.root)), torch.float64).eval()
    plain.load_state_dict(module.state_dict())
    return module, plain


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("spec", DENSITIES)
def test_generated_densities(spec: str, rebuild: bool) -> None:
    """The log-determinant is the Jacobian's; gradients of the negative log-likelihood are plain autograd's."""
    module, plain = measured(spec, rebuild)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    z, log_det = module.with_log_det(x)
    assert torch.allclose(z, module(x), rtol=0, atol=1e-13) and log_det.abs().min() > 0.01
    matrix = torch.autograd.functional.jacobian(lambda x: module(x).flatten(1), x)
    found = torch.stack([torch.linalg.slogdet(matrix[i, :, i].reshape(32, 32)).logabsdet for i in range(2)])
    assert torch.allclose(log_det, found, rtol=0, atol=1e-9)

    def gradients(results: Any, weights: Any) -> dict[str, torch.Tensor]:
        z, log_det = results
        loss = (z**2).sum() / 2 - log_det.sum()
        names, tensors = zip(*weights, strict=True)
        return dict(zip(names, torch.autograd.grad(loss, tensors), strict=True))

    ours = gradients((z, log_det), module.named_parameters())
    theirs = gradients(plain(x), [(n.replace("-", "."), p) for n, p in plain.tensors.items() if p.requires_grad])
    scale = max(float(g.abs().max()) for g in theirs.values())
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-12, atol=1e-12 * scale)


FLOWS: dict[str, dict[str, Any]] = {
    "glow": {"steps": 1, "scales": 2, "width": 4},
    "cinc_flow": {"steps": 1, "scales": 2, "width": 4},
    "inverse_flow": {"steps": 1, "scales": 2, "width": 4},
    "residual_flow": {"blocks": [1, 1], "width": 4, "dense_width": 4, "size": 4},
}


def whole(spec: str, params: dict[str, Any], rebuild: bool = True) -> tuple[Any, InterpreterModule]:
    """A published flow as a whole, small, with its log-determinant: the generated module and the interpreter's."""
    program = archlang.compile(SPECS / f"{spec}.arch", spec, **params).program
    torch.manual_seed(0)
    module = load(generate(program, source_name="net", rebuild=rebuild, log_det=True)).root().double().eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter += (0.2 if name.endswith("scale") else 0.05) * torch.randn_like(parameter)
    plain = InterpreterModule(Program.of(with_log_det(program.root)), torch.float64).eval()
    plain.load_state_dict(module.state_dict())
    return module, plain


def log_det_of(results: Any) -> torch.Tensor:
    found: torch.Tensor = results.log_det if hasattr(results, "log_det") else results[-1]
    return found


def latents(results: Any) -> torch.Tensor:
    """All of them, one after the other: [B, D]."""
    first = results[0] if isinstance(results, tuple) else results
    return torch.cat([z.flatten(1) for z in (first if isinstance(first, list) else [first])], 1)


@pytest.mark.parametrize("spec", FLOWS)
def test_log_determinants_of_whole_flows(spec: str) -> None:
    """Over all scales, those that factor out included, that of the Jacobian; density and inverse are the forward's."""
    module, plain = whole(spec, FLOWS[spec])
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    results = module.with_log_det(x)
    assert torch.equal(latents(results), latents(module(x)))
    matrix = torch.autograd.functional.jacobian(lambda x: latents(module(x)), x)
    expected = torch.stack([torch.linalg.slogdet(matrix[i, :, i].reshape(48, 48)).logabsdet for i in range(2)])
    assert expected.abs().min() > 0.1
    assert torch.allclose(log_det_of(results), expected, rtol=0, atol=1e-9)
    assert torch.allclose(log_det_of(plain(x)), expected, rtol=0, atol=1e-9)
    with torch.no_grad():
        tolerance = 1e-5 if spec == "residual_flow" else 1e-10
        assert (module.inverse(results[0] if spec != "residual_flow" else module(x)) - x).abs().max() < tolerance
        if spec == "glow":
            assert torch.equal(results.log_p, module(x).log_p)


@pytest.mark.parametrize("spec", ["glow", "cinc_flow", "inverse_flow"])
def test_flows_are_trained_without_activations(spec: str) -> None:
    """The likelihood's gradients are plain autograd's; what is kept for them does not grow with the steps."""
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    gradients, kept = [], []
    for rebuild, steps in ((True, 1), (False, 1), (True, 4), (False, 4)):
        module, _ = whole(spec, {**FLOWS[spec], "steps": steps}, rebuild)
        weights = {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
        saved: dict[int, int] = {}

        def keep(t: torch.Tensor, weights: Any = weights, saved: Any = saved) -> torch.Tensor:
            if t.untyped_storage().data_ptr() not in weights:
                saved[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            results = module.with_log_det(x)
            loss = latents(results).square().sum() / 2 - log_det_of(results).sum()
        kept.append(sum(saved.values()))
        loss.backward()
        gradients.append({name: p.grad for name, p in module.named_parameters()})
    for name, gradient in gradients[1].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[0][name], gradient, rtol=1e-9, atol=1e-11)
    assert kept[2] == kept[0] and kept[3] > 2 * kept[1]


def test_a_log_determinant_beside_named_results() -> None:
    """Names that are taken; results that are no streams; what drops a stream has none."""
    block = "block net(x: [B, 4]) {{ a, b = x -> halves\n {} }}"
    module = archlang_module(block.format("return z=[exp(a), b], log_det=reduce_sum(a, [1])"))
    x = torch.randn(3, 4, dtype=torch.float64)
    results = module.with_log_det(x)
    assert results._fields == ("z", "log_det", "log_det_")
    assert torch.allclose(results.log_det_, x[:, :2].sum(1)) and torch.equal(results.log_det, x[:, :2].sum(1))
    with pytest.raises(archlang.ArchError) as caught:
        archlang_module(block.format("return z=exp(a), log_p=reduce_sum(b, [1])"))
    (finding,) = caught.value.diagnostics
    assert finding.code == "ARC0630" and "the stream `b` is dropped" in finding.message


def archlang_module(text: str) -> Any:
    return load(generate(archlang.compile(text, "net").program, source_name="net", log_det=True)).root().double()


STEPS = """
use zoo.{spec}: step
block net(x: [B, 8, 2, 2]) {{ return x -> flow: chain([step(6) for _ in 0..3]) }}
"""


def test_gdn_transforms_have_the_published_layout() -> None:
    program = archlang.compile(SPECS / "gdn.arch", "transforms", width=6, latent=8).program
    state = InterpreterModule(program).state_dict()
    rest = ("_reparam.pedestal", "_reparam.lower_bound.bound", "")
    gdn = {f"{p}.{i}.{n}{r}" for p in ("g_a", "g_s") for i in (1, 3, 5) for n in ("beta", "gamma") for r in rest}
    convs = {f"{p}.{i}.{n}" for p in ("g_a", "g_s") for i in (0, 2, 4, 6) for n in ("weight", "bias")}
    assert set(state) == gdn | convs
    assert state["g_s.0.weight"].shape == (8, 6, 5, 5) and state["g_a.6.weight"].shape == (8, 6, 5, 5)


def test_gdn_by_hand() -> None:
    module, plain = small("gdn", "transforms", width=3, latent=4)
    x, w = torch.randn(1, 3, 32, 32, dtype=torch.float64), module.state_dict()
    h = F.conv2d(x, w["g_a.0.weight"], w["g_a.0.bias"], stride=2, padding=2)
    beta, gamma = (w[f"g_a.1.{name}"].clamp(min=float(w[f"g_a.1.{name}_reparam.lower_bound.bound"])) ** 2 - 2.0**-36
                   for name in ("beta", "gamma"))  # fmt: skip
    normed = torch.stack(
        [h[:, i] / (beta[i] + sum(gamma[i, j] * h[:, j] ** 2 for j in range(3))).sqrt() for i in range(3)], 1
    )
    with torch.no_grad():
        assert torch.allclose(module.get_submodule("g_a.1")(module.get_submodule("g_a.0")(x)), normed, atol=1e-12)
        for a, b in zip(module(x), plain(x), strict=True):
            assert torch.equal(a, b)


def test_momentum_resnet_by_hand() -> None:
    """The velocity of a stage, from torchvision's blocks with the same weights."""
    program = archlang.compile(MOMENTUM, "net").program
    torch.manual_seed(0)
    plain = InterpreterModule(program, torch.float64).eval()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    w, gamma, v, y = plain.state_dict(), 0.9, torch.zeros_like(x), x
    for i in range(3):
        f = f"m.{i}.f"
        h = F.conv2d(y, w[f"{f}.conv1.weight"], padding=1) / math.sqrt(1 + 1e-5)
        h = F.conv2d(h.relu(), w[f"{f}.conv2.weight"], padding=1) / math.sqrt(1 + 1e-5)
        v = gamma * v + (1 - gamma) * h
        y = y + v
    with torch.no_grad():
        features, velocity = plain(x)
        assert torch.allclose(features, y, atol=1e-12) and torch.allclose(velocity, v, atol=1e-12)
        module = archlang.build(SPECS / "momentum_resnet.arch", "momentum_resnet18", classes=3)
        assert module(torch.randn(2, 3, 64, 64)).shape == (2, 3)


MOMENTUM = """
use std.dynamics: momentum
use zoo.momentum_resnet: residual
block net(x: [B, 4, H, W]) { return (x, x * 0.0) -> m: chain([momentum(f: residual(4), 0.9) for _ in 0..3]) }
"""


def test_neural_ode_has_the_published_keys() -> None:
    module = archlang.build(SPECS / "neural_ode.arch", "odenet")
    parts = [*(str(i) for i in (0, 1, 3, 4, 6, 8, 12)), *(f"7.odefunc.norm{i}" for i in (1, 2, 3))]
    parts += [f"7.odefunc.conv{i}._layer" for i in (1, 2)]
    assert set(module.state_dict()) == {f"{part}.{name}" for part in parts for name in ("weight", "bias")}


def test_runge_kutta_is_of_fourth_order() -> None:
    """x' = (t - 1) x from 1 at t = 0 gives exp(-1 / 2) at t = 1."""
    errors = []
    for steps in (16, 32):
        text = f"""
            use std.dynamics: rk4
            block rate(x, t) {{ return (t - 1) * x }}
            block net(x: [B, 1]) {{ return x -> rk4(rate, {steps}) }}
        """
        module = InterpreterModule(archlang.compile(text, "net").program, torch.float64)
        errors.append(abs(module(torch.ones(1, 1, dtype=torch.float64)).item() - math.exp(-0.5)))
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.3


def test_residual_flow_is_undone_to_its_tolerance() -> None:
    path = SPECS / "residual_flow.arch"
    params: dict[str, Any] = {"blocks": [1, 1], "width": 4, "dense_width": 4, "coeff": 0.8}
    torch.manual_seed(0)
    module = InterpreterModule(archlang.compile(path, "residual_flow", **params).program, torch.float64).eval()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        back = module.interpreter.inverse([module(x)], module.tensors, sizes={"B": 1})
    assert ((back - x).norm() / x.norm()).item() < 6 * 1e-6 * 2  # six iterated blocks, each up to 1e-6
