"""Log-determinants that follow from proofs, run by the interpreter, against torch's Jacobians in float64."""

from __future__ import annotations

import pytest
import torch

from archlang.interpret import InterpreterModule
from archlang.ir.check import check
from archlang.ir.graph import Program
from archlang.ops.base import Context, registry
from archlang.report.diagnostic import ArchError
from archlang.reversible import with_log_det
from tests.reversible.helpers import program, shape_at

STEP = """
    reversible block step(x) {
        x = x -> norm: actnorm -> mix: invertible_conv(lu=true)
        a, b = x -> halves
        s, t = a -> net: conv(b.channels * 2, 3, padding=1) -> halves
        b = exp(tanh(s)) * b + t
        weight k: [2, 1, 1] = 0.5, nonzero
        a *= k
        b = (b - 1) / 3
        a = -2 * a
        x = concat([b, a])
        x = leaky_relu(x, 0.3)
    }
"""
GROW = "reversible block grow(a) { new b = a -> f: linear(4) }\n"
BLOCKS = {
    "factors": STEP + "block net(x: [B, 4, 3, 2]) { return x -> s: step }",
    "chain": STEP + "block net(x: [B, 4, 2, 2]) { return x -> c: chain([step() for _ in 0..3]) -> t: triangular_conv }",
    "inverse": """
        reversible block mixed(x) { x = x -> n: actnorm -> m: invertible_conv -> tanh }
        block net(x: [B, 4, 2, 2]) {
            m = mixed()
            return x -> c: triangular_conv(diagonal="exp") -> tanh -> ~m -> d: ~invertible_conv -> asinh
        }""",
    "volume": """
        use std.reversible: coupling
        block net(a: [B, 2, 2, 2], b: [B, 2, 2, 2]) { return (a, b) -> c: coupling(conv(2, 1), conv(2, 1)) }""",
    "context": """
        reversible block step(x; c) { x *= exp(tanh(c)) }
        reversible block net(x: [B, 3]; c: [B, 3]) { x = (x; c) -> chain([step, step]) }""",
    "constant": "reversible block net(x: [B, 2, 3]) { x = x / 4 + 1 }",
    "space": "block net(x: [B, 1, 4, 4]) { return x -> space_to_depth(2) -> g: gdn -> haar: orthogonal_conv }",
}


def determinants(text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-determinants of the root block as they are computed, and those of the Jacobian, two samples."""
    found = program(text)
    measured = Program.of(with_log_det(found.root))
    check(measured, registry(), Context)
    torch.manual_seed(0)
    module = InterpreterModule(measured, torch.float64).eval()
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    env = {"B": 2}
    streams = [torch.rand(shape_at(v.type.shape, env), dtype=torch.float64) - 0.5 for v in found.root.streams]
    ports = [v for port in found.root.inputs if port.context for v in port.values]
    context = [torch.rand(shape_at(v.type.shape, env), dtype=torch.float64) for v in ports]
    sizes = [x[0].numel() for x in streams]
    expected = []
    for i in range(2):

        def one(flat: torch.Tensor, i: int = i) -> torch.Tensor:
            parts = [p.view(x[i].shape) for p, x in zip(flat.split(sizes), streams, strict=True)]
            whole = [
                torch.stack([p if j == i else x[j] for j in range(2)]) for p, x in zip(parts, streams, strict=True)
            ]
            return torch.cat([y[i].flatten() for y in module(*whole, *context)[:-1]])

        jacobian = torch.autograd.functional.jacobian(one, torch.cat([x[i].flatten() for x in streams]))
        expected.append(torch.linalg.slogdet(jacobian).logabsdet)
    return module(*streams, *context)[-1].detach(), torch.stack(expected)


@pytest.mark.parametrize("name", BLOCKS)
def test_log_determinants(name: str) -> None:
    found, expected = determinants(BLOCKS[name])
    assert found.shape == (2,) and torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_logdet_in_the_language() -> None:
    text = STEP + """
        block net(x: [B, 4, H, W]) {
            flow = chain([step() for _ in 0..3])
            z, d = x -> logdet(flow)
            y, e = z -> logdet(~flow)
            return z, d, y, e
        }"""  # fmt: skip
    module = InterpreterModule(program(text), torch.float64).eval()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    z, d, y, e = module(x)
    assert z.shape == x.shape and d.abs().min() > 1
    assert torch.allclose(y, x, atol=1e-12) and torch.allclose(d, -e, atol=1e-10)
    assert {name.partition(".")[0] for name, _ in module.named_parameters()} == {"flow"}
    gradients = torch.autograd.grad(d.sum(), [p for n, p in module.named_parameters() if n.endswith("scale")])
    assert all(gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize(
    "body, message",
    [
        (GROW + "block net(x: [B, 4]) { return x -> logdet(grow) }", "new"),
        ("block net(x: [B, 4]) { return x -> logdet(linear(4)) }", "`linear` cannot be undone"),
        ("block net(x: [2, 4]) { return x -> logdet(transpose(0, 1)) }", "counts the samples"),
        ("block net(x: [B, 4]) { return logdet(x) }", "takes a module"),
    ],
)  # fmt: skip
def test_what_has_none(body: str, message: str) -> None:
    with pytest.raises(ArchError) as caught:
        program(body)
    found = next(d for d in caught.value.diagnostics if d.severity.value == "error")
    assert found.code == "ARC0630" and message in found.message


def test_cost_counts_what_runs() -> None:
    from archlang.analyze import cost

    step = "block net(x: [B, 4, 8, 8]) { m = invertible_conv()\n return x -> m -> ~m }"
    measured = "block net(x: [B, 4, 8, 8]) { return x -> logdet(m: invertible_conv) }"
    both, one = (cost(program(text)) for text in (step, measured))
    assert both.macs == 2 * one.macs and "log_det" in one.by_op
