"""What flows: several inputs and outputs, lists of wires, `none`, context, the phase, side outputs, sizes."""

from __future__ import annotations

import pytest
import torch

from tests.elaborate.helpers import done, error, graphs, ir, keys, module, result


def net(body: str, inputs: str = "x: [B, 4, H, W]") -> str:
    return f"block net({inputs}) {{\n{body}\n}}\n"


# -- inputs and outputs ------------------------------------------------------------------------------------------------
SUB = "block sub_(w: int = 0)(x, y) { return x - y }\n"


@pytest.mark.parametrize(
    "expression",
    [
        "(relu(x), x) -> sub_",
        "(relu(x), x) -> sub_()",
        "sub_(relu(x), x)",
        "sub_(4, relu(x), x)",
        "sub_(y=x, x=relu(x))",
        "sub_(relu(x), y=x)",
        "relu(x) -> sub_(x)",
        "m(relu(x), x)",
        "m(y=x, x=relu(x))",
        "(relu(x), x) -> m",
        "relu(x) -> m(x)",
    ],
)
def test_ways_to_apply(expression: str) -> None:
    text = SUB + net(f"m = sub_()\nreturn ({expression}) + 0 * m(x, x)")
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(text)(x), torch.relu(x) - x)


def test_results_by_place_and_by_name() -> None:
    text = "block pair(x) { return x, double=2 * x }\n" + net(
        "r = x -> p: pair\na, b = r\nreturn r.double - r[0] + (b - a)"
    )
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(text)(x), 2 * x)


def test_results_flow_into_as_many_inputs() -> None:
    text = SUB + "block pair(x) { return relu(x), x }\n" + net("return x -> pair -> sub_")
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(text)(x), torch.relu(x) - x)


@pytest.mark.parametrize(
    "call, code",
    [
        ("x -> sub_", "ARC0210"),
        ("(x, x, x) -> sub_", "ARC0211"),
        ("x -> pair -> relu", "ARC0211"),
        ("[x, x] -> sub_", "ARC0210"),
        ("[x, x] -> relu", "ARC0212"),
        ("(x; x) -> relu", "ARC0213"),
        ("sub_(x, y=x, x=x)", "ARC0211"),
    ],
)
def test_wrong_numbers_of_wires(call: str, code: str) -> None:
    text = SUB + "block pair(x) { return relu(x), x }\n" + net(f"return {call}")
    assert error(text).code == code


def test_a_list_is_one_value() -> None:
    text = """
    block both(p: tensors) -> tensors { return [relu(q) for q in p] }
    block joined(p: tensors, q) { return concat([*p, q], 1) }
    """ + net("return (([x, x, x] -> both), x) -> joined")
    assert result(text) == "[B, 16, H, W]"
    assert graphs(text) == ["both", "joined", "net"]


def test_star_inputs() -> None:
    text = "block cat(*xs) { return concat(xs, 1) }\n" + net("return cat(x, relu(x), x)")
    assert result(text) == "[B, 12, H, W]"


# -- none --------------------------------------------------------------------------------------------------------------
OPTIONAL = "block opt(x, y: tensor?) { return if y == none then relu(x) else x + y }\n"


@pytest.mark.parametrize(
    "call", ["x -> opt", "(x, none) -> opt", "opt(x)", "opt(x, none)", "m(x)", "m(x, none)", "opt(x, y=none)"]
)
def test_an_optional_input_is_left_out(call: str) -> None:
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(OPTIONAL + net(f"m = opt()\nreturn ({call}) + 0 * m(x)"))(x), torch.relu(x))


def test_with_and_without_are_two_graphs() -> None:
    text = OPTIONAL + net("a = x -> opt\nreturn (a, x) -> opt")
    assert graphs(text) == ["opt", "opt_2", "net"]


def test_none_is_refused_where_it_is_not_declared() -> None:
    assert error(SUB + net("return (x, none) -> sub_")).code == "ARC0212"


# -- context -----------------------------------------------------------------------------------------------------------
CONTEXT = "block add_(x; c) { return x + c }\n"


def test_context_follows_the_semicolon_and_chains_hand_it_on() -> None:
    x = torch.randn(1, 4, 2, 2)
    for call in ("(x; y) -> add_ -> relu", "(x; y) -> chain([add_, relu])", "add_(x; y) -> relu"):
        torch.testing.assert_close(module(CONTEXT + net(f"y = 2 * x\nreturn {call}"))(x), torch.relu(3 * x))
    twice = module(CONTEXT + net("y = 2 * x\nreturn (x; y) -> c: chain([add_, relu, add_])"))
    torch.testing.assert_close(twice(x), torch.relu(3 * x) + 2 * x)
    (port,) = [p for p in done(CONTEXT + net("return (x; x) -> add_")).program.graphs[0].inputs if p.context]
    assert port.name == "c"


def test_context_is_demanded_and_refused() -> None:
    assert error(CONTEXT + net("return x -> add_")).code == "ARC0210"
    assert error(SUB + net("return (x, x; x) -> sub_")).code == "ARC0211"


# -- the phase ---------------------------------------------------------------------------------------------------------
def test_both_arms_have_weights_and_the_phase_chooses() -> None:
    text = net("if training { y = x -> a: conv(4, 1) } else { y = x -> b: conv(4, 1) }\nreturn y")
    assert keys(text) == ["a", "b"]
    one = module(text)
    x, state = torch.randn(1, 4, 2, 2), one.state_dict()
    for mode, name in ((True, "a"), (False, "b")):
        expected = torch.nn.functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])
        torch.testing.assert_close(one.train(mode)(x), expected)


@pytest.mark.parametrize(
    "body",
    [
        "if training { x = 2 * x }\nreturn x",
        "if not training { x = x } else { x = 2 * x }\nreturn x",
        "return if training then 2 * x else x",
        "return (if not training then x else 2 * x)",
        "xs = [x]\nif training { xs[0] = 2 * x }\nreturn xs[0]",
    ],
)
def test_ways_to_say_it(body: str) -> None:
    one, x = module(net(body)), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(one.train()(x), 2 * x)
    torch.testing.assert_close(one.eval()(x), x)


def test_results_of_training_only() -> None:
    text = net("y = 2 * x\nif training { aux = y + 1 }\nreturn y, training aux=aux")
    assert ir(text).splitlines()[-1] == "return %y, training aux=%aux"
    one, x = module(text), torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(one.eval()(x), 2 * x)
    out = one.train()(x)
    torch.testing.assert_close(out[0], 2 * x)
    torch.testing.assert_close(out[1], 2 * x + 1)


@pytest.mark.parametrize(
    "body, code",
    [
        ("if training { y = relu(x) }\nreturn x + y", "ARC0260"),
        ("if training { y = relu(x) }\nreturn y", "ARC0260"),
        ("if training { y = relu(x) }\nif not training { x = x + y }\nreturn x", "ARC0260"),
        ("if training { x = maxpool(x, 2) }\nreturn x", "ARC0273"),
        ("if training { n = 1 } else { n = 2 }\nreturn x * n", "ARC0272"),
        ("if training and true { x = relu(x) }\nreturn x", "ARC0263"),
        ("if training == true { x = relu(x) }\nreturn x", "ARC0263"),
        ("if training { return x }\nreturn x", "ARC0281"),
    ],
)
def test_what_a_phase_cannot_do(body: str, code: str) -> None:
    assert error(net(body)).code == code


# -- emit --------------------------------------------------------------------------------------------------------------
def test_side_outputs_surface_at_the_root() -> None:
    text = """
    block unit(x) {
        y = 2 * x
        emit doubled = y
        return y
    }
    """ + net("x = x -> s: chain([unit, unit])\nfor i in 0..2 { emit seen = x + i }\nreturn x")
    outputs = [o.name for o in done(text).program.root.outputs]
    assert outputs == ["", "s_0_doubled", "s_1_doubled", "seen_0", "seen_1"]
    x = torch.randn(1, 4, 2, 2)
    for got, factor, offset in zip(module(text)(x), (4, 2, 4, 4, 4), (0, 0, 0, 0, 1), strict=True):
        torch.testing.assert_close(got, factor * x + offset)


# -- sizes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body, expected",
    [
        ('return rearrange(x, "b c h w -> b (h w) c")', "[B, H*W, 4]"),
        ("let n = x.shape[2] * x.shape[3]\nreturn reshape(x, [x.shape[0], 4, n])", "[B, 4, H*W]"),
        ("return interpolate(x, size=[2 * H, floor(W / 2)])", "[B, 4, 2*H, W // 2]"),
        ("return x -> maxpool(2) -> maxpool(2)", "[B, 4, H // 4, W // 4]"),
        ("return x -> a: conv(8, 3, stride=2, padding=1)", "[B, 8, (H + 1) // 2, (W + 1) // 2]"),
        ("return x -> a: conv(8, 3) -> b: conv_transpose(8, 3)", "[B, 8, H, W]"),
        ("assert x.channels == 4 and x.features == W and x.rank == 4\nreturn x", "[B, 4, H, W]"),
        ('assert x.spatial == [H, W] and x.shape[0] == B and x.dtype == "float"\nreturn x', "[B, 4, H, W]"),
        ("assert (H + W) * (H - W) == H ** 2 - W * W\nreturn x", "[B, 4, H, W]"),
        ("return x + reduce_mean(x, [2, 3], keepdim=true)", "[B, 4, H, W]"),
        ("return x @ transpose(x, 2, 3)", "[B, 4, H, H]"),
        ('return cast(x > 0, "int64") + x', "[B, 4, H, W]"),
        ('return cast(x > 0, "int64") + (x > 1)', "int64[B, 4, H, W]"),
    ],
)
def test_symbolic_sizes(body: str, expected: str) -> None:
    assert result(net(body)) == expected


@pytest.mark.parametrize(
    "inputs, declared, expected",
    [
        ("x: [B, 8, H, W]", "h: [..., D]", "[W]"),
        ("x: [B, 8, H, W]", "h: [B, ..., D]", "[W]"),
        ("x: [B, 8]", "h: [..., D]", "[8]"),
        ("x: [B, 8, H, 6]", "h: [_, 2*D, ...]", "[4]"),
        ("x: [B, 8, H, W]", "h: [B, D, H, W]", "[8]"),
    ],
)
def test_declared_shapes_bind_sizes(inputs: str, declared: str, expected: str) -> None:
    text = f"block sized({declared}) {{ return full([D], 1.0) }}\nblock net({inputs}) {{ return x -> s: sized }}"
    assert result(text) == expected


@pytest.mark.parametrize(
    "declared, code",
    [
        ("h: [B, C]", "ARC0325"),
        ("h: [B, 5, H, W]", "ARC0326"),
        ("n: int = 7)(h: [B, n, H, W]", "ARC0326"),
        ("h: i64[B, C, H, W]", "ARC0324"),
        ("h: [..., 3, W]", None),
    ],
)
def test_declared_shapes_are_checked(declared: str, code: str | None) -> None:
    text = f"block sized({declared}) {{ return h }}\n" + net("return x -> s: sized")
    if code is None:
        assert "require H == 3" in ir(text)
    else:
        assert error(text).code == code


def test_equal_symbols_are_required_to_agree() -> None:
    text = "block net(a: [B, H], b: [B, K]) { return a + b }"
    assert ir(text).splitlines()[0] == "require H == K: `+` needs equal sizes in dimension 1"
    assert error("block net(a: [B, 3], b: [B, 4]) { return a + b }").code == "ARC0350"


@pytest.mark.parametrize(
    "body",
    [
        "if H > 3 { x = relu(x) }\nreturn x",
        "if H == W { x = relu(x) }\nreturn x",
        "for i in 0..H { x = relu(x) }\nreturn x",
        "weight w: [H] = zeros\nreturn x",
        "return x -> a: conv(H, 3)",
    ],
)
def test_a_network_cannot_depend_on_an_open_size(body: str) -> None:
    found = error(net(body))
    assert found.code in ("ARC0305", "ARC0201")
    assert found.span is not None and ("H" in found.span.text)


def test_an_empty_chain_hands_on_what_flows_in() -> None:
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(net("return x -> d: chain([]) -> relu -> chain([])"))(x), torch.relu(x))
    torch.testing.assert_close(module(SUB + net("return (relu(x), x) -> chain([]) -> sub_"))(x), torch.relu(x) - x)
