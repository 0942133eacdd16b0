"""Which weights are shared, and which graphs: one per distinct block, parameters, sharing pattern and input types."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import archlang
from archlang.ir.text import to_text
from archlang.ops.base import registry
from tests.elaborate.helpers import done, graphs, ir, keys, module, shapes

TWO = """
block two(f: module, g: module)(a, b) {
    a = a + f(b)
    b = b + g(a)
    return a, b
}
"""
UNIT = "block unit(w: int, s: int = 1)(x) { return x -> c: conv(w, 3, s, padding=1) }\n"


def coupled(*calls: str) -> str:
    body = "\n".join(f"    a, b = (a, b) -> u{i}: two({call})" for i, call in enumerate(calls))
    head = "block net(x: [B, 4, H, W]) {\n    a, b = chunk(x, 2, dim=1)\n    f = conv(2, 1)\n    g = conv(2, 1)\n"
    return TWO + head + body + "\n    return concat([a, b], 1) + 0 * concat([f(a), g(b)], 1)\n}\n"


def test_the_sharing_pattern_is_part_of_the_key() -> None:
    assert graphs(coupled("f, f")) == ["two", "net"]
    assert graphs(coupled("f, g", "g, f")) == ["two", "net"]
    assert graphs(coupled("f, f", "f, g")) == ["two", "two_2", "net"]
    assert graphs(coupled("f, f", "g, g")) == ["two", "net"]


def test_inline_modules_belong_to_each_instance() -> None:
    text = coupled("conv(2, 1), conv(2, 1)", "conv(2, 1), conv(2, 1)")
    assert graphs(text) == ["two", "net"]
    assert sorted(keys(text)) == ["f", "g", "u0.f", "u0.g", "u1.f", "u1.g"]


def test_coupling_of_shared_and_of_two_branches_compute_what_they_say() -> None:
    x = torch.randn(2, 4, 3, 3)
    for call, second in (("f, f", "f"), ("f, g", "g")):
        net = module(coupled(call))
        state = net.state_dict()

        def conv(name: str, v: torch.Tensor, state: dict[str, torch.Tensor] = state) -> torch.Tensor:
            return torch.nn.functional.conv2d(v, state[f"{name}.weight"], state[f"{name}.bias"])

        a, b = x.chunk(2, 1)
        a = a + conv("f", b)
        b = b + conv(second, a)
        torch.testing.assert_close(net(x), torch.cat([a, b], 1))


def test_a_list_by_comprehension_equals_one_spelt_out() -> None:
    head = UNIT + "block net(x: [B, 3, H, W]) { return x -> d: chain("
    short = head + "[unit(8, if i == 0 then 2 else 1) for i in 0..7]) }"
    long = head + "[unit(8, 2), " + ", ".join(["unit(8)"] * 6) + "]) }"
    assert to_text(done(short).program) == to_text(done(long).program)
    assert "child 1: unit_2 x 6" in to_text(done(short).program)


def test_a_loop_over_layers_equals_a_chain() -> None:
    layers = "[unit(3) for _ in 0..9]"
    loop = f"block net(x: [B, 3, H, W]) {{\n fs = {layers}\n for f in fs {{ x = f(x) }}\n return x\n}}"
    chain = f"block net(x: [B, 3, H, W]) {{\n return x -> fs: chain({layers})\n}}"
    assert keys(UNIT + loop) == keys(UNIT + chain)
    assert "x 9" in ir(UNIT + loop)


@pytest.mark.parametrize(
    "stride, expected",
    [
        ("1 + i % 2", "12121212"),
        ("if i in [1, 5] then 2 else 1", "12111211"),
        ("[2, 1, 1, 2, 2, 1, 1, 1][i]", "21122111"),
        ("if i < 2 or i >= 6 then 2 else 1", "22111122"),
        ("if i == 3 then 2 else 1", "11121111"),
        ("if i + 1 == 8 then 2 else 1", "11111112"),
        ("1", "11111111"),
    ],
)
def test_elements_are_those_of_their_index(stride: str, expected: str) -> None:
    text = UNIT + f"block net(x: [B, 3, H, W]) {{ return x -> d: chain([unit(4, {stride}) for i in 0..8]) }}"
    assert _strides(text) == expected


def _strides(text: str) -> str:
    (chain,) = [g for g in done(text).program.graphs if g.block == "chain"]
    made = [str(c.graph.params["s"]) * c.count for c in chain.children.values() if c.graph is not None]
    return "".join(made)


def test_graphs_serve_every_resolution() -> None:
    text = UNIT + "block net(x: [B, 8, H, W]) {\n x = x -> a: unit(8)\n x = maxpool(x, 2)\n return x -> b: unit(8)\n}"
    assert graphs(text) == ["unit", "net"]
    assert graphs(text.replace("H, W", "32, 32")) == ["unit", "unit_2", "net"]


def test_parameters_make_graphs_and_equal_ones_do_not() -> None:
    text = UNIT + "block net(x: [B, 8, H, W]) { return x -> a: unit(8) -> b: unit(w=8, s=1) -> c: unit(8, 2) }"
    assert graphs(text) == ["unit", "unit_2", "net"]


def test_closures_with_other_captures_make_other_graphs() -> None:
    text = """
    block twice(make: block)(x) { return x -> a: make() -> b: make() }
    block net(x: [B, 3, H, W]) {
        for i, w in enumerate([4, 4, 5]) { x = x -> "s{i}": twice(fn() => conv(w, 1)) }
        return x
    }
    """
    assert [name for name in graphs(text) if name.startswith("twice")] == ["twice", "twice_2", "twice_3"]
    assert shapes(text)["s1.a.weight"] == (4, 4, 1, 1) and shapes(text)["s2.b.weight"] == (5, 5, 1, 1)


def test_mutually_recursive_closures_have_a_key() -> None:
    text = """
    block use_(f: fn)(x) { return x * f(4) }
    block net(x: [B, 3, H, W]) {
        fn even(n: int) => if n == 0 then 1 else odd(n - 1)
        fn odd(n: int) => if n == 0 then 0 else even(n - 1)
        return x -> a: use_(even) -> b: use_(odd)
    }
    """
    assert graphs(text) == ["use_", "use__2", "net"]


def test_a_shared_module_has_one_gradient() -> None:
    net = module("f = conv(3, 1, bias=false)\nfor i in 0..3 { x = f(x) }\nreturn x").double()
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64)
    net(x).sum().backward()
    (weight,) = net.parameters()
    own = weight.detach().clone().requires_grad_()
    y = x
    for _ in range(3):
        y = torch.nn.functional.conv2d(y, own)
    y.sum().backward()
    torch.testing.assert_close(weight.grad, own.grad)


def test_a_shared_block_may_see_several_sizes() -> None:
    text = UNIT + "block net(x: [B, 3, H, W]) {\n u = unit(3)\n return u(x), u(maxpool(x, 2))\n}"
    assert keys(text) == ["u.c"]
    small, large = torch.randn(1, 3, 4, 4), None
    net = module(text)
    large, half = net(small)
    state = net.state_dict()
    for got, x in ((large, small), (half, torch.nn.functional.max_pool2d(small, 2))):
        torch.testing.assert_close(
            got, torch.nn.functional.conv2d(x, state["u.c.weight"], state["u.c.bias"], padding=1)
        )


def test_a_named_op_without_weights_is_used_where_a_chain_applies_it() -> None:
    text = "block net(x: [B, 4, H, W]) {\n    s = pixel_shuffle(2)\n    return x -> c: chain([conv(16, 1), s])\n}\n"
    assert keys(text) == ["c.0"]
    assert module(text)(torch.zeros(1, 4, 3, 3)).shape == (1, 4, 6, 6)


@pytest.mark.parametrize(
    ("call", "applied"),
    [
        ("chain([around(c)])", "c"),
        ("chain([around(c), around(c), around(d)])", "ccd"),
        ("body([around(c), around(d)])", "cd"),
    ],
)
def test_a_module_is_lent_inside_one_that_is_passed(call: str, applied: str) -> None:
    """The slot of the lent one is not the path of what it lies in."""
    text = f"""
    block around(f: module)(x) {{ return x + 2 * f(x) }}
    block body(_ layers: [module])(x) {{ return x -> _: chain(layers) }}
    block net(x: [B, 4]) {{
        c = linear(4)
        d = linear(4)
        return x -> b: {call} -> c -> d
    }}
    """
    assert sorted(keys(text)) == ["c", "d"]
    net: Any = archlang.build(text, entry="net")
    y = x = torch.randn(2, 4)
    for name in applied:
        y = y + 2 * getattr(net, name)(y)
    assert torch.allclose(net(x), net.d(net.c(y)))


def test_a_module_is_lent_inside_one_of_the_same_name() -> None:
    around = "block around(f: module)(x) { return x + 2 * f(x) }\n"
    text = around + "block net(x: [B, 4]) {\n    c = linear(4)\n    return x -> b: around(around(c)) -> c\n}\n"
    net: Any = archlang.build(text, entry="net")
    x = torch.randn(2, 4)
    assert torch.allclose(net(x), net.c(x + 2 * (x + 2 * net.c(x))))


LENT = """
block f(s: module)(x) { return tanh(x -> a: linear(4)) + s(x) }
block g(_ first: module, s: module)(x) { return first(x) + 2 * s(x) }
block many(fs: [module])(x) {
    for one in fs { x = one(x) }
    return x
}
block net(x: [B, 4]) {
    s = linear(4)
"""


@pytest.mark.parametrize(
    ("body", "weights", "expected"),
    [
        ("m = f(s); return x -> h: g(m, s)", 2, lambda n, x: one(n.m, x) + 3 * n.s(x)),
        ("return x -> h: g(f(s), s)", 2, lambda n, x: one(n.h.module, x) + 3 * n.s(x)),
        ("m = f(s); return x -> h: g(m, m)", 2, lambda n, x: 3 * (one(n.m, x) + n.s(x))),
        ("m = f(s); k = f(m); return x -> h: g(k, m)", 3, lambda n, x: one(n.k, x) + 3 * (one(n.m, x) + n.s(x))),
        ("c = (s -> relu); m = f(c); return x -> h: g(m, c)", 2, lambda n, x: one(n.m, x) + 3 * n.s(x).relu()),
        ("return x -> h: chain([f(s) for _ in 0..2])", 3, lambda n, x: twice(n, x, n.h)),
        ("fs = [f(s) for _ in 0..2]; return x -> h: many(fs)", 3, lambda n, x: twice(n, x, n.fs)),
    ],
)
def test_what_is_lent_with_what_it_borrows_keeps_one_set_of_weights(body: str, weights: int, expected: Any) -> None:
    """A module that was made with another one of the caller's goes to a block, alone or together with that one."""
    net: Any = archlang.build(f"{LENT}    {body}\n}}\n", "net").double()
    assert len([key for key in net.state_dict() if key.endswith("weight")]) == weights
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(net(x), expected(net, x))


def test_arguments_that_are_equal_but_not_the_same_are_kept_apart() -> None:
    """What an op makes of its arguments is found once for each choice of them; 2 == 2.0 and 0.0 == -0.0."""
    body = "; ".join(f"y{i} = x * {n}" for i, n in enumerate(("2", "2.0", "0.0", "(-0.0)", "2")))
    program = done(f"{body}\nreturn y0, y1, y2, y3, y4").program
    assert [repr(node.attrs["other"]) for node in program.root.nodes] == ["2", "2.0", "0.0", "-0.0", "2"]
    scaled = "block scaled(c: float)(x) { return x * c }\n"
    assert graphs(scaled + "block net(x: [B, 8]) { return x -> scaled(0.0) -> scaled(-0.0) -> scaled(0.0) }") == [
        "scaled",
        "scaled_2",
        "net",
    ]


def test_an_equal_op_on_equal_types_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    conv = type(registry()["conv"])
    resolve = conv.resolve

    def counted(*args: Any) -> Any:
        calls.append(args)
        return resolve(*args)

    monkeypatch.setattr(conv, "resolve", counted)
    made = done('for i in 0..5 { x = x -> "c{i}": conv(3, [3, 1], padding=[1, 0]) }\nreturn x -> d: conv(3, [3, 1])')
    assert len(calls) == 2
    nodes = made.program.root.nodes
    assert {str(node.outputs[0].type) for node in nodes[:5]} == {"[B, 3, H, W]"}
    assert str(nodes[5].outputs[0].type) == "[B, 3, H - 2, W]"


def one(part: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(part.a(x))


def twice(net: Any, x: torch.Tensor, parts: Any) -> torch.Tensor:
    for part in parts.children():
        x = one(part, x) + net.s(x)
    return x


def test_graphs_of_blocks_whose_names_look_like_numbered_ones() -> None:
    text = """
    block mlp(width: int)(x) { return x -> fc: linear(width) -> relu }
    block mlp_2(x) { return x -> fc: linear(8) }
    block net(x: [B, 4]) {
        x = x -> a: mlp_2 -> b: mlp(8) -> c: mlp(9) -> d: mlp(10)
        return x -> e: mlp_2
    }
    """
    names = [graph.name for graph in done(text, "net").program.graphs]
    assert names == ["mlp_2", "mlp", "mlp_3", "mlp_4", "mlp_2_2", "net"]
    turned = text.replace("x -> a: mlp_2 -> b: mlp(8)", "x -> a: mlp(5) -> b: mlp(8)")
    names = [graph.name for graph in done(turned, "net").program.graphs]
    assert len(set(names)) == len(names)
