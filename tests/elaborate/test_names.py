"""What instances are called: state-dict paths from labels, bindings, places and loops."""

from __future__ import annotations

import pytest

from tests.elaborate.helpers import done, error, keys, shapes, warnings

UNIT = "block unit(f: module)(x) { return f(x) }\n"
UNITS = "block units(fs: [module])(x) { for f in fs { x = f(x) }\n return x }\n"
OPEN = "block open(_ fs: [module])(x) { for f in fs { x = f(x) }\n return x }\n"
SAME = "block same(_ f: module)(x) { return f(x) }\n"
TWICE = "block twice(_ f: module)(x) { return f(f(x)) }\n"


def net(body: str) -> str:
    return f"block net(x: [B, 3, H, W]) {{\n{body}\n}}\n"


@pytest.mark.parametrize(
    "body, expected",
    [
        # labels, bindings, op names
        ("return x -> a: conv(8, 3)", ["a"]),
        ("f = conv(8, 3)\nreturn x -> f", ["f"]),
        ("f = g: conv(8, 3)\nreturn x -> f", ["g"]),
        ("return x -> conv(8, 3) -> conv(8, 3)", ["conv", "conv_2"]),
        ("y = conv(8, 3)(x)\nreturn y", ["conv"]),
        ('return x -> "0": conv(3, 1) -> "layers.1": conv(3, 1)', ["0", "layers.1"]),
        ('let s = "a{1 + 1}"\nreturn x -> "{s}.b": conv(3, 1)', ["a2.b"]),
        ('return x -> "stem.conv": conv(3, 1) -> "stem.norm": batchnorm', ["stem.conv", "stem.norm"]),
        # a template makes instances, an instance is one module
        ("n = batchnorm\nreturn x -> a: n -> b: n", ["a", "b"]),
        ("n = batchnorm()\nreturn x -> n -> n", ["n"]),
        # loops
        ("for i in 0..3 { x = x -> conv(3, 1) }\nreturn x", ["conv.0", "conv.1", "conv.2"]),
        ("for i in 5..7 { x = x -> conv(3, 1) }\nreturn x", ["conv.0", "conv.1"]),
        (
            "for i in 0..2 { x = x -> conv(3, 1) -> relu -> conv(3, 1) }\nreturn x",
            ["conv.0", "conv.1", "conv_2.0", "conv_2.1"],
        ),
        (
            "for i in 0..2 { for j in 0..2 { x = x -> conv(3, 1) } }\nreturn x",
            ["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1"],
        ),
        ("for i in 0..2 {\n f = conv(3, 1)\n x = f(x)\n}\nreturn x", ["f.0", "f.1"]),
        ('for i in 0..2 { x = x -> "c{i + 1}": conv(3, 1) }\nreturn x', ["c1", "c2"]),
        ('for i in 0..2 { x = x -> "s{i}.c": conv(3, 1) }\nreturn x', ["s0.c", "s1.c"]),
        ("for i in 0..2 {\n weight g: [3, 1, 1] = ones\n x = x * g\n}\nreturn x", ["g.0", "g.1"]),
        # lists and compositions
        ("fs = [conv(3, 1) for _ in 0..3]\nfor f in fs { x = f(x) }\nreturn x", ["fs.0", "fs.1", "fs.2"]),
        ('fs = ["c{i}": conv(3, 1) for i in 0..2]\nfor f in fs { x = f(x) }\nreturn x', ["fs.c0", "fs.c1"]),
        ("f = conv(3, 1) -> relu -> conv(3, 1)\nreturn x -> f", ["f.0", "f.2"]),
        ("return x -> d: (conv(3, 1) -> relu -> conv(3, 1))", ["d.0", "d.2"]),
        ("return x -> d: (a: conv(3, 1) -> relu -> conv(3, 1))", ["d.a", "d.2"]),
        ("return x -> (a: conv(3, 1) -> relu -> b: conv(3, 1))", ["a", "b"]),
        ("return x -> d: chain([conv(3, 1), relu, batchnorm, conv(3, 1)])", ["d.0", "d.2", "d.3"]),
        ('return x -> d: chain(["first": conv(3, 1), relu, n: batchnorm])', ["d.first", "d.n"]),
        ("return x -> _: chain([conv(3, 1), relu, batchnorm])", ["0", "2"]),
        (
            "return x -> d: chain([relu if false, conv(3, 1) if true, *[batchnorm for i in 0..2]])",
            ["d.0", "d.1", "d.2"],
        ),
        ("return x -> d: chain([chain([conv(3, 1)]), relu -> conv(3, 1)])", ["d.0.0", "d.1.1"]),
    ],
)
def test_in_a_block(body: str, expected: list[str]) -> None:
    assert keys(net(body)) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        (UNIT + net("return x -> u: unit(conv(3, 1))"), ["u.f"]),
        (UNIT + net("return x -> u: unit(g: conv(3, 1))"), ["u.g"]),
        (UNIT + net("return x -> u: unit(conv(3, 1) -> batchnorm)"), ["u.f.0", "u.f.1"]),
        (UNIT + net("return x -> u: unit(batchnorm)"), ["u.f"]),
        (UNIT + net("return x -> u: unit(unit(conv(3, 1)))"), ["u.f.f"]),
        (UNITS + net("return x -> u: units([conv(3, 1), k: conv(3, 1), conv(3, 1)])"), ["u.fs.0", "u.fs.2", "u.fs.k"]),
        (SAME + net("return x -> u: same(a: conv(3, 1) -> relu -> conv(3, 1))"), ["u.2", "u.a"]),
        (SAME + net("return x -> u: same(k: (conv(3, 1) -> conv(3, 1)))"), ["u.k.0", "u.k.1"]),
        (SAME + net("return x -> u: same(conv(3, 1))"), ["u.module"]),
        (SAME + UNIT + net("return x -> u: same(unit(conv(3, 1)))"), ["u.module.f"]),
        (SAME + UNIT + net("return x -> u: same(_: unit(conv(3, 1)))"), ["u.f"]),
        (UNIT + net("return x -> u: unit(_: (a: conv(3, 1) -> conv(3, 1)))"), ["u.1", "u.a"]),
        (SAME + net("return x -> _: same(a: conv(3, 1) -> relu -> conv(3, 1))"), ["2", "a"]),
        (OPEN + net("return x -> u: open([_: (a: conv(3, 1) -> relu), _: (b: conv(3, 1) -> relu)])"), ["u.a", "u.b"]),
        (SAME + TWICE + net("return x -> u: twice(a: conv(3, 1) -> batchnorm)"), ["u.1", "u.a"]),
        (OPEN + net("return x -> u: open([conv(3, 1), k: conv(3, 1), conv(3, 1)])"), ["u.0", "u.2", "u.k"]),
        (OPEN + net("return x -> _: open([conv(3, 1), k: conv(3, 1), conv(3, 1)])"), ["0", "2", "k"]),
        (UNITS + net("return x -> _: units([conv(3, 1), conv(3, 1)])"), ["fs.0", "fs.1"]),
        # named by the caller: registered once, where the caller put it
        (UNIT + net("g = conv(3, 1)\nreturn x -> u: unit(g) -> v: unit(g)"), ["g"]),
        (UNITS + net("g = conv(3, 1)\nreturn x -> u: units([g, conv(3, 1), g])"), ["g", "u.fs.1"]),
        (UNITS + net("gs = [conv(3, 1), conv(3, 1)]\nreturn x -> u: units(gs)"), ["gs.0", "gs.1"]),
        (net("f = conv(3, 1)\nreturn x -> d: chain([f, relu, f])"), ["f"]),
        # an alias is a second key for the same tensor
        (net("f = conv(3, 1)\nreturn x -> f -> second: f"), ["f", "second"]),
        # a block without inputs, blocks by other names
        (
            "block pos(n: int)() { weight w: [n, 1, 1] = zeros\n return w }\n" + net("p = q: pos(3)\nreturn x + p"),
            ["q.w"],
        ),
        ("block b(k: int = 4) = conv(k, 1) -> relu\n" + net("return x -> u: b -> v: b(5)"), ["u.0", "v.0"]),
        ("fn b(k: int = 4) => conv(k, 1) -> relu\n" + net("return x -> u: b -> v: b(5)"), ["u.0", "v.0"]),
        ("fn b(k: int = 4) => c: conv(k, 1)\n" + net("return x -> b -> v: b(5)"), ["c", "v"]),
    ],
)
def test_across_blocks(text: str, expected: list[str]) -> None:
    assert sorted(keys(text)) == expected


@pytest.mark.parametrize(
    "step, expected",
    [
        ("inner: deep(n - 1)", ["d.c", "d.inner.c", "d.inner.inner.c"]),
        ("deep(n - 1)", ["d.c", "d.deep.c", "d.deep.deep.c"]),
        ('"_{n}": deep(n - 1)', ["d.c", "d._2.c", "d._2._1.c"]),
    ],
)
def test_recursion_adds_a_segment(step: str, expected: list[str]) -> None:
    block = f"block deep(n: int)(x) {{\n x = x -> c: conv(3, 1)\n return if n == 0 then x else (x -> {step})\n}}\n"
    assert keys(block + net("return x -> d: deep(2)")) == expected


def test_transparent_recursion_adds_none() -> None:
    body = 'x = x -> "c{n}": conv(3, 1)\n return if n == 0 then x else (x -> _: deep(n - 1))'
    block = f"block deep(n: int)(x) {{\n {body}\n}}\n"
    assert sorted(keys(block + net("return x -> d: deep(2)"))) == ["d.c0", "d.c1", "d.c2"]


def test_weights_and_buffers() -> None:
    text = net('weight g as "scale.g": [3, 1, 1] = ones\nbuffer b: [3] = zeros\nreturn x * g + b[:, None, None]')
    assert shapes(text.replace("None", "none")) == {"scale.g": (3, 1, 1), "b": (3,)}


def test_only_unnamed_weights_are_warned_of() -> None:
    found = warnings(net("x = x -> conv(3, 1) -> relu -> maxpool(2)\nf = conv(3, 1)\nreturn x -> f -> a: conv(3, 1)"))
    assert found == ["this layer has weights and no label: they are saved as `conv.*`"]
    (warning,) = done(net("return x -> conv(3, 1)")).warnings
    assert warning.span is not None and warning.span.text == "conv(3, 1)"
    assert warning.help == "label it: `name: conv(3, 1)`"


def test_a_loop_warns_once() -> None:
    assert len(warnings(net("for i in 0..5 { x = x -> conv(3, 1) }\nreturn x"))) == 1


def test_an_alias_has_the_shapes_of_its_module() -> None:
    found = shapes(net("f = conv(3, 1)\nreturn x -> f -> second: f"))
    assert found["f.weight"] == found["second.weight"] == (3, 3, 1, 1)


@pytest.mark.parametrize(
    "body, code",
    [
        ("x = x -> c: conv(3, 1)\nreturn x -> c: conv(3, 1)", "ARC0402"),
        ("f = conv(3, 1)\nx = f(x)\nf = conv(3, 1)\nreturn f(x)", "ARC0402"),
        ("for i in 0..2 { x = x -> c: conv(3, 1) }\nreturn x", "ARC0402"),
        ('x = x -> a: conv(3, 1)\nreturn x -> "a.b": conv(3, 1)', "ARC0403"),
        ('x = x -> "a.b": conv(3, 1)\nreturn x -> a: conv(3, 1)', "ARC0403"),
        ("return x -> d: (a: conv(3, 1) -> a: conv(3, 1))", "ARC0402"),
        ('return x -> d: chain(["1": conv(3, 1), conv(3, 1)])', "ARC0402"),
        ("f = conv(3, 1)\nweight f_: [1] = zeros\nx = f(x)\nreturn x -> f_: relu", "ARC0402"),
    ],
)
def test_clashes(body: str, code: str) -> None:
    assert error(net(body)).code == code
