"""Warnings: each code where it belongs, and not where the same text is right; remarks that allow them."""

from __future__ import annotations

import textwrap

import pytest

from archlang.elaborate import load
from archlang.report.diagnostic import Severity, Source
from archlang.report.text import render_all
from archlang.verify.check import check_file

NET = "block net(x: [B, 8, H, W]) {{ {} }}\n"


def warned(text: str) -> list[tuple[str, str]]:
    """Codes and the places that they point at. Sizes are another matter (ARC034x)."""
    found = [d for d in check_file(load(Source("net.arch", text))) if not d.code.startswith("ARC034")]
    assert all(d.severity is Severity.WARNING for d in found), [str(d) for d in found]
    return [(d.code, d.span.text if d.span else "") for d in found]


def body(*statements: str) -> str:
    return NET.format("\n".join(statements))


HIT = {
    "block": ("block lonely(y) { return y -> relu }\n" + body("return x"), "ARC0420", "lonely"),
    "function": ("fn lonely(a: int) => a\n" + body("return x"), "ARC0420", "lonely"),
    "parameter": ("block net(n: int = 2)(x: [B, 8]) { return x }\n", "ARC0421", "n"),
    "function's parameter": (
        "fn first(a: int, b: int) => a\n" + body("return x -> c: conv(first(1, 2), 1)"),
        "ARC0421",
        "b",
    ),
    "input": ("block net(x: [B, 8], y: [B, 8]) { return x }\n", "ARC0421", "y"),
    "name": (body("let n = 3", "return x"), "ARC0422", "n"),
    "name that only its own updates read": (
        body("let k = 3", "n = 0", "for _ in 0..k { n = n + 1 }", "return x"),
        "ARC0422",
        "n",
    ),
    "list whose elements are replaced": (body("xs = [0, 0]", "xs[0] = 1", "return x"), "ARC0422", "xs"),
    "name under which a loop has its own": (
        body("let n = 3", "return x * sum([n for n in 0..3])"),
        "ARC0422",
        "n",
    ),
    "parameter under which a loop has its own": (
        "block net(i: int = 3)(x: [B, 8]) {\ny = x\nfor i in 0..2 { y = y * i }\nreturn y }\n",
        "ARC0421",
        "i",
    ),
    "parameter under which a function has its own": (
        "block net(n: int = 3)(x: [B, 8]) {\nlet f = fn(n) => n + 1\nreturn x * f(2) }\n",
        "ARC0421",
        "n",
    ),
    "one of two loop variables": (
        body("y = x", 'for i, w in enumerate([8, 8]) { y = y -> "c{i}": conv(8, 1) }', "return y"),
        "ARC0422",
        "w",
    ),
    "constant of a reversible block": (
        "reversible block u(a, b) {\nlet n = 3\na += b -> c: conv(4, 1) }\n"
        "block net(x: [B, 4, H, W], y: [B, 4, H, W]) { return (x, y) -> u: u }\n",
        "ARC0422",
        "n",
    ),
    "weight": (body("weight w: [3] = ones", "return x"), "ARC0422", "w"),
    "nested function": (body("fn f(a: int) => a", "return x"), "ARC0422", "f"),
    "loop variable": (body("y = x", "for i in 0..2 { y = y -> relu }", "return y"), "ARC0422", "i"),
    "use": ("use std.init\n" + body("return x"), "ARC0422", "use std.init"),
    "used name": ("use std.reversible: coupling\n" + body("return x"), "ARC0422", "coupling"),
    "let of a file": ("let n = 3\n" + body("return x"), "ARC0422", "n"),
    "true": (body("y = if true then relu(x) else tanh(x)", "return y"), "ARC0423", "true"),
    "comparison": (body("y = x -> relu", "if 1 > 2 { y = y -> tanh }", "return y"), "ARC0423", "1 > 2"),
    "not": (body("y = if not (false or true) then x else relu(x)", "return y"), "ARC0423", "not (false or true)"),
    "sum of numbers": (body("y = x -> relu", "if 1 + 1 == 2 { y = y -> tanh }", "return y"), "ARC0423", "1 + 1 == 2"),
    "strings": (body("y = x -> relu", 'if "a" == "b" { y = y -> tanh }', "return y"), "ARC0423", '"a" == "b"'),
    "in a list": (body("y = x -> relu", "if -1 in [1, 2] { y = y -> tanh }", "return y"), "ARC0423", "-1 in [1, 2]"),
    "itself": ("block net(n: int = 1)(x: [B, 8]) { return if n == n then relu(x) else x }\n", "ARC0423", "n == n"),
    "asked twice": (
        "block net(n: int = 1)(x: [B, 8]) {\nif n > 1 { x = x -> relu } else if n > 1 { x = x -> tanh }\nreturn x }\n",
        "ARC0423",
        "n > 1",
    ),
    "loop over nothing": (body("y = x", "for _ in 3..3 { y = y -> relu }", "return y"), "ARC0423", "3..3"),
    "loop over no elements": (body("return add([x, *[relu(x) for _ in []], x])"), "ARC0423", "[]"),
    "guard": (body("return concat([x, x -> relu if true])"), "ARC0423", "true"),
    "after return": (body("return x", "return relu(x)"), "ARC0423", "return relu(x)"),
    "identity": (body("return x -> identity -> relu"), "ARC0424", "identity"),
    "permute": (body("return x -> permute([0, 1, 2, 3])"), "ARC0424", "permute([0, 1, 2, 3])"),
    "transpose": (body("return x -> transpose(1, -3)"), "ARC0424", "transpose(1, -3)"),
    "reshape": (body("return x -> reshape([B, 8, H, W])"), "ARC0424", "reshape([B, 8, H, W])"),
    "flatten": ("block net(x: [B, 8]) { return x -> flatten }\n", "ARC0424", "flatten"),
    "dropout": (body("return x -> dropout(0.0)"), "ARC0424", "dropout(0.0)"),
    "pool": (body("return x -> maxpool(1)"), "ARC0424", "maxpool(1)"),
    "product": (body("return x * 1"), "ARC0424", "x * 1"),
    "sum": (body("return x + 0"), "ARC0424", "x + 0"),
    "sum of one": (body("return add([x])"), "ARC0424", "add([x])"),
    "resizing": (body("return x -> interpolate(scale_factor=1)"), "ARC0424", "interpolate(scale_factor=1)"),
    "resizing to its size": (body("return x -> interpolate([H, W])"), "ARC0424", "interpolate([H, W])"),
    "slice": (body("return x[:, 0:]"), "ARC0424", "x[:, 0:]"),
    "pattern": (body('return rearrange(x, "b c h w -> b  c h w")'), "ARC0424", 'rearrange(x, "b c h w -> b  c h w")'),
    "shuffle": (body("return x -> channel_shuffle(1)"), "ARC0424", "channel_shuffle(1)"),
    "roll": (body("return x -> roll(0, dims=2)"), "ARC0424", "roll(0, dims=2)"),
    "relu twice": (body("y = x -> relu", "return relu(y)"), "ARC0424", "relu(y)"),
    "relu twice through a block": (
        "block unit(y) { return y -> c: conv(8, 1) -> relu }\n" + body("return x -> u: unit -> relu"),
        "ARC0424",
        "relu",
    ),
    "concat": (body("return concat([x])"), "ARC0424", "concat([x])"),
    "two norms": (body("return x -> a: layernorm2d -> b: batchnorm"), "ARC0425", "b: batchnorm"),
    "two norms through a block": (
        "block unit(y) { return y -> a: groupnorm(2) }\n" + body("return x -> u: unit -> b: batchnorm"),
        "ARC0425",
        "b: batchnorm",
    ),
    "bias": (body("return x -> c: conv(8, 1) -> b: batchnorm"), "ARC0426", "c: conv(8, 1)"),
    "bias before a norm of each channel": (
        body("return x -> c: conv(8, 1) -> g: groupnorm(8)"),
        "ARC0426",
        "c: conv(8, 1)",
    ),
    "bias behind a pooling": (
        body("return x -> c: conv(8, 1) -> maxpool(2) -> b: batchnorm"),
        "ARC0426",
        "c: conv(8, 1)",
    ),
    "bias in a sum": (
        body("y = (x -> c: conv(8, 1)) + (x -> relu)", "return y -> b: batchnorm"),
        "ARC0426",
        "c: conv(8, 1)",
    ),
    "bias beside others": (
        body("y = concat([x -> c: conv(8, 1), x -> relu])", "return y -> b: batchnorm"),
        "ARC0426",
        "c: conv(8, 1)",
    ),
    "bias in a loop": (
        body('for i in 0..2 { x = x -> "c{i}": conv(8, 1) -> "b{i}": batchnorm }', "return x"),
        "ARC0426",
        '"c{i}": conv(8, 1)',
    ),
    "bias of a layer that is passed in": (
        "use std.schemes: residual\n" + body("return x -> r: residual(conv(8, 1) -> batchnorm)"),
        "ARC0426",
        "conv(8, 1)",
    ),
    "bias of a linear layer": (
        "block net(x: [B, 8]) { return x -> c: linear(8) -> b: batchnorm }\n",
        "ARC0426",
        "c: linear(8)",
    ),
    "bias through a block": (
        "block unit(y) { return y -> c: conv(8, 1) }\n" + body("return x -> u: unit -> b: batchnorm"),
        "ARC0426",
        "c: conv(8, 1)",
    ),
    "norm beside itself": (
        body("y = x -> relu", "return y + (y -> n: layernorm2d)"),
        "ARC0427",
        "y + (y -> n: layernorm2d)",
    ),
    "shortcut": (
        body("y = x -> a: conv(8, 1)", "z = x -> b: conv(8, 1, bias=false) -> n: batchnorm", "return y + z"),
        "ARC0427",
        "y + z",
    ),
    "sum of three": (
        body(
            "y = x -> a: conv(8, 1)",
            "z = x -> b: conv(8, 1, bias=false) -> n: batchnorm",
            "return add([z, y, x -> c: conv(8, 1, bias=false) -> m: batchnorm])",
        ),
        "ARC0427",
        "add([z, y, x -> c: conv(8, 1, bias=false) -> m: batchnorm])",
    ),
    "norm that starts at one": (
        body("return x + (x -> n: layernorm2d(init=ones))"),
        "ARC0427",
        "x + (x -> n: layernorm2d(init=ones))",
    ),
    "label": (body("y = x -> relu", "z = y -> y: conv(8, 1)", "return y + z"), "ARC0428", "y"),
    "wire": (body("y = x -> relu", "return x"), "ARC0429", "relu"),
    "rebound wire": (body("y = x -> relu", "y = x -> tanh", "return y"), "ARC0429", "relu"),
    "mixed streams": (
        body("weight m: [8, 8] = eye", 'h = einsum("b c h w, c d -> b d h w", x, m)', "return x -> relu"),
        "ARC0429",
        'einsum("b c h w, c d -> b d h w", x, m)',
    ),
    "label of a loop's name": (
        body("y = x", "for k in 0..1 { y = y * k -> k: conv(8, 1) }".replace("y * k", "(y * k)"), "return y"),
        "ARC0428",
        "k",
    ),
    "remark": (body("return x  # allow ARC0424: there is nothing", ""), "ARC0430", "ARC0424"),
    "misspelt remark": (body("return x  # allow ARC9424", ""), "ARC0430", "ARC9424"),
}


@pytest.mark.parametrize("case", HIT)
def test_is_warned_of(case: str) -> None:
    text, code, place = HIT[case]
    assert warned(text) == [(code, place)]


MISS = {
    "library": "block lonely(y) { return y -> relu }\nlet n = 3\n",
    "meant": "block net(_n: int = 2)(x: [B, 8], _y: [B, 8]) { let _m = 2\nfor _ in 0..1 { let _k = 1 }\nreturn x }\n",
    "parametric design": "block net(n: int)(x: [B, 8]) { return x -> fc: linear(n) }\n"
    "block b(x: [B, 8]) { return x }\n",
    "parameter in a type": "block net(n: int = 8)(x: [B, n]) { return x }\n",
    "parameter of a lambda": "block wrap(make: block)(y) { return y -> m: make(8, 1) }\n"
    + body("return x -> w: wrap(fn(width, stride) => conv(width, 1))"),
    "parameter in a promise": "block net(k: int = 2)(x: [B, 8, H, W]) where H % k == 0 { return x -> relu }\n",
    "parameter in a label": 'block u(i: int)(y) { return y -> "c{i}": conv(8, 1) }\n' + body("return x -> _: u(1)"),
    "state that is handed on": body(
        "h = x", "for _ in 0..2 {\n    y, h = chunk(h -> relu, 2, dim=1)\n    x = concat([y, y])\n}", "return x"
    ),
    "name that an element reads": body("let k = 1", "return add([x * k for _ in 0..2])"),
    "name that a later clause reads": body("return x * sum([i * j for i in 0..3 for j in 0..i])"),
    "names of a function in a block": "block net(x: [B, 8, H, W]) {\nfn wide(n: int) {\nlet m = 2 * n\nreturn m }\n"
    "return x -> c: conv(wide(4), 1) }\n",
    "used by a claim": "fn f() => 8\n" + body("return x") + "verify net() { params <= f() }\n",
    "open condition": "block net(n: int = 1)(x: [B, 8]) { return if n > 0 then x -> relu else x }\n",
    "training": body("if training { y = x -> relu } else { y = x }", "return y"),
    "name of one phase": body("if training { a = x -> relu\ny = a -> tanh } else { a = x -> tanh\ny = a }", "return y"),
    "zero by a parameter": "block net(p: float = 0.0)(x: [B, 8]) { return x -> dropout(p) }\n",
    "identity for no module": "block net(n: int = 1)(x: [B, 8]) {\n"
    "f = if n > 0 then identity() else relu()\nreturn f(x) }\n",
    "pool with a stride": body("return x -> maxpool(1, stride=2)"),
    "product with a parameter": "block net(scale: int = 1)(x: [B, 8]) { return x * scale }\n",
    "no-op in one of two uses": "block flat(y) { return y -> flatten }\n"
    "block net(x: [B, 8]) { return x -> flat() }\nblock other(x: [B, 8, 4]) { return x -> flat() }\n",
    "pre-norm": body("y = x -> n: layernorm2d", "return y + (y -> a: layernorm2d -> c: conv(8, 1))"),
    "post-norm": body("y = (x + (x -> c: conv(8, 1))) -> n: layernorm2d", "return y + (y -> d: conv(8, 1))"),
    "norm after the branch": body("y = x -> c: conv(8, 1)", "return y + (y -> d: conv(8, 1) -> n: layernorm2d)"),
    "both normalised": body(
        "y = x -> a: conv(8, 1, bias=false) -> m: batchnorm",
        "return y + (x -> b: conv(8, 1, bias=false) -> n: batchnorm)",
    ),
    "norm that starts at zero": body(
        "y = x -> a: conv(8, 1)", "return y + (x -> b: conv(8, 1, bias=false) -> n: batchnorm(init=zeros))"
    ),
    "norm that starts small": body("return x + (x -> n: layernorm2d(init=1e-4))"),
    "norm with a small scale after it": "block net(x: [B, T, 8]) { weight gamma: [8] = constant(1e-5)\n"
    "y = x -> a: linear(8)\nreturn y + (x -> n: layernorm) * gamma }\n",
    "layer that starts at zero": body(
        "y = x -> a: conv(8, 1, init=zeros, bias_init=zeros)",
        "return y + (x -> b: conv(8, 1, bias=false) -> n: batchnorm)",
    ),
    "bias that is read by others": body("y = x -> c: conv(8, 1)", "return y + (y -> relu -> b: batchnorm)"),
    "bias and another reader": body("y = x -> c: conv(8, 1)", "return (y -> b: batchnorm) * y"),
    "bias of a layer that is used twice": body(
        "c = conv(8, 1)", "d = x -> relu -> c", "return (x -> c -> b: batchnorm) * d"
    ),
    "bias of a layer that is lent": "block norm(c: module)(y) { return y -> c -> b: batchnorm }\n"
    + body("c = conv(8, 1)", "return (x -> n: norm(c)) * (x -> tanh -> c)"),
    "bias behind zeros": body("return x -> c: conv(8, 1) -> avgpool(3, stride=1, padding=1) -> b: batchnorm"),
    "bias over rows": "block net(x: [4, 8], y: [B, 4, 8]) {\nz = (x -> c: linear(8)) + y\nreturn z -> b: batchnorm }\n",
    "bias of a sum that others read": body(
        "y = (x -> c: conv(8, 1)) + (x -> relu)", "return (y -> b: batchnorm) * y"
    ),
    "slice by a parameter": "block net(n: int = 0)(x: [B, 8]) { return x[:, n:] }\n",
    "relu of several": body("y = x -> relu", "return (y + x) -> relu"),
    "no bias": body("return x -> c: conv(8, 1, bias=false) -> b: batchnorm"),
    "bias of tokens": "block net(x: [B, 4, 8]) { return x -> c: linear(8) -> b: batchnorm }\n",
    "label of its own name": body("head = x -> head: conv(8, 1)", "return head"),
    "label of what it holds": "block wrap(layer: module)(y) { return y -> layer: layer }\n"
    + body("return x -> w: wrap(conv(8, 1))"),
    "streams": "use std.reversible: coupling\n"
    "block net(x: [B, 4, H, W]) { return x -> halves -> c: coupling(conv(2, 1), conv(2, 1)) -> concat }\n",
    "allowed here": body("y = x -> dropout(0.0)  # allow ARC0424: kept for the next experiment", "return y"),
    "allowed above": body(
        "", "# allow ARC0424, ARC0426: as published", "return x -> dropout(0.0) -> c: conv(8, 1) -> b: batchnorm"
    ),
    "no remark": body('return rearrange(x, "b c h w -> b h w c")  # allows nothing', ""),
}  # fmt: skip


@pytest.mark.parametrize("case", MISS)
def test_is_not_warned_of(case: str) -> None:
    assert warned(MISS[case]) == []


def test_functions_that_only_call_each_other_are_not_used() -> None:
    text = "fn a(n: int) => b(n)\nfn b(n: int) => if n > 0 then a(n) else c(n)\nfn c(n: int) => n\n"
    both = [("ARC0420", "a"), ("ARC0420", "b")]
    assert warned(text + body("return x")) == both  # and when they are gone, `c`
    assert warned(text + body("return x * c(1)")) == both
    assert warned(text + body("return x * b(0)")) == []


def test_errors_cannot_be_allowed() -> None:
    text = body("return x  # ok", "") + "verify net() {\n    params == 1  # allow ARC0801: no\n}\n"
    found = {d.code for d in check_file(load(Source("net.arch", text)))}
    assert found == {"ARC0801", "ARC0430"}


def test_nothing_is_warned_of_while_a_design_does_not_build() -> None:
    text = body("let n = 3", "return x -> rellu  # allow ARC0424", "")
    assert [d.code for d in check_file(load(Source("net.arch", text)))] == ["ARC0101"]


def test_what_two_of_them_look_like() -> None:
    text = "block net(x: [B, 8]) {\n    mix = x -> softmax(dim=1)\n    return x -> c: linear(8) -> b: batchnorm\n}\n"
    assert render_all(check_file(load(Source("net.arch", text)))) == textwrap.dedent("""\
        warning[ARC0429]: `mix` is computed and never used
         --> net.arch:2:16
          |
        2 |     mix = x -> softmax(dim=1)
          |                ^^^^^^^^^^^^^^ nothing reads it
          |
          = help: use it, or remove it

        warning[ARC0426]: the bias of this `linear` has no effect: the `batchnorm` after it subtracts the mean
         --> net.arch:3:17
          |
        3 |     return x -> c: linear(8) -> b: batchnorm
          |                 ^^^^^^^^^^^^    ------------ takes the mean away
          |
          = help: write `bias=false`

        2 warnings
        """)
