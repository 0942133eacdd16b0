"""Sizes that differ: both sites, where each size was made, the equation with a size that shows it, and an edit that
mends it, which is applied here and checked."""

from __future__ import annotations

import re

import pytest

import archlang
from archlang.report.diagnostic import Diagnostic, Severity


def found(text: str) -> list[Diagnostic]:
    return [d for d in archlang.check(text) if d.severity is Severity.ERROR]


def mismatch(text: str) -> Diagnostic:
    (error,) = found(text)
    assert error.code == "ARC0350"
    return error


def mended(error: Diagnostic) -> str:
    fix = error.fix
    assert fix is not None
    text = fix.span.source.text
    return text[: fix.span.start] + fix.replacement + text[fix.span.end :]


def labels(error: Diagnostic) -> dict[str, str]:
    return {label.span.text: label.text for label in error.related}


STEM = "block net(x: [B, 3, H, W]) {\n    x = x -> stem: conv(64, 7) -> relu\n"
MENDED = {  # what is written: what the edit makes of it
    "a literal of the branch": (
        STEM + "    return x + (x -> f: conv(32, 3, padding=1) -> bn: batchnorm)\n}\n",
        "conv(64, 3, padding=1)",
    ),
    "the later of two": (
        STEM + "    y = x -> a: conv(16, 1)\n    z = x -> b: conv(32, 1)\n    return y + z\n}\n",
        "b: conv(16, 1)",
    ),
    "a module that is passed in": (
        "block unit(f: module)(x) { return x + f(x) }\n" + STEM + "    return x -> unit(conv(32, 3, padding=1))\n}\n",
        "unit(conv(64, 3, padding=1))",
    ),
    "a module passed to the library": (
        "use std.schemes: residual\n" + STEM + "    return x -> r: residual(conv(32, 3, padding=1))\n}\n",
        "residual(conv(64, 3, padding=1))",
    ),
    "a composition": (
        "use std.schemes: residual\n"
        + STEM
        + "    return x -> r: residual(conv(32, 3, padding=1) -> batchnorm -> relu)\n}\n",
        "residual(conv(64, 3, padding=1) -> batchnorm",
    ),
    "a width that is a parameter": (
        "block unit(n: int)(x) { return (x -> f: conv(n, 1)) + x }\n" + STEM + "    return x -> u: unit(32)\n}\n",
        "(x -> f: conv(n, 1)) + (x -> project: conv(32, 1))",
    ),
    "features of tokens": (
        "block net(x: [B, T, 8]) {\n    y = x -> a: linear(64) -> gelu\n    return (y -> b: linear(32)) + y\n}\n",
        "b: linear(64)",
    ),
    "rows": ("block net(x: [B, 8], y: [B, 9]) {\n    return x + y\n}\n", "x + (y -> project: linear(8))"),
}


SPACE = STEM.replace("conv(64, 7)", "conv(64, 7, padding=3)")
SPATIAL = {  # sizes that differ in space, at no size or at most: equal at every size after the edit
    "a padding that is missing": (
        SPACE + "    return x + (x -> f: conv(64, 3) -> bn: batchnorm)\n}\n", "conv(64, 3, padding=1)",
    ),
    "a padding that is too small": (
        SPACE + "    return (x -> f: conv(64, 5, padding=1) -> relu) + x\n}\n", "conv(64, 5, padding=2)",
    ),
    "a dilated kernel": (SPACE + "    return x + (x -> f: conv(64, 3, dilation=4, padding=1))\n}\n", "padding=4)"),
    "a stride that is missing": (
        SPACE + "    y = x -> a: conv(64, 3, stride=2, padding=1) -> b: conv(64, 3, padding=1)\n"
        "    return y + (x -> down: conv(64, 1, bias=false) -> bn: batchnorm)\n}\n",
        "down: conv(64, 1, bias=false, stride=2)",
    ),
    "a shortcut without a layer": (
        SPACE + "    y = x -> a: conv(64, 3, stride=2, padding=1) -> relu -> b: conv(64, 3, padding=1)\n"
        "    return relu(y + x)\n}\n",
        "relu(y + (x -> project: conv(64, 1, stride=2)))",
    ),
    "a shortcut over two strides": (
        SPACE + "    y = x -> a: conv(64, 3, stride=2, padding=1) -> b: conv(64, 3, stride=2, padding=1)\n"
        "    return x + y\n}\n",
        "(x -> project: conv(64, 1, stride=4)) + y",
    ),
    "another width as well": (
        "block net(x: [B, 32, H, W]) {\n    y = x -> a: conv(64, 3, stride=2, padding=1) -> f: batchnorm\n"
        "    return y + x\n}\n",
        "(x -> project: conv(32, 1, stride=2))",
    ),
    "both at once": (
        "block net(x: [B, 32, H, W]) {\n    let n = 2 * 32\n    y = x -> a: conv(n, 3, stride=2, padding=1)\n"
        "    return y + x\n}\n",
        "(x -> project: conv(64, 1, stride=2))",
    ),
    "a module that is passed in": (
        "block unit(f: module)(x) { return x + f(x) }\n" + SPACE + "    return x -> unit(conv(64, 3))\n}\n",
        "unit(conv(64, 3, padding=1))",
    ),
    "a composition in the library": (
        "use std.schemes: residual\n" + SPACE + "    return x -> r: residual(relu -> conv(64, 7) -> batchnorm)\n}\n",
        "conv(64, 7, padding=3)",
    ),
    "a sequence": (
        "block net(x: [B, 8, T]) {\n    return x + (x -> a: conv(8, 9) -> gelu)\n}\n", "a: conv(8, 9, padding=4)",
    ),
    "in a block with parameters": (
        "block unit(n: int)(x) { return x + (x -> f: conv(n, 3)) }\n" + SPACE + "    return x -> u: unit(64)\n}\n",
        "conv(n, 3, padding=1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPATIAL)
def test_sizes_in_space_are_mended(name: str) -> None:
    text, expected = SPATIAL[name]
    for _ in range(2):  # the width first, where it differs as well
        wrong = [d for d in archlang.check(text) if d.code in ("ARC0341", "ARC0350")]
        if not wrong:
            break
        text = mended(wrong[0])
    assert expected in text
    assert not [d for d in archlang.check(text) if d.code.startswith("ARC03")]


NOT_MENDED = {
    "two paddings are missing": "x + (x -> a: conv(64, 3) -> b: conv(64, 3))",
    "an even kernel": "x + (x -> a: conv(64, 4))",
    "no stride gives it": "x + (x -> a: conv(64, 3, stride=2))",
    "a pooling": "x + (x -> maxpool(3))",
}


@pytest.mark.parametrize("name", NOT_MENDED)
def test_where_no_single_edit_mends_it(name: str) -> None:
    found = archlang.check(SPACE + f"    return {NOT_MENDED[name]}\n}}\n")
    assert [d.code for d in found if d.fix is None] == [d.code for d in found] != []


def test_what_is_read_elsewhere_is_left_alone() -> None:
    text = SPACE + "    y = x -> f: conv(64, 3)\n    z = y * (y -> g: conv(64, 1))\n    return (x + y), z\n}\n"
    assert mismatch(text).fix is None


def test_a_block_may_be_called_with_another_stride() -> None:
    text = "block unit(s: int)(x) {\n    y = x -> a: conv(64, 3, stride=s, padding=1)\n    return x + y\n}\n"
    text += SPACE + "    return x -> u: unit(1) -> v: unit(2)\n}\n"
    (error,) = [d for d in archlang.check(text) if d.code in ("ARC0341", "ARC0350")]
    assert error.fix is None


@pytest.mark.parametrize("name", MENDED)
def test_the_edit_mends_it(name: str) -> None:
    text, expected = MENDED[name]
    after = mended(mismatch(text))
    assert expected in after
    assert found(after) == []


def test_both_sizes_are_followed_out_of_a_block() -> None:
    error = mismatch(MENDED["a module passed to the library"][0])
    shown = labels(error)
    assert shown["conv(64, 7)"] == "64 is made here"
    assert shown["conv(32, 3, padding=1)"] == "32 is made here"
    assert sum(text.startswith("has type") for text in shown.values()) == 2  # the operands
    assert error.notes == ("needs 64 = 32, which is false",)


def test_a_layer_inside_of_a_block_that_is_called() -> None:
    """It is shown; to change it there would change it for others as well."""
    text = "block wide(x) { return x -> c: conv(32, 1) -> relu }\n"
    text += STEM + "    return x + (x -> w: wide)\n}\n"
    error = mismatch(text)
    assert labels(error)["conv(32, 1)"] == "32 is made here"
    assert "c: conv(32, 1)" in mended(error)
    assert found(mended(error)) == []


def test_symbolic_sizes_have_an_example() -> None:
    text = "block net(x: [B, 8, H, W]) {\n    return x + (x -> a: conv(8, 3))\n}\n"
    error = mismatch(text)
    assert error.notes == ("needs H = H - 2, which holds at no size: at H = 3, 3 is not 1",)
    assert labels(error)["conv(8, 3)"] == "H - 2 is made here"


def test_sizes_are_called_by_the_names_of_both_places() -> None:
    text = "block unit(x) { return x + (x -> a: conv(8, 3)) }\n"
    text += "block net(x: [B, 8, H, W]) {\n    return x -> stem: conv(8, 5) -> unit()\n}\n"
    assert labels(mismatch(text))["conv(8, 5)"] == "H (there H - 4) is made here"


def test_sizes_that_a_callee_compares() -> None:
    """In the callee the two are free and may agree; in this call they cannot."""
    text = "block plus(a, b) { return a + b }\n"
    text += "block net(x: [B, 8, H, W]) {\n    y = x -> a: conv(8, 3)\n    return plus(y, x)\n}\n"
    (error,) = found(text)
    assert error.code == "ARC0301"
    assert re.fullmatch(r"needs H - 2 = H, which holds at no size: at H = 3, 1 is not 3", error.notes[0])
    assert {"conv(8, 3)": "H - 2 is made here", "x: [B, 8, H, W]": "H comes from this input"}.items() <= labels(
        error
    ).items()


def test_sizes_are_followed_through_an_inverse() -> None:
    text = "use std.reversible: coupling\nblock net(x: [B, 8, H, W]) {\n"
    text += "    c = chain([coupling(conv(4, 1), conv(4, 1)), concat])\n    a, b = x -> halves\n"
    text += "    d, e = ((a, b) -> c) -> ~c\n    return e + (x -> f: conv(12, 1))\n}\n"
    error = mismatch(text)
    assert labels(error)["conv(12, 1)"] == "12 is made here"
    assert "4 is made here" in labels(error).values()
