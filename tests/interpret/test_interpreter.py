"""The interpreter against torch, written out by hand for each program."""

from __future__ import annotations

import math
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from archlang.interpret import InterpreterModule, InterpretError
from archlang.ir.check import check
from archlang.ir.graph import NONZERO_EPS, Init, Program, TensorType
from archlang.ops.base import Context, registry
from archlang.shapes.dim import symbol
from tests.ir.build import Build, constant, extern
from tests.ir.nets import borrowed, phases, residual, tower


def interpreted(program: Program, dtype: torch.dtype = torch.float64) -> InterpreterModule:
    check(program, registry(), Context)
    torch.manual_seed(0)
    return InterpreterModule(program, dtype)


def test_residual_net_equals_torch_in_outputs_and_gradients() -> None:
    program, net = residual()
    net = net.double()
    module = interpreted(program)
    assert list(module.state_dict()) == list(net.state_dict())
    module.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    ours, theirs = module(x), net(x)
    assert torch.equal(ours, theirs)
    ours.square().sum().backward()
    mine = x.grad
    x.grad = None
    theirs.square().sum().backward()
    assert torch.equal(mine, x.grad)
    grads = {name: p.grad for name, p in net.named_parameters()}
    assert {name for name, _ in module.named_parameters()} == set(grads)
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter.grad, grads[name]), name


def test_default_initialisation_is_torchs() -> None:
    program, net = residual()
    fan_in = {name: p[0].numel() for name, p in net.named_parameters() if name.endswith("weight")}
    for name, p in interpreted(program).named_parameters():
        bound = 1 / math.sqrt(fan_in[name.replace("bias", "weight")])
        assert 0.3 * bound < p.abs().max() <= bound, name


def test_run_of_1000_is_1000_applications_with_weights_of_their_own() -> None:
    module = interpreted(tower(1000))
    state = module.state_dict()
    assert len(state) == 3000
    x = torch.randn(2, 3, dtype=torch.float64)
    y = x
    for i in range(1000):
        at = f"units.{i}."
        y = y + torch.tanh(F.linear(y, state[at + "fc.weight"], state[at + "fc.bias"])) * state[at + "scale"]
    assert torch.equal(module(x), y)


def test_borrowed_modules_use_the_lenders_weights_through_the_call_chain() -> None:
    module = interpreted(borrowed())
    state = module.state_dict()
    assert set(state) == {"m.weight", "m.bias", "own.weight", "own.bias"}
    x, y = torch.randn(2, 3, 4, dtype=torch.float64).unbind()
    leaves = {k: v.clone().requires_grad_() for k, v in state.items()}

    def m(v: torch.Tensor) -> torch.Tensor:
        return F.linear(v, leaves["m.weight"], leaves["m.bias"])

    def own(v: torch.Tensor) -> torch.Tensor:
        return F.linear(v, leaves["own.weight"], leaves["own.bias"])

    a = x + torch.tanh(m(y))
    b = y + own(a)
    a = a + torch.tanh(m(b))
    b = b + m(a)
    expected = a + b + own(x)
    actual = module(x, y)
    assert torch.equal(actual, expected)
    actual.sum().backward()
    expected.sum().backward()
    for name, parameter in module.named_parameters():
        assert torch.allclose(parameter.grad, leaves[name].grad, rtol=1e-12), name


def test_phases_lists_context_and_named_training_outputs() -> None:
    module = interpreted(phases())
    state = module.state_dict()
    a, b, c = torch.randn(3, 2, 4, dtype=torch.float64).unbind()

    def head(at: str, z: torch.Tensor) -> torch.Tensor:
        return F.linear(z, state[f"{at}.fc.weight"]) * F.linear(c, state[f"{at}.sc.weight"], state[f"{at}.sc.bias"])

    train = module([a, b], c)
    z = (a + b) * 3
    assert train._fields == ("output", "aux", "seen")
    assert torch.equal(train.output[0], head("head", z))
    assert torch.equal(train.output[1], z)
    assert torch.equal(train.aux, head("aux", z))
    assert torch.equal(train.seen, z + z)
    quiet = module.eval()([a, b], c)
    assert isinstance(quiet, list)
    z = torch.tanh(a + b)
    assert torch.equal(quiet[0], head("head", z))
    assert torch.equal(quiet[1], z)


def test_a_run_hands_its_streams_on_and_gives_each_the_same_context() -> None:
    u = Build("unit", "B")
    a, b, c = u.input("a", "B 2"), u.input("b", "B 2"), u.input("c", "B 2", context=True)
    mixed = u.op("add", u.op("linear", a, path="fc", out_features=2), c)
    u.output(u.op("add", b, mixed))
    u.output(a)
    net = Build("net", "B")
    x, y, z = net.input("x", "B 2"), net.input("y", "B 2"), net.input("z", "B 2")
    for value in net.call(u.graph, x, y, z, path="0", count=5):
        net.output(value)
    module = interpreted(net.program())
    state = module.state_dict()
    p, q, r = torch.randn(3, 4, 2, dtype=torch.float64).unbind()
    actual = module(p, q, r)
    for i in range(5):
        p, q = q + (F.linear(p, state[f"{i}.fc.weight"], state[f"{i}.fc.bias"]) + r), p
    assert type(actual) is tuple
    assert torch.equal(actual[0], p)
    assert torch.equal(actual[1], q)


def test_a_run_of_an_op() -> None:
    net = Build("net", "B")
    net.output(net.op("linear", net.input("x", "B 3"), path="fc.2", count=4, out_features=3))
    module = interpreted(net.program())
    layers = nn.Sequential(*(nn.Linear(3, 3) for _ in range(4))).double()
    module.load_state_dict({f"fc.{int(k[0]) + 2}{k[1:]}": v for k, v in layers.state_dict().items()})
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(module(x), layers(x))


def test_counted_children_lent_one_by_one_and_as_a_run() -> None:
    """A block that borrows `f.0`, `f.1`, `f.2` as one slot runs three of the caller's five layers."""
    lender = Build("lender", "B")
    lender.op("linear", lender.input("x", "B 3"), path="layers.0", count=5, out_features=3)
    child = lender.graph.children["layers.0"]
    user = Build("user", "B")
    user.borrow("f.0", child)
    user.graph.borrowed["f.0"].count = 3
    x = user.op("linear", user.input("x", "B 3"), path="f.2", out_features=3)
    user.output(user.op("linear", x, path="f.0", count=2, out_features=3))
    net = Build("net", "B")
    net.graph.children["layers.0"] = child
    (y,) = net.call(user.graph, net.input("x", "B 3"), path="user", modules={"f.0": "layers.1"})
    net.output(y)
    module = interpreted(net.program())
    s = module.state_dict()
    x = y = torch.randn(2, 3, dtype=torch.float64)
    for i in (3, 1, 2):
        y = F.linear(y, s[f"layers.{i}.weight"], s[f"layers.{i}.bias"])
    assert torch.equal(module(x), y)


def test_an_alias_is_one_tensor_under_two_keys() -> None:
    net = Build("net", "B")
    x = net.op("linear", net.input("x", "B 3"), path="a", out_features=3, bias=False)
    net.graph.aliases["b.c"] = "a"
    net.output(net.op("linear", x, path="b.c", out_features=3, bias=False))
    module = interpreted(net.program())
    twin = nn.Module()
    twin.a = nn.Linear(3, 3, bias=False).double()
    twin.b = nn.Module()
    twin.b.c = twin.a
    assert list(module.state_dict()) == list(twin.state_dict()) == ["a.weight", "b.c.weight"]
    module.load_state_dict(twin.state_dict())
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(module(x), twin.a(twin.a(x)))
    assert [name for name, _ in module.named_parameters()] == ["a.weight"]


def test_nonzero_is_applied_at_every_read() -> None:
    net = Build("net", "B")
    w = net.weight("w", (5,), init=constant(1.0), constraint="nonzero")
    net.output(net.op("mul", net.input("x", "B 5"), w))
    module = interpreted(net.program())
    module.load_state_dict({"w": torch.tensor([0.0, -0.0, 1e-9, -1e-9, -2.0], dtype=torch.float64)})
    out = module(torch.ones(1, 5, dtype=torch.float64))
    assert out.tolist() == [[NONZERO_EPS, NONZERO_EPS, NONZERO_EPS, -NONZERO_EPS, -2.0]]
    assert module.state_dict()["w"].tolist() == [0.0, 0.0, 1e-9, -1e-9, -2.0]


def test_symbols_are_solved_and_symbolic_attributes_evaluated() -> None:
    b, h, w = symbol("B"), symbol("H"), symbol("W")
    net = Build("net", "B H W")
    x = net.input("x", "B 2 H W")
    x.type = TensorType((b, 2, 2 * h + 1, w))
    net.output(net.op("reshape", x, shape=(b, 2 * w, 2 * h + 1)))
    module = interpreted(net.program())
    x = torch.randn(3, 2, 7, 5, dtype=torch.float64)
    assert torch.equal(module(x), x.reshape(3, 10, 7))
    with pytest.raises(InterpretError, match=r"`2\*H \+ 1` equal to 6"):
        module(torch.randn(3, 2, 6, 5, dtype=torch.float64))


def test_constraints_hold_or_name_their_sizes() -> None:
    net = Build("net", "B H W")
    net.output(net.op("conv", net.input("x", "B 1 H W"), path="c", out_channels=1, kernel_size=5))
    module = interpreted(net.program())
    assert module(torch.zeros(1, 1, 5, 6, dtype=torch.float64)).shape == (1, 1, 1, 2)
    with pytest.raises(InterpretError, match=r"does not hold at B = 1, H = 4, W = 6 \(hand.arch:2:14\)"):
        module(torch.zeros(1, 1, 4, 6, dtype=torch.float64))


def test_a_tensor_that_breaks_its_declared_type_is_caught() -> None:
    net = Build("net", "B")
    y = net.op("linear", net.input("x", "B 3"), path="fc", out_features=4)
    net.output(y)
    y.type = TensorType((symbol("B"), 5))
    module = InterpreterModule(net.program())
    with pytest.raises(InterpretError, match=r"`linear` at `fc` in `net`: float32\[2, 4\] where \[B, 5\]"):
        module(torch.zeros(2, 3))


def test_inputs_are_counted_and_ranked() -> None:
    module = interpreted(phases())
    a = torch.zeros(2, 4)
    with pytest.raises(InterpretError, match="takes 2 inputs, 1 are given"):
        module([a, a])
    with pytest.raises(InterpretError, match="`xs` holds 2 tensors, 3 are given"):
        module([a, a, a], a)
    with pytest.raises(InterpretError, match=r"input 2 has shape \[2\]"):
        module([a, a], a[:, 0])
    with pytest.raises(InterpretError, match="a size is 3 where 2 is needed"):
        module([a, torch.zeros(3, 4)], a)


class Scale(nn.Module):
    def __init__(self, n: int, by: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((n,), by))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * self.weight + (y if self.training else 0)


def test_extern_modules_and_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = types.ModuleType("archlang_test_extern")
    mine.Scale = Scale  # type: ignore[attr-defined]
    mine.shifted = lambda x, by: x + by  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, mine.__name__, mine)
    net = Build("net", "B")
    x = net.input("x", "B 3")
    y = extern(net, "deep.scale", "archlang_test_extern:Scale", x.type, x, x, n=3, by=2.5)
    net.output(extern(net, "shift", "archlang_test_extern:shifted", x.type, y, by=1.0))
    module = interpreted(net.program())
    assert list(module.state_dict()) == ["deep.scale.weight"]
    x = torch.randn(2, 3, dtype=torch.float64)
    assert torch.equal(module(x), x * 2.5 + x + 1.0)
    module.load_state_dict({"deep.scale.weight": torch.tensor([1.0, 2.0, 3.0])})
    out = module.eval()(x)
    assert torch.equal(out, x * torch.tensor([1.0, 2.0, 3.0]) + 1.0)
    out.sum().backward()
    assert torch.allclose(dict(module.named_parameters())["deep.scale.weight"].grad, x.sum(0))
    net.graph.children["shift"].attrs = net.graph.nodes[1].attrs = {"target": "archlang_test_extern:nothing"}
    with pytest.raises(InterpretError, match="`archlang_test_extern:nothing` cannot be imported"):
        InterpreterModule(net.program())


def test_state_dict_is_strict() -> None:
    module = interpreted(borrowed())
    state = module.state_dict()
    with pytest.raises(InterpretError, match=r"missing keys \['m.bias'\], unexpected keys \['n'\]"):
        module.load_state_dict({k: v for k, v in state.items() if k != "m.bias"} | {"n": state["m.bias"]})
    with pytest.raises(InterpretError, match=r"`own.bias` has shape \[3\], not \[4\]"):
        module.load_state_dict(state | {"own.bias": torch.zeros(3)})


def test_frozen_weights_and_buffers() -> None:
    net = Build("net", "B")
    x = net.input("x", "B 2")
    frozen = net.weight("frozen", (2,), init=constant(2.0), trainable=False)
    kept = net.weight("kept", (2,), init=Init("ones"), kind="buffer")
    lost = net.weight("lost", (2,), init=Init("ones"), kind="buffer", persistent=False)
    net.output(net.op("mul", net.op("mul", net.op("mul", x, frozen), kept), lost))
    module = interpreted(net.program())
    assert list(module.state_dict()) == ["frozen", "kept"]
    assert [(k, p.requires_grad) for k, p in module.named_parameters()] == [("frozen", False)]
    assert module(torch.ones(1, 2, dtype=torch.float64)).tolist() == [[2.0, 2.0]]
