"""A generated network with one reversible region, and the same network without: what the conditions are tested on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from archlang.codegen import generate
from archlang.loading import root_class
from tests.codegen.load import flat
from tests.reversible.helpers import program

SPEC = """
use std.reversible: coupling

block branch(c: int, drop: float)(x) {
    x = x -> one: conv(c, 3, padding=1) -> norm: batchnorm -> relu -> drop: dropout(drop)
    return x -> two: conv(c, 3, padding=1)
}

## The last stream update reads context.
reversible block mixed(f: module, g: module)(a, b; c) {
    a += f(b)
    b = 1.5 * b + g(a) * c
}

block net(drop: float = 0.0, depth: int = 3)(x: [B, 8, H, W], c: [B, 4, H, W]) {
    a, b = x -> halves
    a, b = (a, b) -> body: chain([coupling(branch(4, drop), branch(4, drop)) for _ in 0..depth])
    a, b = (a, b; c) -> last: mixed(branch(4, drop), branch(4, drop))
    return a, b
}
"""


def source(*, overlap: bool = False, **params: Any) -> str:
    return generate(program(SPEC, "net", **params), source_name="net.arch", overlap=overlap)


def namespace(text: str, name: str = "generated_reversible") -> Any:
    """The generated file as a module that pickle and inspect find."""
    import sys
    import types

    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, f"{name}.py", "exec"), module.__dict__)
    return module


class Pair:
    """The network as generated, and its twin whose blocks autograd keeps."""

    def __init__(self, dtype: torch.dtype = torch.float64, *, overlap: bool = False, **params: Any) -> None:
        text = source(overlap=overlap, **params)
        self.ours_module = namespace(text)
        plain = namespace(text, "generated_plain")
        plain.rebuild = lambda block, *inputs, **_: tuple(
            flat(block(*inputs) if isinstance(block, nn.Module) else block(plain.Plain(), *inputs))
        )
        torch.manual_seed(0)
        self.ours: nn.Module = root_class(self.ours_module)().to(dtype)
        for parameter in self.ours.parameters():
            nn.init.normal_(parameter, std=0.2)
        self.plain: nn.Module = root_class(plain)().to(dtype)
        self.plain.load_state_dict(self.ours.state_dict())
        self.dtype = dtype

    @property
    def both(self) -> tuple[nn.Module, nn.Module]:
        return self.ours, self.plain

    def inputs(self, seed: int = 0, *, gradient: bool = True) -> tuple[Tensor, Tensor]:
        made = torch.Generator().manual_seed(seed)
        x = torch.randn(2, 8, 5, 6, generator=made, dtype=self.dtype)
        c = torch.rand(2, 4, 5, 6, generator=made, dtype=self.dtype) + 0.5
        return x.requires_grad_(gradient), c.requires_grad_(gradient)


def loss(results: Any) -> Tensor:
    """Tells the streams apart, and all their elements."""
    total = torch.zeros((), dtype=torch.float64)
    for number, t in enumerate(flat(results)):
        total = total + ((t * (number + 1)).sin() * t).double().sum()
    return total


def gradients(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor | None]:
    """Of the inputs, then of the weights, by `backward`."""
    given = tuple(t.detach().requires_grad_(t.requires_grad) for t in inputs)
    net.zero_grad()
    loss(net(*given)).backward()
    return [t.grad for t in (*given, *net.parameters())]


def assert_same(ours: list[Tensor | None], plain: list[Tensor | None], tolerance: float = 1e-11) -> None:
    """Relative to each tensor, and to the largest of all where a gradient is zero but for rounding."""
    scale = max(float(t.abs().max()) for t in plain if t is not None)
    for a, b in zip(ours, plain, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * scale)


def state(net: nn.Module) -> list[Tensor]:
    return [b.clone() for b in net.buffers()]
