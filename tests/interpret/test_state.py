"""Buffers, random draws, and fresh weights, against torch's own modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archlang.interpret import InterpreterModule
from archlang.interpret.initial import initial_state
from archlang.ir.check import check
from archlang.ir.graph import Init
from archlang.ops.base import Context, registry
from tests.ir.build import Build, constant


def normed(count: int) -> InterpreterModule:
    u = Build("unit", "B L")
    x = u.input("x", "B 3 L")
    u.output(u.op("rrelu", u.op("batchnorm", x, path="bn")))
    net = Build("net", "B L")
    net.output(net.call(u.graph, net.input("x", "B 3 L"), path="0", count=count)[0])
    check(net.program(), registry(), Context)
    return InterpreterModule(net.program(), torch.float64)


class Unit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rrelu(self.bn(x), training=self.training)


def test_buffers_are_updated_in_place_and_draws_come_in_torchs_order() -> None:
    ours, theirs = normed(3), nn.Sequential(Unit(), Unit(), Unit()).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor), key
    before = ours.tensors["1.bn.running_mean"]
    for seed in range(3):
        x = torch.randn(4, 3, 5, dtype=torch.float64)
        torch.manual_seed(seed)
        expected = theirs(x)
        torch.manual_seed(seed)
        assert torch.equal(ours(x), expected)
    assert ours.tensors["1.bn.running_mean"] is before
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor), key
    assert ours.state_dict()["2.bn.num_batches_tracked"] == 3
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_fresh_weights_follow_their_initialisers_and_dtypes() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 4")
    net.op("linear", x, path="fc", out_features=4, init=Init("eye"), bias_init=constant(0.25))
    net.weight("w", (2, 3), init=constant(3.0), dtype="float64")
    net.weight("n", (2,), init=Init("ones"), dtype="int64", kind="buffer")
    net.weight("bare", (2,))
    net.output(x)
    state = initial_state(net.program(), torch.bfloat16)
    assert {k: v.dtype for k, v in state.items()} == {
        "w": torch.float64, "bare": torch.bfloat16, "n": torch.int64,
        "fc.weight": torch.bfloat16, "fc.bias": torch.bfloat16,
    }  # fmt: skip
    assert torch.equal(state["fc.weight"].float(), torch.eye(4))
    assert state["fc.bias"].tolist() == [0.25] * 4
    assert state["w"].tolist() == [[3.0] * 3] * 2
    assert state["bare"].tolist() == [0.0, 0.0]


def test_a_partly_initialised_op_keeps_torchs_default_for_the_rest() -> None:
    net = Build("net", "B")
    net.output(net.op("linear", net.input("x", "B 4"), path="fc", out_features=200, bias_init=constant(7.0)))
    torch.manual_seed(3)
    state = initial_state(net.program())
    torch.manual_seed(3)
    twin = nn.Linear(4, 200)
    assert torch.equal(state["fc.weight"], twin.weight)
    assert state["fc.bias"].unique().tolist() == [7.0]


def test_members_of_a_run_start_from_values_of_their_own() -> None:
    net = Build("net", "B")
    net.output(net.op("linear", net.input("x", "B 4"), path="0", count=3, out_features=4))
    state = initial_state(net.program())
    assert not torch.equal(state["0.weight"], state["1.weight"])
    assert not torch.equal(state["1.weight"], state["2.weight"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_casting_keeps_values_and_makes_new_leaves(dtype: torch.dtype) -> None:
    module = normed(1)
    module(torch.randn(2, 3, 4, dtype=torch.float64)).sum().backward()
    module.to(dtype)
    assert all(p.dtype == dtype and p.is_leaf and p.requires_grad and p.grad is None for p in module.parameters())
    assert module.state_dict()["0.bn.num_batches_tracked"].dtype == torch.int64
    module(torch.randn(2, 3, 4, dtype=dtype)).sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    module.zero_grad()
    assert all(p.grad is None for p in module.parameters())


def test_helper_modules_are_initialised_from_their_source() -> None:
    net = Build("net", "B H W")
    net.output(net.op("layernorm2d", net.input("x", "B 3 H W"), path="norm"))
    state = initial_state(net.program())
    assert state["norm.weight"].tolist() == [1.0] * 3
    assert state["norm.bias"].tolist() == [0.0] * 3
