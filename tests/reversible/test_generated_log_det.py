"""Log-determinants and iterated inverses in generated code: as the interpreter's, and as torch's Jacobians."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import archlang
from archlang.certify.measure import saved
from archlang.codegen import generate
from archlang.interpret import InterpreterModule
from archlang.ir.graph import Program, TensorType
from archlang.ops.base import REQUIRED, Context, Op, OpError, registry
from tests.codegen.load import flat, load
from tests.reversible.helpers import program
from tests.reversible.test_contraction import RESIDUAL, layers
from tests.reversible.test_generated import inputs, wrapped
from tests.reversible.test_log_det import BLOCKS, STEP

CONTEXT = """
    reversible block residual(f: module)(x; c) { x += 0.5 * tanh(f(x) + c) }
    reversible block net(x: [B, 3, 2, 2]; c: [B, 3, 2, 2]) {
        x = (x; c) -> r: residual(lipschitz_conv(3, 3, domain=1))
    }"""
NETS = {**BLOCKS, "contractions": layers(2), "a branch with context": CONTEXT}


def measured(text: str) -> Program:
    """The block `net` inside another, which returns its log-determinant, too."""
    return program(wrapped(text).replace("inner: net()", "logdet(inner: net())"), "outer")


def pair(found: Program) -> tuple[Any, InterpreterModule]:
    """The generated module and the interpreter's, in float64, with the same weights."""
    torch.manual_seed(0)
    module = load(generate(found, source_name="net.arch")).root().double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    oracle = InterpreterModule(found, torch.float64)
    oracle.load_state_dict(module.state_dict())
    return module, oracle


def jacobian(module: Any, given: list[torch.Tensor], streams: int) -> torch.Tensor:
    """log|det J| of the results but the last, for each sample, from the Jacobian of the whole batch."""
    batch, sizes = len(given[0]), [x[0].numel() for x in given[:streams]]

    def one(x: torch.Tensor) -> torch.Tensor:
        parts = [p.reshape(g.shape) for p, g in zip(x.split(sizes, 1), given, strict=False)]
        return torch.cat([y.flatten(1) for y in flat(module(*parts, *given[streams:]))[:-1]], 1)

    x = torch.cat([g.flatten(1) for g in given[:streams]], 1)
    whole = torch.autograd.functional.jacobian(one, x)
    return torch.stack([torch.linalg.slogdet(whole[i, :, i]).logabsdet for i in range(batch)])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_as_the_interpreter(name: str, training: bool) -> None:
    found = measured(NETS[name])
    module, oracle = pair(found)
    module.train(training)
    oracle.train(training)
    given = inputs(found, {"B": 2})
    with torch.no_grad():
        torch.manual_seed(1)
        ours = flat(module(*given))
        torch.manual_seed(1)
        theirs = flat(oracle(*given))
    for a, b in zip(ours, theirs, strict=True):
        assert not a.requires_grad and torch.allclose(a, b, rtol=1e-14, atol=1e-14)
    for (key, a), b in zip(module.state_dict().items(), oracle.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-14), key


@pytest.mark.parametrize("name", NETS)
def test_as_the_jacobian(name: str) -> None:
    found = measured(NETS[name])
    module, _ = pair(found)
    given = inputs(found, {"B": 2})
    given = [0.4 * g for g in given] if name == "inverse" else given  # inside the range of tanh
    inner = program(NETS[name], "net").root
    log_det = flat(module.eval()(*given))[-1]
    assert torch.allclose(log_det, jacobian(module, given, len(inner.streams)), rtol=0, atol=1e-10)


OPS = {
    "actnorm": ["actnorm"],
    "gdn": ["gdn"],
    "invertible_conv": ["invertible_conv", "invertible_conv(lu=true)"],
    "invertible_linear": ["permute([0, 2, 3, 1]) -> invertible_linear"],
    "triangular_conv": ["triangular_conv", 'triangular_conv(order="BR", diagonal="exp")', "~triangular_conv"],
    **{name: [name] for name in ("asinh", "celu", "elu", "exp", "expm1", "leaky_relu", "logsigmoid", "sigmoid")},
    **{name: [name] for name in ("sinh", "softplus", "softsign", "tanh")},
    **{name: [f"exp -> {name}"] for name in ("log", "log1p")},
    **{name: [f"sigmoid -> {name}"] for name in ("logit", "atanh")},
}


def test_every_op_with_a_determinant_is_here() -> None:
    """That is: every bijection, of those without attributes that must be given, that changes the volume."""
    found = set(OPS)
    for name, op in registry().items():
        if type(op).bijection is not Op.bijection:
            attrs = {p.name: p.default for p in op.params}
            if any(value is REQUIRED for value in attrs.values()):
                continue  # sizes, an order: it moves only
            with contextlib.suppress(OpError):  # of another rank
                types = [TensorType((2, 4, 3, 2))]
                bijection = op.bijection(types, op.resolve(types, attrs, Context()))
                if bijection is not None and bijection.grade == "bijective" and not bijection.volume:
                    found.discard(name)
                    assert name in OPS, name
    assert found <= {"invertible_linear"}, found


@pytest.mark.parametrize("call", [call for calls in OPS.values() for call in calls])
def test_ops(call: str) -> None:
    found = program(f"block net(x: [B, 4, 3, 2]) {{ m = {call}\n return x -> logdet(m) }}")
    module, oracle = pair(found)
    given = inputs(found, {"B": 2})
    _, log_det = module.eval()(*given)
    assert torch.allclose(log_det, oracle.eval()(*given)[-1], rtol=1e-12, atol=1e-12)
    assert torch.allclose(log_det, jacobian(module, given, 1), rtol=0, atol=1e-9)


def test_loops_stay_rolled() -> None:
    text = generate(measured(STEP + """
        block net(x: [B, 4, 2, 2]) { return x -> c: chain([step() for _ in 0..9]) -> d: ~chain([step() for _ in 0..9]) }
    """), source_name="net.arch")  # fmt: skip
    assert text.count("with_log_det(layer, ") == 1 and text.count("undo(layer, ") == 1
    assert "[8]" not in text


def test_passes_over_two_lists_are_loops() -> None:
    text = (
        RESIDUAL
        + """block net(x: [B, 3]) {
        for i in 0..5 { x = x -> "f.{i}": residual(lipschitz_linear(3)) -> "n.{i}": actnorm }
        return x
    }"""
    )
    source = generate(program(text), source_name="net.arch", log_det=True)
    assert "log_det_of(layer_, " in source and source.count(" with_log_det(layer, ") == 1


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["contractions", "a branch with context"])
def test_iterated_inverse(name: str, training: bool) -> None:
    found = program(NETS[name], "net")
    module, oracle = pair(found)
    module.train(training)
    given = inputs(found, {"B": 2})
    context = given[len(found.root.streams) :]
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with torch.no_grad():
        y = torch.randn_like(given[0])
        ours = module.inverse(y, *context)
        theirs = oracle.interpreter.inverse([y, *context], oracle.tensors, training, sizes={"B": 2})
        assert torch.allclose(ours, theirs, rtol=1e-14, atol=1e-14)
        assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
        if not training:  # a forward pass goes on with the power iteration
            assert (module(ours, *context) - y).norm() / y.norm() < 5e-6


def test_the_gradient_of_an_exact_log_determinant() -> None:
    """Through the generated module, against the gradient of the Jacobian's own determinant."""
    found = measured(RESIDUAL + "block net(x: [B, 3]) { return x -> r: residual(lipschitz_linear(4) -> elu -> "
                     "lipschitz_linear(3)) }")  # fmt: skip
    module, _ = pair(found)
    (x,) = inputs(found, {"B": 1})
    weights = list(module.eval().parameters())
    matrix = torch.autograd.functional.jacobian(lambda x: module(x)[0], x, create_graph=True)
    expected = torch.autograd.grad(torch.linalg.slogdet(matrix[0, :, 0]).logabsdet, weights, allow_unused=True)
    ours = torch.autograd.grad(module(x)[1].sum(), weights, allow_unused=True)
    for a, b in zip(ours, expected, strict=True):
        assert (a is None) == (b is None) or not float((b if a is None else a).abs().max())  # type: ignore[union-attr]
        assert a is None or b is None or torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_residual_flow_in_small() -> None:
    """The whole published design, one block a scale, in generated code: its inverse to the tolerance."""
    from tests.parity.test_flows import SPECS

    params: dict[str, Any] = {"blocks": [1, 1], "width": 4, "dense_width": 4, "coeff": 0.8}
    module = archlang.build(SPECS / "residual_flow.arch", "residual_flow", **params).double().eval()
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        back = module.inverse(module(x))  # type: ignore[operator]
    assert ((back - x).norm() / x.norm()).item() < 6 * 1e-6 * 2


def test_the_whole_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from archlang.cli import main

    flow = "block net(x: [B, 4]) { return x -> "
    for text, code in ((flow + "m: invertible_linear }", 0), (flow + "linear(4) }", 1), (flow.replace(
        "return x", "return z=x") + "m: invertible_linear }", 0)):  # fmt: skip
        (tmp_path / "net.arch").write_text(text, encoding="utf-8")
        found = main(["compile", str(tmp_path / "net.arch"), "--log-det"])
        printed = capsys.readouterr()
        assert found == code and ("with_log_det" in printed.out) == (not code)
        assert not code or "ARC0630" in printed.err
    module = load(generate(program(flow + "m: invertible_linear }"), source_name="net.arch", log_det=True)).root()
    with torch.no_grad():
        z, log_det = module.with_log_det(torch.ones(3, 4))
        module.m.weight *= 2
        assert z.shape == (3, 4)
        assert torch.allclose(module.with_log_det(torch.ones(3, 4))[1] - log_det, torch.full((3,), 4 * math.log(2)))


FLOW = """
use std.flows: affine
reversible block unit(x) {
    x = x -> act: actnorm -> mix: invertible_conv -> coupling: affine(conv(8, 3, padding=1), bound=0.25)
}
block net(depth: int = 6)(x: [B, 8, H, W]) {
    z, log_det = x -> flow: logdet(chain([unit() for _ in 0..depth]))
    return z, log_det
}
"""


def twins(found: Program) -> list[Any]:
    """The generated module, and one that leaves all to autograd."""
    modules = [load(generate(found, source_name="net.arch", rebuild=kept)).root().double() for kept in (True, False)]
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in modules[0].parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    modules[1].load_state_dict(modules[0].state_dict())
    return modules


@pytest.mark.parametrize("name", [*NETS, "flow"])
def test_gradients_are_autograds(name: str) -> None:
    found = program(FLOW, "net") if name == "flow" else measured(NETS[name])
    results = []
    for module in twins(found):
        scale = 0.4 if name == "inverse" else 1.0  # inside the range of tanh
        given = [(scale * g).requires_grad_() for g in inputs(found, {"B": 2, "H": 5, "W": 4})]
        with torch.no_grad():
            module(*given)  # starts the scales
        torch.manual_seed(1)
        outs = flat(module(*given))
        sum((y.square().sum() for y in outs), torch.zeros(())).backward()
        results.append([*outs, *(g.grad for g in given), *(p.grad for p in module.parameters())])
    for ours, theirs in zip(*results, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10 * float(theirs.detach().abs().max()))


def test_training_a_flow_keeps_its_results_alone() -> None:
    """Beside what is read of weights, bytes do not grow with depth, but by an anchor every few blocks."""
    kept = {}
    for depth in (6, 12):
        found = archlang.compile(FLOW, depth=depth).program
        for module, rebuilt in zip(twins(found), (True, False), strict=True):
            given = inputs(found, {"B": 8, "H": 8, "W": 8})
            module(*given)  # starts the scales
            record, _ = saved(lambda m=module, x=given: m(*x), [*module.parameters(), *module.buffers()])
            kept[depth, rebuilt] = record.total
    assert kept[12, True] - kept[6, True] < 0.3 * (kept[12, False] - kept[6, False])
    assert kept[12, True] < 0.25 * kept[12, False]
