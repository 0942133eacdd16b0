"""Elaboration values: arithmetic, lists, statements, arguments, closures, and what they cannot do."""

from __future__ import annotations

import pytest

from archlang.elaborate import Limits
from tests.elaborate.helpers import error, ir, result, root, shapes


def value(expression: str, before: str = "") -> object:
    """A number of the elaboration language, read back from the graph."""
    node = root(f"{before}\nreturn x * ({expression})").nodes[-1]
    return node.attrs["other"]


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("7 / 2", 3.5),
        ("8 // 2", 4),
        ("floor(7 / 2)", 3),
        ("ceil(7 / 2)", 4),
        ("floor(-7 / 2)", -4),
        ("7 % 4", 3),
        ("2 ** 10", 1024),
        ("-2 ** 2", -4),
        ("max(1, 2.5, 2)", 2.5),
        ("min([3, 1, 2])", 1),
        (
            "sum([i * j for i in 0..3 for j in 0..4 if i != j])",
            sum(i * j for i in range(3) for j in range(4) if i != j),
        ),
        ("prod([1, 2, 3, 4])", 24),
        ("sum([])", 0),
        ('len(0..5) + len([1, 2]) + len("abc")', 10),
        ("[10, 20, 30][-1]", 30),
        ("[1, 2, 3, 4][1:3][1]", 3),
        ("[i for i in reversed(0..4)][0]", 3),
        ("sorted([3, 1, 2])[0]", 1),
        ("sum([i * v for i, v in enumerate([5, 6], 1)])", 17),
        ("sum([a * b for a, b in zip([1, 2], [3, 4])])", 11),
        ("sum([*[1, 2], *(0..3), 4])", 10),
        ("len([1 if false, 2 if true, *[3 if true]])", 2),
        ("if 1 < 2 < 3 then 1 else 0", 1),
        ("if 3 in [1, 2] or not (2 in 0..3) then 1 else 0", 0),
        ("round(2.5)", 2),  # Python's, and so torch users', rounding
        ("round(3.14159, 2)", 3.14),
        ("int(3.9)", 3),
        ("sqrt(16)", 4.0),
        ("abs(-3)", 3),
        ("float(3)", 3.0),
        ("25_000", 25000),
        ("4k", 4000),
        ("len([1, 2] * 3)", 6),
        ("len(str(123))", 3),
        ('if "ab" + "c" == "abc" then 1 else 0', 1),
        ("(fn(a, b = 2) => a * b)(3)", 6),
        ("x.channels", 3),
        ("x.shape[1] + x.rank", 7),
    ],
)
def test_numbers(expression: str, expected: object) -> None:
    found = value(expression)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "before, expression, expected",
    [
        ("let a, (b, *c) = (1, [2, 3, 4])", "a + b * c[1]", 9),
        ("xs = [1, 2]\nys = xs\nxs[0] = 5\nxs += [7]", "sum(xs) * 100 + sum(ys)", 1403),
        ("n = 1\nfor i in 0..5 { n = n * 2 }", "n", 32),
        ("n = 1\nfor i in 0..5 { let n2 = n\n n += n2 }", "n", 32),
        ("if x.channels == 3 { n = 1 } else { n = 2 }", "n", 1),
        ("n = 0\nif x.channels == 4 { n = 1 } else if x.channels == 3 { n = 2 } else { n = 3 }", "n", 2),
        ("let k = 2\nfn twice(n: int) => k * n\nfn quad(n: int) { let m = twice(n)\n return twice(m) }", "quad(5)", 20),
        ("fn fact(n: int) => if n == 0 then 1 else n * fact(n - 1)", "fact(10)", 3628800),
        ("fn add(n: int) => fn(m) => n + m\nlet f = add(3)", "f(4)", 7),
        (
            "fn reach(l: int, step: int = 1) => if step > l then [] else [l - step, *reach(l, step * 2)]",
            "sum(reach(9))",
            21,
        ),
        ("for a, (b, c) in [(1, (2, 3))] { x = x * 1 }", "3", 3),
    ],
)
def test_statements(before: str, expression: str, expected: int) -> None:
    assert value(expression, before) == expected


@pytest.mark.parametrize(
    "body, code, phrase",
    [
        ("return x * (7 // 2)", "ARC0286", "7 is not divisible by 2"),
        ("return x * (1 / 0)", "ARC0303", "division by zero"),
        ("return x * max([])", "ARC0218", "`max` of an empty list"),
        ("return x * [1, 2][2]", "ARC0270", "index 2 is outside of 2 elements"),
        ("let n = 1\nn += 1\nreturn x", "ARC0278", "`n` is bound by `let` and cannot be rebound"),
        ("for i in 0..2 { i = 3 }\nreturn x", "ARC0278", "`i`"),
        ("B = 3\nreturn x", "ARC0278", "`B` is a size"),
        ("let a, b = [1, 2, 3]\nreturn x", "ARC0280", "3 values for 2 names"),
        ("let a, *b, c = [1]\nreturn x", "ARC0280", "1 values for at least 2 names"),
        ("for i in 5 { x = relu(x) }\nreturn x", "ARC0268", "cannot loop over an int"),
        ("return x * (true + 1)", "ARC0201", "`+` takes numbers or wires, not a bool"),
        ('return x * "a"', "ARC0201", "not a string"),
        ("if 1 { x = relu(x) }\nreturn x", "ARC0201", "a condition is a bool, not an int"),
        ('assert 1 == 2, "one is not {1 + 1}"\nreturn x', "ARC0283", "one is not 2"),
        ("x -> relu\nreturn x", "ARC0284", "is not used"),
        ("xs = [x]\nxs += relu(x)\nreturn x", "ARC0276", "appends a list"),
    ],
)
def test_refusals(body: str, code: str, phrase: str) -> None:
    found = error(body)
    assert found.code == code and phrase in found.message


# -- arguments ---------------------------------------------------------------------------------------------------------
UNIT = "block unit(w: int, m: int = 2 * w, k: int = 3)(x) { return x -> c: conv(m, k) }\n"


@pytest.mark.parametrize(
    "call, shape",
    [
        ("unit(4)", (8, 3, 3, 3)),
        ("unit(4, 5)", (5, 3, 3, 3)),
        ("unit(4, k=1)", (8, 3, 1, 1)),
        ("unit(k=1, m=7, w=0)", (7, 3, 1, 1)),
        ("unit(*[4, 5], k=1)", (5, 3, 1, 1)),
        ("unit(*(4..7))", (5, 3, 6, 6)),
    ],
)
def test_arguments_and_defaults(call: str, shape: tuple[int, ...]) -> None:
    text = UNIT + f"block net(x: [B, 3, H, W]) {{ return x -> u: {call} }}"
    assert shapes(text)["u.c.weight"] == shape


def test_star_parameters_collect_the_rest() -> None:
    text = """
    block stack_(first: int, *ws)(x) {
        x = x -> a: conv(first, 1)
        for i, w in enumerate(ws) { x = x -> "c{i}": conv(w, 1) }
        return x
    }
    block net(x: [B, 3, H, W]) { return x -> u: stack_(4, 5, 6) }
    """
    assert [s[0] for k, s in shapes(text).items() if k.endswith("weight")] == [4, 5, 6]


def test_parameters_of_the_entry_from_outside() -> None:
    text = (
        "block net(widths: [int] = [4], bias: bool = true)(x: [B, 3, H, W]) {\n"
        "    return x -> _: chain([conv(w, 1, bias=bias) for w in widths])\n}"
    )
    assert shapes(text, widths=[5, 6], bias=False) == {"0.weight": (5, 3, 1, 1), "1.weight": (6, 5, 1, 1)}
    assert error(text, widths=5).code == "ARC0201"
    assert error(text, widht=5).help == "did you mean `widths`?"


@pytest.mark.parametrize(
    "params, call, message",
    [
        ("n: int", "u(1.5)", "`n` of `u` takes an `int`, not a float"),
        ("n: int", "u(true)", "`n` of `u` takes an `int`, not a bool"),
        ("p: float", 'u("a")', "`p` of `u` takes a `float`, not a string"),
        ("s: str", "u(1)", "`s` of `u` takes a `str`, not an int"),
        ("f: module", "u(1)", "`f` of `u` takes a module, not an int"),
        (
            "f: block",
            "u(relu())",
            "`f` of `u` takes a block, from which it makes instances of its own; this is one instance",
        ),
        ("f: fn", "u(relu)", "`f` of `u` takes a `fn`, not an op"),
        ("i: init", 'u("he")', "`i` of `u` takes an `init`, not a string"),
        ("ns: [int]", "u([1, 2.5])", "element 1 of `ns` of `u` takes an `int`, not a float"),
        ("ns: [[int]]", "u([[1], 2])", "element 1 of `ns` of `u` takes a `[int]`, not an int"),
        ("p: (int, float)", "u((1, 2, 3))", "`p` of `u` takes a `(int, float)`, not a tuple"),
    ],
)
def test_types_of_parameters(params: str, call: str, message: str) -> None:
    found = error(f"block u({params})(x) {{ return x }}\nblock net(x: [B, 3, H, W]) {{ return x -> a: {call} }}")
    assert (found.code in ("ARC0201", "ARC0206"), found.message) == (True, message)


@pytest.mark.parametrize("call", ["u(1)", "u(1.5)"])
def test_an_int_is_a_float(call: str) -> None:
    text = f"block u(p: float)(x) {{ return x * p }}\nblock net(x: [B, 3, H, W]) {{ return x -> a: {call} }}"
    assert result(text) == "[B, 3, H, W]"


# -- blocks and functions as values ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make, expected",
    [
        ("batchnorm", ["u.m0.weight", "u.m1.weight"]),
        ("fn() => conv(3, 1, bias=false)", ["u.m0.weight", "u.m1.weight"]),
        ("fn() => relu -> batchnorm", ["u.m0.1.weight", "u.m1.1.weight"]),
        ("own", ["u.m0.c.weight", "u.m1.c.weight"]),
        ("other", ["u.m0.c.weight", "u.m1.c.weight"]),
    ],
)
def test_what_makes_instances(make: str, expected: list[str]) -> None:
    text = f"""
    block own(n: int = 3)(x) {{ return x -> c: conv(n, 1, bias=false) }}
    block other() = own(3)
    block many(make: block, n: int)(x) {{
        for i in 0..n {{ x = x -> "m{{i}}": make() }}
        return x
    }}
    block net(x: [B, 3, H, W]) {{ return x -> u: many({make}, 2) }}
    """
    assert [k for k in shapes(text) if k.endswith("weight")] == expected


def test_functions_see_what_was_around_them() -> None:
    text = """
    let k = 3
    fn c(w: int) => conv(w, k, padding=1)
    block net(x: [B, 3, H, W]) {
        let w = 8
        fn d(n: int = 2) => c(w * n)
        return x -> a: d() -> b: d(3)
    }
    """
    assert {k: s for k, s in shapes(text).items() if "weight" in k} == {
        "a.weight": (16, 3, 3, 3),
        "b.weight": (24, 16, 3, 3),
    }


def test_a_function_may_run_wires() -> None:
    assert ir("fn twice(f, y) => f(f(y))\nreturn twice(fn(y) => y + x, relu(x))") == (
        "input %x: [B, 3, H, W]\n"
        "%relu: [B, 3, H, W] = relu(%x)\n"
        "%add: [B, 3, H, W] = add(%relu, %x) {reverse=False}\n"
        "%add_2: [B, 3, H, W] = add(%add, %x) {reverse=False}\n"
        "return %add_2\n"
    )


# -- bounds ------------------------------------------------------------------------------------------------------------
def test_bounds_are_limits_that_can_be_set() -> None:
    loop = "for i in 0..30 { x = relu(x) }\nreturn x"
    assert error(loop, limits=Limits(loop=29)).code == "ARC0501"
    assert error(loop, limits=Limits(steps=40)).code == "ARC0502"
    assert result(loop, limits=Limits(loop=30)) == "[B, 3, H, W]"
    deep = "fn down(n: int) => if n == 0 then 0 else down(n - 1)\nreturn x * down(30)"
    assert error(deep, limits=Limits(depth=20)).code == "ARC0503"
    assert result(deep) == "[B, 3, H, W]"


def test_a_long_list_of_equal_layers_costs_what_one_costs() -> None:
    text = "return x -> d: chain([conv(3, 1) -> relu for _ in 0..50_000])"
    assert result(text, limits=Limits(steps=1000)) == "[B, 3, H, W]"
